import { describe, expect, test } from "bun:test";
import { decode } from "../../src/mcp/codec.ts";
import { DEFAULT_CODEC_LIMITS, type Message } from "../../src/mcp/message.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const line = (text: string) => encoder.encode(`${text}\n`);
const read = (text: string) => decode(line(text));

function accepted(text: string): Message {
  const message = read(text);
  if (message.kind === "invalid") throw new Error(`refused: ${message.reason}`);
  return message;
}

function refused(text: string): string {
  const message = read(text);
  if (message.kind !== "invalid") throw new Error(`accepted: ${text}`);
  return message.reason;
}

/** A ping with this member, to try values of any kind. */
const withMember = (json: string) => `{"jsonrpc":"2.0","id":1,"method":"ping","x":${json}}`;

describe("decode", () => {
  test("a request, a notification, a result and an error", () => {
    expect(accepted('{"jsonrpc":"2.0","id":1,"method":"ping"}')).toMatchObject({
      kind: "request",
      id: 1,
      method: "ping",
      target: { kind: "none" },
    });
    expect(accepted('{"jsonrpc":"2.0","method":"notifications/initialized"}')).toMatchObject({
      kind: "notification",
      method: "notifications/initialized",
    });
    expect(accepted('{"result":{},"id":"a","jsonrpc":"2.0"}')).toMatchObject({ kind: "response", id: "a", ok: true });
    expect(accepted('{"error":{"code":1,"message":"x"},"id":-5,"jsonrpc":"2.0"}')).toMatchObject({
      kind: "response",
      id: -5,
      ok: false,
    });
  });

  test("keeps the very bytes", () => {
    const bytes = line('{"jsonrpc":"2.0","id":1,"method":"ping"}');
    const message = decode(bytes);
    expect(message.kind !== "invalid" && message.bytes === bytes).toBe(true);
  });

  test("gives a last line its line feed", () => {
    const message = decode(encoder.encode('{"jsonrpc":"2.0","id":1,"method":"ping"}'));
    expect(message.kind !== "invalid" && decoder.decode(message.bytes)).toBe(
      '{"jsonrpc":"2.0","id":1,"method":"ping"}\n',
    );
  });

  test("a tool call's name and the place of its arguments, whatever the order", () => {
    for (const text of [
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"größe","arguments":{"a":[1]}}}',
      ' { "params" : { "arguments" : {"a":[1]} , "name" : "gr\\u00f6\\u00dfe" } , "method" : "tools/call" , "id" : 1 , "jsonrpc" : "2.0" } ',
    ]) {
      const { target, bytes } = accepted(text) as Extract<Message, { kind: "request" }>;
      if (target.kind !== "tool" || !target.arguments) throw new Error("no tool");
      expect(target.name).toBe("größe");
      expect(decoder.decode(bytes.subarray(target.arguments.start, target.arguments.end))).toBe('{"a":[1]}');
    }
  });

  test.each([
    ["prompts/get", '{"name":"p"}', { kind: "prompt", name: "p" }],
    ["resources/read", '{"uri":"a:b"}', { kind: "resource", uri: "a:b" }],
    ["resources/unsubscribe", '{"uri":"a:b"}', { kind: "resource", uri: "a:b" }],
    ["tools/list", "{}", { kind: "list", list: "tools" }],
    ["resources/templates/list", '{"cursor":"x"}', { kind: "list", list: "templates" }],
    ["notifications/cancelled", '{"requestId":"7","reason":"r"}', { kind: "cancelled", id: "7" }],
    [
      "subscriptions/listen",
      '{"notifications":{"toolsListChanged":true,"promptsListChanged":false,"resourceSubscriptions":["a:1", "a:2" ]}}',
      { kind: "listen", lists: ["tools"], uris: ["a:1", "a:2"] },
    ],
    [
      "completion/complete",
      '{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"x","value":""}}',
      { kind: "completion", of: "prompt", name: "p" },
    ],
  ])("what %s is about", (method, params, target) => {
    expect(accepted(`{"jsonrpc":"2.0","id":1,"method":"${method}","params":${params}}`)).toMatchObject({ target });
  });

  test("every kind of JSON value", () => {
    for (const json of [
      "0",
      "-0",
      "10",
      "1.5",
      "-1.5e+10",
      "1E400",
      "12345678901234567890",
      "true",
      "false",
      "null",
      '""',
      '"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00Af"',
      '"\\ud800"',
      "[]",
      "[ ]",
      "{}",
      "{ }",
      "[[],{},[{}]]",
      '{"a":{"a":{"a":1}},"b":[1, 2,\t3]}',
      `"${"x".repeat(1000)}"`,
      `"${"é".repeat(500)}\\n"`,
      '"\u2028\u{1F600}"',
    ]) {
      accepted(withMember(json));
    }
  });

  test("no other text", () => {
    for (const json of [
      "",
      "01",
      "+1",
      ".5",
      "1.",
      "1e",
      "1e+",
      "--1",
      "0x1",
      "NaN",
      "Infinity",
      "True",
      "tru",
      "nul",
      "falsee",
      "'a'",
      '"',
      '"\\x"',
      '"\\u12"',
      '"\\u12g4"',
      '"\u0001"',
      '"\t"',
      "[",
      "[1",
      "[1,",
      "[1,]",
      "[,1]",
      "[1 2]",
      "]",
      "{",
      '{"a"',
      '{"a":',
      '{"a":1',
      '{"a":1,}',
      '{"a" 1}',
      "{a:1}",
      "{1:1}",
      "[1}",
      '{"a":1]',
      "1 2",
      "// x",
      "\u00a01",
      `"${"x".repeat(100)}\u0002"`,
      `"${"x".repeat(101)}\\q"`,
    ]) {
      refused(withMember(json));
    }
  });

  test("duplicate keys at any depth and in any spelling, in objects of any size", () => {
    expect(refused(withMember('{"a":1,"b":2,"a":3}'))).toBe("a key is there twice");
    expect(refused(withMember('[[{"é":1,"\\u00e9":3}]]'))).toBe("a key is there twice");
    expect(refused(withMember('{"":1,"":1}'))).toBe("a key is there twice");
    accepted(withMember('{"a":{"a":[{"a":1},{"a":1}]},"A":1,"\u00e9":1,"e\u0301":1}'));
    for (const count of [11, 12, 13, 14, 100, 5000]) {
      const keys = Array.from({ length: count }, (_, i) => `"key${i}":{"same":${i}}`);
      accepted(withMember(`{${keys.join(",")}}`));
      for (const twice of [0, Math.floor(count / 2), count - 1]) {
        expect(refused(withMember(`{${keys.join(",")},"ke\\u0079${twice}":1}`))).toBe("a key is there twice");
      }
    }
    expect(refused('{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"ping"}')).toBe("a key is there twice");
  });

  test("a lone surrogate in a key", () => {
    expect(refused(withMember('{"\\udc00":1}'))).toBe("a key holds a lone surrogate");
    accepted(withMember('{"\\ud83d\\ude00":1}'));
  });

  test("nesting up to the cap", () => {
    const deep = (levels: number) => withMember("[".repeat(levels) + "]".repeat(levels));
    accepted(deep(DEFAULT_CODEC_LIMITS.maxDepth - 1));
    expect(refused(deep(DEFAULT_CODEC_LIMITS.maxDepth))).toBe("nested deeper than 256 levels");
    expect(refused(deep(100_000))).toBe("nested deeper than 256 levels");
  });

  test("size up to the cap", () => {
    const limits = { ...DEFAULT_CODEC_LIMITS, maxBytes: 100 };
    const of = (size: number) => line(withMember(`"${"x".repeat(size - 48)}"`));
    expect([of(100).length, decode(of(100), limits).kind]).toEqual([100, "request"]);
    expect(decode(of(101), limits)).toMatchObject({ kind: "invalid", id: 1 });
  });

  test("ids are compared by type and decoded value", () => {
    const id = (json: string) => {
      const message = accepted(`{"jsonrpc":"2.0","id":${json},"method":"ping"}`);
      return message.kind === "request" ? message.id : "";
    };
    expect(id("1")).not.toBe(id('"1"'));
    expect(id('"a"')).toBe(id('"\\u0061"'));
    expect(id("-12")).toBe(-12);
    expect(id("0")).toBe(0);
    expect(id("9007199254740991")).toBe(Number.MAX_SAFE_INTEGER);
  });

  test("is not slowed down by keys that are made to collide or to repeat", () => {
    // FNV-1a collides in its low bits whatever the seed for such keys; an object of many is still linear.
    const keys = Array.from({ length: 200_000 }, (_, i) => `"${String.fromCharCode(97 + (i % 26))}${i}":0`);
    const bytes = line(withMember(`{${keys.join(",")}}`));
    const started = performance.now();
    expect(decode(bytes).kind).toBe("request");
    expect(performance.now() - started).toBeLessThan(2000);
  });

  test("what ends or breaks a long string, at any place of a word", () => {
    for (let length = 120; length < 180; length += 1) {
      const x = "x".repeat(length);
      accepted(withMember(`["${x}\\"${x}","${x}\\\\",1,"${x}é${x}"]`));
      refused(withMember(`"${x}\\"`));
      refused(withMember(`"${x}\\q${x}"`));
      refused(withMember(`"${x}\u0001${x}"`));
      refused(withMember(`"${x}"${x}"`));
    }
  });

  test("a view into a larger buffer, at any alignment", () => {
    const text = line(withMember(`"${"x".repeat(200)}"`));
    for (let shift = 0; shift < 8; shift += 1) {
      const buffer = new Uint8Array(text.length + 16).fill(0x22);
      buffer.set(text, shift);
      expect(decode(buffer.subarray(shift, shift + text.length)).kind).toBe("request");
    }
  });
});
