import { describe, expect, test } from "bun:test";
import { createHash, generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import { redactArguments } from "../../src/audit/redact.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const redact = (value: unknown) => redactArguments(encode(JSON.stringify(value)));

describe("what looks like a secret by its name", () => {
  test.each([
    "password",
    "Password",
    "DB_PASSWORD",
    "userPassword",
    "passwd",
    "pwd",
    "pass",
    "passphrase",
    "secret",
    "clientSecret",
    "client_secret",
    "token",
    "access_token",
    "refreshToken",
    "x-auth-token",
    "api_key",
    "apiKey",
    "APIKEY",
    "X-Api-Key",
    "authorization",
    "Proxy-Authorization",
    "auth",
    "credential",
    "credentials",
    "private_key",
    "privateKey",
    "accessKey",
    "aws_secret_access_key",
    "cookie",
    "Set-Cookie",
    "session",
    "session_id",
    "sessionId",
    "jwt",
    "otp",
    "bearer",
  ])("%s is hidden", (name) => {
    for (const value of ["hunter2", 1234, ["a"], { a: 1 }, ""])
      expect(redact({ [name]: value })).toEqual({ [name]: "<redacted>" });
    // there was none: that may be known
    for (const value of [null, true, false]) expect(redact({ [name]: value })).toEqual({ [name]: value });
  });

  test.each([
    "path",
    "query",
    "passenger",
    "compass",
    "author",
    "authors",
    "key",
    "keyboard",
    "user",
    "max",
    "hash",
    "pin",
  ])("%s stays", (name) => expect(redact({ [name]: "text" })).toEqual({ [name]: "text" }));

  test("a count of an LLM's tokens stays, a token that is a number does not", () => {
    expect(redact({ max_tokens: 100, token_count: 5, tokenBudget: 9 })).toEqual({
      max_tokens: 100,
      token_count: 5,
      tokenBudget: 9,
    });
    expect(redact({ token: 100, tokens: ["a"], max_tokens: "abc" })).toEqual({
      token: "<redacted>",
      tokens: "<redacted>",
      max_tokens: "<redacted>",
    });
  });

  test("at any depth, in arrays, and as the name of a name-value pair", () => {
    expect(
      redact({
        a: [{ b: { password: "x", ok: 1 } }, [{ token: "y" }]],
        headers: [
          { name: "Authorization", value: "z" },
          { name: "Accept", value: "text/html" },
        ],
        env: [{ key: "API_KEY", Value: "v" }],
      }),
    ).toEqual({
      a: [{ b: { password: "<redacted>", ok: 1 } }, [{ token: "<redacted>" }]],
      headers: [
        { name: "Authorization", value: "<redacted>" },
        { name: "Accept", value: "text/html" },
      ],
      env: [{ key: "API_KEY", Value: "<redacted>" }],
    });
  });
});

describe("what is a secret by its shape", () => {
  const longPem = generateKeyPairSync("rsa", { modulusLength: 2048 })
    .privateKey.export({ type: "pkcs8", format: "pem" })
    .toString()
    .trim();
  const pem = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEow==\n-----END RSA PRIVATE KEY-----";
  test.each([
    ["curl -H 'Authorization: Bearer abc.def-123' x", "curl -H 'Authorization: Bearer <redacted>' x"],
    ["basic dXNlcjpwYXNzMQ==", "basic <redacted>"],
    [`key: ${pem} end`, "key: <redacted> end"],
    [`${pem}\n${pem}`, "<redacted>\n<redacted>"],
    ["-----BEGIN PRIVATE KEY-----\nMIIEow", "<redacted>"],
    [`${longPem.replaceAll("\n", "\\n")} and then`, "<redacted> and then"],
    [`${longPem}\nand then`, "<redacted>\nand then"],
    ["echo -----BEGIN PRIVATE KEY-----; rm -rf /", "echo <redacted>; rm -rf /"],
    [
      "-----BEGIN PRIVATE KEY-----; rm -rf / #-----END PRIVATE KEY-----",
      "<redacted>; rm -rf / #-----END PRIVATE KEY-----",
    ],
    ["postgres://bob:hunter2@db:5432/x", "postgres://bob:<redacted>@db:5432/x"],
    ["redis://:hunter2@h", "redis://:<redacted>@h"],
    [`x ${"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0"}.c2ln y`, "x <redacted> y"],
    ["AKIAIOSFODNN7EXAMPLE", "<redacted>"],
    ["AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY.", "<redacted>."],
    [`ghp_${"a1".repeat(18)}`, "<redacted>"],
    [`sk-ant-api03-${"x".repeat(30)}`, "<redacted>"],
    ["BEARER abc.def-123", "BEARER <redacted>"],
    [`gho_${"a1".repeat(18)}`, "<redacted>"],
    [`ghu_${"a1".repeat(18)}`, "<redacted>"],
    [`ghs_${"a1".repeat(18)}`, "<redacted>"],
    [`ghr_${"a1".repeat(18)}`, "<redacted>"],
    [`github_pat_${"a1".repeat(18)}`, "<redacted>"],
    [`glpat-${"a1".repeat(18)}`, "<redacted>"],
    [`xoxb-${"a1".repeat(18)}`, "<redacted>"],
    [`sk_live_${"a1".repeat(18)}`, "<redacted>"],
    ["ASIAIOSFODNN7EXAMPLE", "<redacted>"],
  ])("%j, by itself and in a long text", (text, cleaned) => {
    expect(redact({ text, list: [text] })).toEqual({ text: cleaned, list: [cleaned] });
    const around = "lorem ipsum dolor sit amet\n".repeat(100);
    expect(redact({ text: `${around}${text}\n${around}` })).toEqual({ text: `${around}${cleaned}\n${around}` });
  });

  test.each([
    "basic authentication is fine",
    "the bearer certificates",
    "https://example.com:8080/a@b",
    "task_management_of_everything",
    "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
    "mailto:a@b.c",
    "eyJust.kidding",
  ])("%j stays", (text) => expect(redact({ text })).toEqual({ text }));
});

describe("long arguments", () => {
  test("16 KiB pass whole, one byte more is cut, with size and digest of the text as it came", () => {
    const json = (length: number) => encode(JSON.stringify({ a: "x".repeat(length - 8) }));
    expect(redactArguments(json(16_384))).toEqual({ a: "x".repeat(16_376) });
    const over = json(16_385);
    const cut = redactArguments(over);
    expect(cut).toEqual({
      _truncated: true,
      size: 16_385,
      sha256: createHash("sha256").update(over).digest("hex"),
      preview: { a: `${"x".repeat(256)}<16121 more>` },
    });
  });

  test("the preview has the short members of a long call, and none of its secrets", () => {
    const { preview } = redact({
      path: "/tmp/x",
      password: "hunter2",
      content: "y".repeat(500_000),
      list: Array(9999).fill("z".repeat(50)),
    });
    expect(preview).toMatchObject({ path: "/tmp/x", password: "<redacted>" });
    expect(JSON.stringify(preview)).not.toContain("hunter2");
    expect(JSON.stringify(preview).length).toBeLessThan(4096);
    expect((preview as { list: unknown[] }).list.at(-1)).toMatch(/^<\d+ more>$/);
  });

  test("over 1 MiB there is none", () => {
    expect(Object.keys(redact({ a: "x".repeat(1_100_000) }))).toEqual(["_truncated", "size", "sha256"]);
  });
});

test("numbers that JavaScript can't hold keep their digits", () => {
  const json =
    '{"id":12345678901234567890,"big":1e400,"tiny":0.12345678901234567890123,"a":[9007199254740993],"ok":[9007199254740991,1e3,0.30000000000000004,1E2,-0.0,100000000000000000000]}';
  expect(redactArguments(encode(json))).toEqual({
    id: "12345678901234567890",
    big: "1e400",
    tiny: "0.12345678901234567890123",
    a: ["9007199254740993"],
    ok: [9007199254740991, 1000, 0.30000000000000004, 100, -0, 1e20],
  });
});

test("arguments that are no object, or no JSON, are told as such", () => {
  expect(redact(["a", { token: "x" }])).toEqual({ _value: ["a", { token: "<redacted>" }] });
  expect(redact("Bearer abcdef123")).toEqual({ _value: "Bearer <redacted>" });
  expect(redact(null)).toEqual({ _value: null });
  for (const bad of [encode("{"), encode(""), new Uint8Array([0x22, 0xff, 0x22]), encode('\ufeff{"a":1}')]) {
    expect(redactArguments(bad)).toMatchObject({ _invalid: true, size: bad.byteLength });
  }
});

test("a member named __proto__ is a member", () => {
  const redacted = redactArguments(encode('{"__proto__":{"admin":true},"constructor":1}'));
  expect(JSON.stringify(redacted)).toBe('{"__proto__":{"admin":true},"constructor":1}');
  expect(Object.getPrototypeOf(redacted)).toBe(Object.prototype);
});

describe("hostile arguments", () => {
  const within = (ms: number, json: Uint8Array) => {
    const started = performance.now();
    const redacted = redactArguments(json);
    const text = JSON.stringify(redacted); // what the spool does with it
    expect(performance.now() - started).toBeLessThan(ms);
    return text;
  };

  test("nested as deep as they come end in a note", () => {
    expect(within(1000, encode(`{"a":${"[".repeat(8000)}${"]".repeat(8000)}}`))).toContain("<nested too deeply>");
    expect(within(1000, encode(`{"a":${'{"b":'.repeat(2000)}12345678901234567890${"}".repeat(2000)}}`))).toContain(
      "<nested too deeply>",
    );
    within(3000, encode(`{"a":${"[".repeat(400_000)}${"]".repeat(400_000)}}`));
  });

  test("64 MiB take the time of their digest", () => {
    within(5000, encode(`{"a":"${"x".repeat(64 * 1024 * 1024)}"}`));
  });

  test("a MiB of small members, or of what nearly looks like secrets, takes milliseconds", () => {
    within(3000, encode(JSON.stringify(Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [`key${i}`, i])))));
    const bait = [
      "eyJ",
      "-eyJ",
      "://",
      "://a:",
      "Bearer ",
      "-----BEGIN PRIVATE KEY-----",
      "-----BEGIN ",
      "AKIA",
      "sk-",
      "ghp_a",
      "Basic aaaaaaaaaaaa.",
      "a",
    ];
    for (const piece of bait) {
      within(1000, encode(JSON.stringify({ a: piece.repeat(Math.floor(16_000 / piece.length)) })));
      within(3000, encode(JSON.stringify({ a: piece.repeat(Math.floor(1_000_000 / piece.length)) })));
    }
  });
});

test("any JSON comes back the same where nothing is secret or inexact, and no secret survives", () => {
  const name = fc.constantFrom("a", "b", "__proto__", "length", "é");
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { depthSize: "small" },
      fc.integer(),
      fc.string({ maxLength: 5 }),
      fc.boolean(),
      fc.constant(null),
      tie("list"),
      tie("map"),
    ),
    list: fc.array(tie("tree"), { maxLength: 4 }),
    map: fc.array(fc.tuple(name, tie("tree")), { maxLength: 4 }).map((pairs) => Object.fromEntries(pairs)),
  }));
  const secretName = fc.constantFrom("password", "apiKey", "X-Token", "cookies");
  fc.assert(
    fc.property(fc.dictionary(name, tree, { maxKeys: 4 }), secretName, (value, secret) => {
      expect(JSON.stringify(redact(value))).toBe(JSON.stringify(value));
      const nested = { deep: [value, { [secret]: "s3cr3t-value" }] };
      expect(JSON.stringify(redact(nested))).not.toContain("s3cr3t-value");
    }),
    { numRuns: 300 },
  );
});
