/** Secrets stay where they belong: every string of a line, however it is escaped, and nothing else of the line. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Secrets } from "../../src/agent/secrets.ts";

const secret = "hunter2-hunter2";
const secrets = new Secrets([secret, 'with "quotes" and \\ and ü/é']);
const mask = (text: string, of = secrets): string => Buffer.from(of.maskLine(Buffer.from(text))).toString();

describe("a line", () => {
  test("without a secret, or with no secrets to look for, is the very same bytes", () => {
    for (const text of [`{"a":"hunter2"}\n`, `{"a":"x\\ny","b":1e400}\n`, "\n"]) {
      const line = Buffer.from(text);
      expect(secrets.maskLine(line)).toBe(line);
    }
    const line = Buffer.from(`{"a":"${secret}"}`);
    expect(new Secrets([]).maskLine(line)).toBe(line);
    expect(new Secrets(["short", "1234567"]).any).toBe(false);
  });

  test("loses it wherever it stands in a string, keys too, and keeps every other byte", () => {
    expect(mask(`{"id":12345678901234567890,"x":"a ${secret} b ${secret}","${secret}": [ 1.0 ]}\n`)).toBe(
      '{"id":12345678901234567890,"x":"a <redacted> b <redacted>","<redacted>": [ 1.0 ]}\n',
    );
  });

  test("loses it in whatever way it is escaped", () => {
    const all = [...secret].map((c) => `\\u00${c.charCodeAt(0).toString(16).toUpperCase()}`).join("");
    expect(mask(`{"a":"${all}"}`)).toBe('{"a":"<redacted>"}');
    expect(mask(`{"a":"\\\\","b":"h\\u0075nter2-hunter2\\\\"}`)).toBe('{"a":"\\\\","b":"<redacted>\\\\"}');
    expect(mask(`{"a":${JSON.stringify('with "quotes" and \\ and ü/é')}}`)).toBe('{"a":"<redacted>"}');
    expect(mask(`{"a":"with \\"quotes\\" and \\\\ and \\u00fc\\/\\u00e9!"}`)).toBe('{"a":"<redacted>!"}');
  });

  test("that holds a text with JSON in it: escaped once more, it isn't the same value any more", () => {
    expect(mask(JSON.stringify({ text: JSON.stringify({ key: secret }) }))).not.toContain("hunter2");
  });

  test("keeps numbers that read like it", () => {
    const of = new Secrets(["1234567890"]);
    expect(mask('{"n":1234567890,"s":"1234567890"}', of)).toBe('{"n":1234567890,"s":"<redacted>"}');
  });

  test("in random JSON with random secrets and spellings: it is gone, and the rest is as it was", () => {
    const word = fc
      .string({ unit: "grapheme", minLength: 8, maxLength: 12 })
      .filter((s) => s.trim() === s && s.length >= 8);
    const spelled = (text: string, how: boolean[]): string =>
      [...text.split("")]
        .map((c, i) =>
          how[i % how.length] ? `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}` : JSON.stringify(c).slice(1, -1),
        )
        .join("");
    fc.assert(
      fc.property(
        word,
        fc.string(),
        fc.string(),
        fc.array(fc.boolean(), { minLength: 1 }),
        (key, before, after, how) => {
          const of = new Secrets([key]);
          fc.pre(!(before + after).includes(key.slice(0, 2)) && !"<redacted>".includes(key.slice(0, 2)));
          const line = `{"a":[${JSON.stringify(before)}, "${spelled(before + key + after, how)}"],"b":"\\\\"}`;
          expect(JSON.parse(mask(line, of))).toEqual({ a: [before, `${before}<redacted>${after}`], b: "\\" });
        },
      ),
      { numRuns: 300 },
    );
  });

  test("of 8 MB full of escapes takes no longer than its length", () => {
    const line = Buffer.from(`{"a":"${'\\n\\\\\\"x'.repeat(1_000_000)}","b":"${secret}"}`);
    const began = performance.now();
    expect(Buffer.from(secrets.maskLine(line)).toString()).toEndWith('"b":"<redacted>"}');
    expect(performance.now() - began).toBeLessThan(2_000);
  });
});

describe("a text", () => {
  test("loses the longer secret first", () => {
    expect(new Secrets(["password", "password-and-more"]).maskText("password-and-more password")).toBe(
      "<redacted> <redacted>",
    );
  });

  test("loses each line of a secret that has several, but not what frames a key", () => {
    const of = new Secrets(["-----BEGIN X-----\nMIIEvQIBADANBgkqhkiG9w0\nabc\n-----END X-----\n"]);
    expect(of.maskText("at MIIEvQIBADANBgkqhkiG9w0, abc, -----BEGIN X-----")).toBe(
      "at <redacted>, abc, -----BEGIN X-----",
    );
  });

  test("that was cut loses what it has of one at its end", () => {
    expect(secrets.maskText("key hunter2-hun", true)).toBe("key <redacted>");
    expect(secrets.maskText("key hunter2-hun")).toBe("key hunter2-hun");
    expect(secrets.maskText("key hunter2", true)).toBe("key hunter2");
  });
});

test("a value loses it at any depth, and stays the same object where there is none", () => {
  const clean = { a: [1, "x"] };
  expect(secrets.maskValue(clean)).toBe(clean);
  expect(secrets.maskValue({ a: [{ b: `x${secret}` }] })).toEqual({ a: [{ b: "x<redacted>" }] });
});
