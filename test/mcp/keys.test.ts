import { expect, test } from "bun:test";
import fc from "fast-check";
import { Fault } from "../../src/mcp/fault.ts";
import { KeyStack } from "../../src/mcp/keys.ts";

const encoder = new TextEncoder();

/** Whether the stack finds two of these keys the same; with `hash`, they all collide. */
function finds(keys: string[], hash: (key: string) => number): boolean {
  const stack = new KeyStack();
  const bytes = encoder.encode(keys.join(""));
  let at = 0;
  for (const key of keys) {
    const { length } = encoder.encode(key);
    stack.push(hash(key), at, at + length);
    at += length;
  }
  try {
    stack.close(bytes, 0);
    return false;
  } catch (fault) {
    if (fault instanceof Fault) return true;
    throw fault;
  }
}

test("finds duplicates whatever the hash is worth", () => {
  const hashes = [() => 7, (key: string) => key.length, (key: string) => Bun.hash.crc32(key) | 0];
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 3 }), { maxLength: 60 }), fc.constantFrom(...hashes), (keys, hash) => {
      expect(finds(keys, hash)).toBe(new Set(keys.map((key) => encoder.encode(key).join())).size < keys.length);
    }),
    { numRuns: 1000 },
  );
});

test("stays fast when all keys collide", () => {
  const keys = Array.from({ length: 100_000 }, (_, i) => `key ${i}`);
  const started = performance.now();
  expect(finds(keys, () => 7)).toBe(false);
  expect(finds([...keys, "key 5"], () => 7)).toBe(true);
  expect(performance.now() - started).toBeLessThan(3000);
});
