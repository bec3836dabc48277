import { expect, test } from "bun:test";
import { crowdedOut, HeldBytes } from "../../src/agent/held-bytes.ts";
import { Budget } from "../../src/link/budget.ts";

const KIB = 1024;

test("what is free takes nothing, what is beyond it is taken and given back", () => {
  const budget = new Budget({ total: 1024 * KIB, user: 512 * KIB });
  const held = new HeldBytes(budget.of("alice"));
  expect(held.add(256 * KIB)).toBe(true);
  expect(budget.used).toBe(0);
  expect(held.add(500 * KIB)).toBe(true);
  expect(budget.used).toBe(500 * KIB);
  expect(held.add(13 * KIB)).toBe(false);
  expect(held.add(12 * KIB)).toBe(true);
  held.remove(256 * KIB);
  expect(budget.used).toBe(256 * KIB);
  held.close();
  held.remove(512 * KIB);
  held.close();
  expect(budget.used).toBe(0);
});

test("an answer that there is no room for becomes an error with its id; anything else is nothing", () => {
  const line = (message: object) => Buffer.from(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  const error = crowdedOut(line({ id: "a", result: { x: "y".repeat(1000) } }));
  expect(JSON.parse(Buffer.from(error ?? []).toString())).toMatchObject({ id: "a", error: { code: -31003 } });
  expect(crowdedOut(line({ method: "notifications/message", params: {} }))).toBeUndefined();
  expect(crowdedOut(line({ id: 1, method: "ping" }))).toBeUndefined();
});
