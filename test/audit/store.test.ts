import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GENESIS, hashLine } from "../../src/audit/chain.ts";
import { closeSessions, openSession } from "../../src/audit/sessions.ts";
import {
  appendOwn,
  type EventFilter,
  eventsAfter,
  lastCursor,
  newestEvents,
  recordEvents,
  type TimeCursor,
} from "../../src/audit/store.ts";
import { newUid } from "../../src/audit/uid.ts";
import type { AuditEvent, EventName } from "../../src/event.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";

let store: Store;
beforeEach(async () => {
  store = await openStore(":memory:");
});
afterEach(() => store.destroy());

const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString();
const make = (second: number, more: Partial<AuditEvent> = {}): AuditEvent => ({
  event: "mcp.session.request",
  uid: newUid(),
  time: at(second),
  v: 1,
  tool: `t${second}`,
  ...more,
});
/** Without their place in the proxy's chain. */
const bare = (events: AuditEvent[]) => events.map(({ chain: _, n: __, prev: ___, ...event }) => event);
const tools = (page: { events: AuditEvent[] }) => page.events.map((event) => event.tool);

test("an event goes in once, whole, and comes out as it went in, with its place in the proxy's chain", async () => {
  const first = make(1, { user: "alice", arguments: { n: 12345678901234, nested: { a: ["é", null] } }, success: true });
  const stored = await appendOwn(store, [first, make(2)], 0);
  await expect(appendOwn(store, [make(3), first], 0)).rejects.toMatchObject({ code: "conflict" });
  expect(await appendOwn(store, [], 0)).toEqual([]);
  await appendOwn(store, [make(4)], 0);
  const page = await newestEvents(store, {}, { limit: 10 });
  expect(tools(page)).toEqual(["t1", "t2", "t4"]);
  expect(page.events.slice(0, 2)).toEqual(stored);
  expect(bare(page.events)[0]).toEqual(first);
  expect(page.events.map(({ n }) => n)).toEqual([1, 2, 3]);
  expect(new Set(page.events.map(({ chain }) => chain)).size).toBe(1);
  expect(page.events[1]?.prev).toBe(hashLine(JSON.stringify(stored[0])));
});

test("a batch is stored as a whole or not at all, and so is the chain", async () => {
  const bad = make(2, { time: null as unknown as string });
  await expect(appendOwn(store, [make(1), ...Array.from({ length: 600 }, () => make(5)), bad], 0)).rejects.toThrow();
  expect(await lastCursor(store)).toBe(0);
  expect((await appendOwn(store, [make(1)], 0))[0]?.n).toBe(1);
});

test("more events than one statement takes", async () => {
  expect(
    await appendOwn(
      store,
      Array.from({ length: 1203 }, (_, i) => make(i % 60)),
      0,
    ),
  ).toHaveLength(1203);
});

test("filters: every one alone, and together", async () => {
  const kinds: EventName[] = ["user.login", "mcp.session.request", "mcp.session.response"];
  const events = Array.from({ length: 24 }, (_, i) =>
    make(i, {
      event: kinds[i % 3] ?? "user.login",
      user: i % 2 === 0 ? "alice" : "bob",
      app: i < 12 ? "one" : "two",
      agent: i % 4 === 0 ? "a" : "b",
      sid: `s${i % 5}`,
    }),
  );
  await appendOwn(store, events, 0);
  const found = async (filter: EventFilter) => bare((await newestEvents(store, filter, { limit: 100 })).events);
  expect(await found({ user: "alice" })).toEqual(events.filter((e) => e.user === "alice"));
  expect(await found({ app: "two" })).toEqual(events.filter((e) => e.app === "two"));
  expect(await found({ agent: "a" })).toEqual(events.filter((e) => e.agent === "a"));
  expect(await found({ sid: "s3" })).toEqual(events.filter((e) => e.sid === "s3"));
  expect(await found({ events: ["user.login"] })).toEqual(events.filter((e) => e.event === "user.login"));
  expect(await found({ events: ["user.login", "mcp.session.response"], user: "bob", app: "one" })).toEqual(
    events.filter((e) => e.event !== "mcp.session.request" && e.user === "bob" && e.app === "one"),
  );
  expect(await found({ since: at(5), until: at(8) })).toEqual(events.slice(5, 8));
  expect(await found({ user: "nobody" })).toEqual([]);
});

