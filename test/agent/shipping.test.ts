/** When batches of audit events go to the proxy, and what becomes of them when it is away or says what can't be. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Shipping } from "../../src/agent/shipping.ts";
import { Spool } from "../../src/audit/spool.ts";
import { newUid } from "../../src/audit/uid.ts";
import type { AuditEvent } from "../../src/event.ts";
import { generateKeyPair } from "../../src/identity/keys.ts";
import { MAX_BATCH_EVENTS } from "../../src/link/from-agent.ts";
import { createLog } from "../../src/log.ts";

const log = createLog({ write: () => {} });
const key = await generateKeyPair();
let directory: string;
let spool: Spool;
let shipping: Shipping;
let up: boolean;
/** What was shipped: its lines, and when. */
let shipped: { lines: string[]; bytes: number; at: number }[];
let waiting: PromiseWithResolvers<void> | undefined;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "mcpgate-shipping-"));
  spool = Spool.open(directory, { log, maxBytes: 16 * 1024 * 1024 });
  shipped = [];
  up = true;
  shipping = new Shipping({
    ...{ spool, key, log, up: () => up },
    send: () => {},
    onStalled: () => {},
    ship(lines) {
      shipped.push({ lines: lines.toString().split("\n"), bytes: lines.length, at: performance.now() });
      waiting?.resolve();
    },
  });
});
afterEach(() => {
  shipping.stop();
  spool.close();
  rmSync(directory, { recursive: true });
});

const append = (count: number): void =>
  spool.append(
    Array.from({ length: count }, (): AuditEvent => ({ event: "mcp.session.request", uid: newUid(), time: "", v: 1 })),
  );
/** Of the last batch. */
const stored = (): boolean => shipping.stored(shipped.at(-1)?.bytes ?? 0);
async function batch(number: number): Promise<string[]> {
  while (shipped.length < number) {
    waiting = Promise.withResolvers<void>();
    await waiting.promise;
  }
  return shipped[number - 1]?.lines ?? [];
}

test("what comes within a moment travels together, also what comes while a batch is under way", async () => {
  append(1);
  append(2);
  expect(shipped).toHaveLength(0);
  expect(await batch(1)).toHaveLength(3);
  append(1);
  const answered = performance.now();
  expect(stored()).toBe(true);
  append(1);
  expect(shipped).toHaveLength(1);
  expect(await batch(2)).toHaveLength(2);
  expect((shipped[1]?.at ?? 0) - answered).toBeGreaterThan(90);
  stored();
  expect(spool.pending).toBe(0);
});

test("what waits goes batch by batch without a pause, but for a burst of calls, which comes first", async () => {
  append(3 * MAX_BATCH_EVENTS);
  expect(await batch(1)).toHaveLength(MAX_BATCH_EVENTS);
  stored();
  expect(shipped).toHaveLength(2);
  append(MAX_BATCH_EVENTS);
  stored();
  expect(shipped).toHaveLength(2);
  await batch(3);
  stored();
  expect(shipped).toHaveLength(4);
  stored();
  expect(spool.pending).toBe(0);
});

test("a burst does not fill the spool", async () => {
  append(1);
  await batch(1);
  const size = () => spool.bytes / spool.limit;
  while (size() < 1 / 8) append(MAX_BATCH_EVENTS);
  stored();
  expect(shipped).toHaveLength(2);
});

test("nor do a few large events fill a small one", async () => {
  const large = "x".repeat(15 * 1024);
  const event = (): AuditEvent => ({ event: "mcp.session.request", uid: newUid(), time: "", v: 1, details: { large } });
  spool.append(Array.from({ length: 120 }, event));
  const [first] = [await batch(1)];
  expect(first.length).toBeLessThan(40);
  for (let sent = first.length; sent < 120; sent += shipped.at(-1)?.lines.length ?? 0) {
    const before = shipped.length;
    stored();
    expect(shipped).toHaveLength(before + 1);
  }
});

test("a batch that was under way when the connection was lost goes once more", async () => {
  append(2);
  const lines = await batch(1);
  up = false;
  append(1);
  up = true;
  shipping.begin();
  expect(await batch(2)).toEqual([...lines, expect.any(String)]);
});

test("a proxy that leaves a batch without an answer is told of, and one that answers in time is not", async () => {
  shipping.stop();
  const stalled = Promise.withResolvers<void>();
  let times = 0;
  shipping = new Shipping({
    ...{ spool, key, log, up: () => true, send: () => {}, storeMs: 50 },
    ship: (lines) => void shipped.push({ lines: [], bytes: lines.length, at: performance.now() }),
    onStalled() {
      times++;
      stalled.resolve();
    },
  });
  append(1);
  shipping.begin();
  expect(stored()).toBe(true);
  append(1);
  shipping.begin();
  const sent = performance.now();
  await stalled.promise;
  expect(performance.now() - sent).toBeGreaterThan(40);
  expect(times).toBe(1);
});

test("nothing that was not sent is taken for stored", async () => {
  expect(shipping.stored(0)).toBe(false);
  append(1);
  await batch(1);
  expect(shipping.stored((shipped[0]?.bytes ?? 0) + 1)).toBe(false);
  expect(spool.pending).toBe(1);
  expect(stored()).toBe(true);
  expect(stored()).toBe(false);
});

test("an event that is larger than a batch goes alone", async () => {
  const large = "x".repeat(1024 * 1024);
  spool.append([{ event: "mcp.session.request", uid: newUid(), time: "", v: 1, details: { large } }]);
  append(1);
  expect(await batch(1)).toHaveLength(1);
  stored();
  expect(await batch(2)).toHaveLength(1);
});

test("at the end nothing waits for company", async () => {
  append(2);
  const flushed = shipping.flush(5_000);
  expect(shipped).toHaveLength(1);
  append(1);
  stored();
  expect(shipped).toHaveLength(2);
  stored();
  await flushed;
  expect(spool.pending).toBe(0);
});
