import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Retention, retire } from "../../src/audit/retention.ts";
import { newestEvents } from "../../src/audit/store.ts";
import { createLog } from "../../src/log.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";
import { sampleLog } from "./log.ts";

let dir: string;
let store: Store;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "mcpgate-retention-"));
  store = await openStore(join(dir, "mcpgate.db"));
});
afterEach(async () => {
  await store.destroy();
  rmSync(dir, { recursive: true });
});

const count = async () =>
  Number((await store.selectFrom("events").select(store.fn.countAll().as("n")).executeTakeFirst())?.n);

test("by size: the oldest go, in batches, until the database fits; what is left verifies", async () => {
  const { log, a } = await sampleLog(store);
  for (let i = 0; i < 8; i++) {
    await a.ship(Array.from({ length: 500 }, () => a.event({ arguments: { pad: "x".repeat(300) } })));
  }
  await a.sign();
  await log.seal();
  const before = await count();
  const limits = { maxBytes: 2 * 1024 * 1024 };
  const retired = await retire(store, limits, () => log.now);
  expect(retired % 500).toBe(0);
  expect(retired).toBeGreaterThan(500);
  expect(await count()).toBe(before - retired + retired / 500); // and one gap event a batch
  expect(await retire(store, limits, () => log.now)).toBe(0);
  await log.seal();
  const result = await log.verify();
  expect(result.found).toEqual([]);
  expect(retired - result.retired).toBe(14); // of the first boot's chain nothing is left
});

test("nothing goes before its time, and not one by one when it comes", async () => {
  const { log } = await sampleLog(store);
  const before = await count();
  const limits = { maxAgeMs: 100_000 };
  const oldest = (await store.selectFrom("events").select("stored_at").orderBy("seq").limit(1).executeTakeFirst())
    ?.stored_at;
  log.now = (oldest ?? 0) + 100_500; // a few are due, within the slack
  expect(await retire(store, limits, () => log.now)).toBe(0);
  expect(await count()).toBe(before);
  expect(await retire(store, {}, () => log.now)).toBe(0);
  log.now += 10_000;
  expect(await retire(store, limits, () => log.now)).toBe(before);
  const { events } = await newestEvents(store, {}, { limit: 10 });
  expect(events).toMatchObject([{ event: "audit.gap", details: { reason: "retention", events: before } }]);
  await log.seal();
  expect((await log.verify()).found).toEqual([]);
});

test("it looks by itself, and says what it did", async () => {
  const { log } = await sampleLog(store);
  const logged = Promise.withResolvers<string>();
  log.now += 1_000_000;
  const retention = new Retention({
    store,
    limits: { maxAgeMs: 1000 },
    log: createLog({ write: (line) => logged.resolve(line) }),
    now: () => log.now,
    everyMs: 5,
  });
  expect(await logged.promise).toContain("audit.retired");
  await retention.stop();
  expect(await count()).toBeLessThan(3);
});
