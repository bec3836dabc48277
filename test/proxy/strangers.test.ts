import { expect, test } from "bun:test";
import { Strangers } from "../../src/proxy/strangers.ts";

test("an address has its share, others theirs, and what is left can be taken again", () => {
  const strangers = new Strangers();
  const taken = Array.from({ length: 150 }, () => strangers.enter("192.0.2.1"));
  expect(taken.filter(Boolean)).toHaveLength(100);
  expect(strangers.enter("192.0.2.2")).toBe(true);
  strangers.leave("192.0.2.1");
  expect([strangers.enter("192.0.2.1"), strangers.enter("192.0.2.1")]).toEqual([true, false]);
});

test("all addresses together are bounded", () => {
  const strangers = new Strangers();
  const taken = Array.from({ length: 5_000 }, (_, i) => strangers.enter(`10.0.${i >> 8}.${i & 255}`));
  expect(taken.filter(Boolean)).toHaveLength(2_000);
});
