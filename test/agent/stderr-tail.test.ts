import { expect, test } from "bun:test";
import { LineRate, STDERR_LINE_BYTES, STDERR_TAIL_LINES, StderrTail, strip } from "../../src/agent/stderr-tail.ts";

const collect = (...chunks: (string | Uint8Array)[]): { lines: string[]; tail: StderrTail } => {
  const lines: string[] = [];
  const tail = new StderrTail((line) => {
    if (line() !== "") lines.push(line());
  });
  for (const chunk of chunks) tail.push(typeof chunk === "string" ? Buffer.from(chunk) : chunk);
  return { lines, tail };
};

test("lines are the same however the bytes are cut", () => {
  const text = Buffer.from("one\ntwö €\r\n\n  three\n");
  const whole = collect(text).lines;
  expect(whole).toEqual(["one", "twö €", "  three"]);
  expect(collect(...[...text].map((byte) => Uint8Array.of(byte))).lines).toEqual(whole);
});

test("a last line without an end counts at the end, and is in the tail before", () => {
  const { lines, tail } = collect("a\nb");
  expect(tail.lines()).toEqual(["a", "b"]);
  expect(lines).toEqual(["a"]);
  tail.end();
  tail.end();
  expect(lines).toEqual(["a", "b"]);
});

test("keeps the last lines only", () => {
  const { tail } = collect(Array.from({ length: 200 }, (_, i) => `${i}\n`).join(""));
  expect(tail.lines()).toEqual(
    Array.from({ length: STDERR_TAIL_LINES }, (_, i) => String(200 - STDERR_TAIL_LINES + i)),
  );
});

test("cuts a long line, marks it, and goes on with the next", () => {
  const { lines } = collect("x".repeat(10_000_000), "yyy\nnext\n", `${"z".repeat(STDERR_LINE_BYTES)}\n`);
  expect(lines).toEqual([`${"x".repeat(STDERR_LINE_BYTES)}…`, "next", "z".repeat(STDERR_LINE_BYTES)]);
});

test("nothing that moves a cursor or forges a line comes through", () => {
  expect(strip("\u001b[1;31mred\u001b[0m \u001b]0;title\u0007x\u001b]8;;http://a\u001b\\y\u001b(B\u001bc!")).toBe(
    "red xy!",
  );
  expect(strip("a\u0000b\rc\u0085d\u2028e\u202ef\u009bg\th  ")).toBe("abcdefg h");
  expect(strip("\u001b")).toBe("");
});

test("bytes that are no UTF-8 are no reason to fail", () => {
  expect(collect(Uint8Array.of(0xff, 0x61, 0x0a)).lines).toEqual(["\ufffda"]);
});

test("LineRate passes a hundred lines a second and counts the others", () => {
  let now = 0;
  const rate = new LineRate(() => now);
  const passed = Array.from({ length: 250 }, () => rate.take()).filter(({ pass }) => pass);
  expect(passed).toHaveLength(100);
  now = 1000;
  expect(rate.take()).toEqual({ pass: true, suppressed: 150 });
  expect(rate.take()).toEqual({ pass: true, suppressed: 0 });
  expect(rate.flush()).toBe(0);
});
