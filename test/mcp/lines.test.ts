import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { FREE_BYTES, type Line, LineSplitter } from "../../src/mcp/lines.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const shown = (line: Line | undefined) =>
  line === undefined ? undefined : "bytes" in line ? decoder.decode(line.bytes) : line.overflow;

describe("LineSplitter", () => {
  test("finds the same lines however the bytes are cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: fc.constantFrom("a", "é", "\r", " ", "\n"), maxLength: 20 })),
        fc.array(fc.nat(7)),
        (texts, cuts) => {
          const all = encoder.encode(texts.join("\n"));
          const splitter = new LineSplitter(1000);
          const lines: Line[] = [];
          let at = 0;
          for (let i = 0; at < all.length; i += 1) {
            const size = (cuts[i % Math.max(1, cuts.length)] ?? 3) + 1;
            lines.push(...splitter.push(all.slice(at, at + size)));
            at += size;
          }
          const last = splitter.end();
          const seen = [...lines, ...(last ? [last] : [])].map(shown);
          expect(seen).toEqual(
            decoder
              .decode(all)
              .split(/(?<=\n)/)
              .filter((row) => row !== ""),
          );
          expect(splitter.end()).toBeUndefined();
        },
      ),
      { numRuns: 300 },
    );
  });

  test("copies nothing when a line lies within one chunk", () => {
    const chunk = encoder.encode("one\ntwo\nthree");
    const [one, two] = new LineSplitter(100).push(chunk);
    for (const line of [one, two]) expect(line && "bytes" in line && line.bytes.buffer === chunk.buffer).toBe(true);
  });

  test("reports a line over the cap once, at its end, with its edges, and goes on", () => {
    for (const size of [1, 7, 100, 5000]) {
      const splitter = new LineSplitter(1000);
      const long = `{"id":1,${"x".repeat(3000)},"id":2}\n`;
      const all = encoder.encode(`ok\n${long}fine\n`);
      const lines: Line[] = [];
      for (let at = 0; at < all.length; at += size) lines.push(...splitter.push(all.slice(at, at + size)));
      expect(lines.map(shown)).toEqual(["ok\n", long.length, "fine\n"]);
      const edges = lines[1];
      if (edges === undefined || "bytes" in edges) throw new Error("no overflow");
      expect(decoder.decode(edges.head)).toBe(long.slice(0, 512));
      expect(decoder.decode(edges.tail)).toBe(long.slice(-512));
    }
  });

  test("takes a line of exactly the cap", () => {
    const splitter = new LineSplitter(4);
    expect(splitter.push(encoder.encode("abc\nabcd\n")).map(shown)).toEqual(["abc\n", 5]);
    splitter.push(encoder.encode("abcde"));
    expect(shown(splitter.end())).toBe(5);
  });

  test("is linear when bytes come one by one", () => {
    const splitter = new LineSplitter(10_000_000);
    const byte = encoder.encode("a");
    const started = performance.now();
    for (let i = 0; i < 1_000_000; i += 1) splitter.push(byte);
    const [line] = splitter.push(encoder.encode("\n"));
    expect(shown(line)).toHaveLength(1_000_001);
    expect(performance.now() - started).toBeLessThan(5000);
  });

  test("puts a long line together from pieces of all sizes, whatever becomes of them in between", () => {
    const line = new Uint8Array(3_000_000).map((_, i) => 0x61 + ((i * 7919) % 26));
    line[line.length - 1] = 0x0a;
    let random = 1;
    for (const most of [100, 9_000, 70_000, 400_000]) {
      const splitter = new LineSplitter(10_000_000);
      const found: Uint8Array[] = [];
      for (let at = 0; at < line.length; ) {
        random = (random * 48_271) % 2_147_483_647;
        const size = 1 + (random % most);
        // a short view of a long chunk, or a chunk of its own
        const piece = size % 3 === 0 ? new Uint8Array(500_000).subarray(0, size) : new Uint8Array(size);
        piece.set(line.subarray(at, at + size).subarray(0, size));
        const part = piece.subarray(0, Math.min(size, line.length - at));
        for (const each of splitter.push(part)) if ("bytes" in each) found.push(each.bytes);
        at += size;
      }
      expect(found).toHaveLength(1);
      expect(Buffer.compare(found[0] ?? Buffer.alloc(0), line)).toBe(0);
    }
  });

  test("drops a line that the budget has no room for, and goes on with the next", () => {
    const asked: number[] = [];
    const budget = { take: (bytes: number) => asked.push(bytes) < 2 };
    const splitter = new LineSplitter(64 * FREE_BYTES, budget);
    const chunk = new Uint8Array(FREE_BYTES).fill(0x61);
    for (let i = 0; i < 7; i++) expect(splitter.push(chunk)).toEqual([]);
    expect(asked).toEqual([FREE_BYTES, FREE_BYTES]);
    const [long, next] = splitter.push(encoder.encode('"id":7}\nnext\n'));
    if (long === undefined || "bytes" in long) throw new Error("it was not dropped");
    expect(long).toMatchObject({ overflow: 7 * FREE_BYTES + 8, crowded: true });
    expect(decoder.decode(long.tail)).toEndWith('"id":7}\n');
    expect(shown(next)).toBe("next\n");
    expect(splitter.taken).toBe(0);
  });

  test("asks no budget for ordinary lines", () => {
    const splitter = new LineSplitter(64 * FREE_BYTES, { take: () => false });
    splitter.push(new Uint8Array(FREE_BYTES / 4).fill(0x61));
    expect(splitter.push(encoder.encode("b\n")).map((line) => "bytes" in line)).toEqual([true]);
  });
});
