import { expect, test } from "bun:test";
import { NotificationMeter } from "../../src/agent/notification-meter.ts";
import type { EventDraft } from "../../src/event.ts";

let now = 0;
const meter = () => new NotificationMeter({ now: () => now, burst: 3, windowMs: 1000 });
const progress: EventDraft = { event: "mcp.session.notification", from: "server", method: "notifications/progress" };
const log: EventDraft = { ...progress, method: "notifications/message" };
const response: EventDraft = { event: "mcp.session.response", request: "r" };
const summary = (event: EventDraft["event"], counted: Record<string, number>, within_ms = 1000): EventDraft => {
  const total = Object.values(counted).reduce((sum, count) => sum + count, 0);
  return { event, from: "server", details: { counted, total, within_ms } };
};

test("up to the rate each is recorded, beyond it they are counted; the summary comes before what follows", () => {
  now = 0;
  const m = meter();
  expect(m.take([progress, progress, log])).toEqual([progress, progress, log]);
  expect(m.take([progress, log, progress])).toEqual([]);
  expect(m.take([response])).toEqual([response]); // an answer never waits
  now = 999;
  expect(m.take([log])).toEqual([]);
  now = 1000;
  const counted = { "notifications/progress": 2, "notifications/message": 2 };
  expect(m.take([response, progress])).toEqual([summary("mcp.session.notification", counted), response, progress]);
  now = 5000;
  expect(m.take([])).toEqual([]);
});

test("calls, the client's notifications and everything else are never counted", () => {
  now = 0;
  const m = meter();
  const client: EventDraft = { ...progress, from: "client" };
  const request: EventDraft = { event: "mcp.session.request", from: "server", method: "sampling/createMessage" };
  const many = Array.from({ length: 50 }, () => [client, request, response]).flat();
  expect(m.take(many)).toEqual(many);
});

test("lines that are no messages are counted too, under why they were refused", () => {
  now = 0;
  const m = meter();
  const junk: EventDraft = { event: "mcp.session.invalid", from: "server", details: { reason: "not JSON" } };
  expect(m.take(Array.from({ length: 10 }, () => junk))).toHaveLength(3);
  expect(m.flush(false)).toEqual([]);
  now = 400;
  expect(m.flush(true)).toEqual([summary("mcp.session.invalid", { "not JSON": 7 }, 400)]);
  expect(m.flush(true)).toEqual([]);
});

test("a server that makes up names fills no memory", () => {
  now = 0;
  const m = meter();
  for (let i = 0; i < 10_000; i++) m.take([{ ...progress, method: `${"x".repeat(500)}${i}` }]);
  for (let i = 0; i < 10_000; i++) m.take([{ ...progress, method: `m${i}` }]);
  const [told] = m.flush(true);
  const counted = told?.details?.counted as Record<string, number>;
  expect(Object.keys(counted).length).toBeLessThanOrEqual(51);
  expect(told?.details?.total).toBe(19_997);
});