test("the newest come by time, whenever they were stored, and page back without a gap or a double", async () => {
  const seconds = [5, 1, 3, 3, 9, 3, 2, 8, 3, 7];
  for (const [i, second] of seconds.entries()) await appendOwn(store, [make(second, { tool: `${second}.${i}` })], 0);
  const newest = await newestEvents(store, {}, { limit: 3 });
  expect(tools(newest)).toEqual(["7.9", "8.7", "9.4"]);
  expect(newest.more).toBe(true);

  const seen: (string | undefined)[] = [];
  let before: TimeCursor | undefined;
  do {
    const page = await newestEvents(store, {}, { limit: 2, before });
    seen.unshift(...tools(page));
    before = page.before;
    if (seen.length === 4) await appendOwn(store, [make(59)], 0); // newer than the page: not seen again
  } while (before !== undefined);
  expect(seen).toEqual(["1.1", "2.6", "3.2", "3.3", "3.5", "3.8", "5.0", "7.9", "8.7", "9.4"]);
});

test("a tail sees every event once, in the order of storing, also those that come late", async () => {
  await appendOwn(store, [make(1), make(2)], 0);
  const cursor = await lastCursor(store);
  expect(await eventsAfter(store, {}, { after: cursor, limit: 10 })).toEqual({ events: [], more: false, cursor });
  await appendOwn(store, [make(30, { user: "alice" }), make(0, { user: "alice" }), make(20)], 0);
  const first = await eventsAfter(store, {}, { after: cursor, limit: 2 });
  expect([tools(first), first.more]).toEqual([["t30", "t0"], true]);
  const second = await eventsAfter(store, {}, { after: first.cursor, limit: 2 });
  expect([tools(second), second.more]).toEqual([["t20"], false]);
  expect(tools(await eventsAfter(store, { user: "alice" }, { after: 0, limit: 10 }))).toEqual(["t30", "t0"]);
});

test("events of the proxy's own get id, time and version", async () => {
  const now = Date.UTC(2026, 10, 23);
  const [event] = await recordEvents(store, [{ event: "user.login", user: "bob", success: false, error: "no" }], now);
  expect(event).toEqual({
    event: "user.login",
    uid: expect.stringMatching(/^[0-9a-f-]{36}$/),
    time: "2026-11-23T00:00:00.000Z",
    v: 1,
    user: "bob",
    success: false,
    error: "no",
    chain: expect.stringMatching(/^[0-9a-f-]{36}$/),
    n: 1,
    prev: GENESIS,
  });
  expect((await newestEvents(store, {}, { limit: 1 })).events).toEqual(event === undefined ? [] : [event]);
});

test("a session's beginning and end are each told once", async () => {
  const session = {
    sid: "s1",
    user: "alice",
    app: "everything",
    agentId: "a-1",
    agent: "host-a",
    clientJkt: "k",
    remote: "127.0.0.1",
  };
  await openSession(store, session, 1000);
  await openSession(store, session, 2000);
  await closeSessions(store, { sid: "s1" }, "killed", 4000);
  await closeSessions(store, { sid: "s1" }, "again", 5000);
  const { events } = await newestEvents(store, { sid: "s1" }, { limit: 10 });
  expect(events.map((event) => event.event)).toEqual(["mcp.session.start", "mcp.session.end"]);
  expect(events[1]).toMatchObject({
    user: "alice",
    app: "everything",
    agent: "host-a",
    remote: "127.0.0.1",
    duration_ms: 3000,
    details: { reason: "killed" },
  });
});

test("stored events outlive the process's end without a close", async () => {
  const dir = mkdtempSync(join(tmpdir(), "mcpgate-events-"));
  try {
    const path = join(dir, "mcpgate.db");
    // a process that is killed right after the insert has returned
    const script = `
      const { openStore } = await import(${JSON.stringify(join(import.meta.dir, "../../src/store/open.ts"))});
      const { recordEvents } = await import(${JSON.stringify(join(import.meta.dir, "../../src/audit/store.ts"))});
      const store = await openStore(${JSON.stringify(path)});
      await recordEvents(store, [{ event: "user.login", user: "bob" }], 1);
      process.kill(process.pid, "SIGKILL");`;
    const child = Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "ignore", "inherit"] });
    await child.exited;
    expect(child.signalCode).toBe("SIGKILL");
    const reopened = await openStore(path);
    expect((await newestEvents(reopened, {}, { limit: 10 })).events).toMatchObject([{ user: "bob" }]);
    await reopened.destroy();
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
