import { expect, test } from "bun:test";
import { Inbound } from "../../src/agent/inbound.ts";
import { Budget } from "../../src/link/budget.ts";

const MIB = 1024 * 1024;
const part = new Uint8Array(MIB).fill(0x61);
const LF = new Uint8Array([0x0a]);

test("many sessions that send lines without end take one user's share, and leave the others theirs", () => {
  const budget = new Budget({ total: 100 * MIB, user: 20 * MIB });
  const sessions = Array.from({ length: 20 }, () => new Inbound(budget.of("mallory")));
  for (let i = 0; i < 60; i++) for (const { lines } of sessions) lines.push(part);
  expect(budget.used).toBeLessThanOrEqual(20 * MIB);

  const other = new Inbound(budget.of("alice"));
  for (let i = 0; i < 8; i++) other.lines.push(part);
  const [line] = other.lines.push(LF);
  expect(line !== undefined && "bytes" in line && line.bytes.length).toBe(8 * MIB + 1);
  const ends = sessions.flatMap(({ lines }) => lines.push(LF));
  expect(ends.every((end) => "overflow" in end && end.crowded)).toBe(true);

  for (const inbound of [...sessions, other]) inbound.settle();
  expect(budget.used).toBe(0);
});

test("holds what a line took until it is settled, and no longer than the session", () => {
  const budget = new Budget({ total: 100 * MIB, user: 100 * MIB });
  const inbound = new Inbound(budget.of("alice"));
  for (let i = 0; i < 4; i++) inbound.lines.push(part);
  inbound.lines.push(LF);
  const held = budget.used;
  expect(held).toBeGreaterThan(3 * MIB);
  inbound.lines.push(part);
  inbound.lines.push(part);
  inbound.settle();
  expect(budget.used).toBeGreaterThan(0); // of the line that is not finished
  expect(budget.used).toBeLessThan(held);
  inbound.close();
  expect(budget.used).toBe(0);
  inbound.lines.push(part);
  expect(budget.used).toBe(0);
});
