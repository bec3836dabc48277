import { afterEach, beforeEach, expect, test } from "bun:test";
import { ingest, MAX_ITEM } from "../../src/audit/ingest.ts";
import { newestEvents } from "../../src/audit/store.ts";
import { newUid } from "../../src/audit/uid.ts";
import { joinAgent, removeAgent } from "../../src/store/agents.ts";
import { openStore } from "../../src/store/open.ts";
import { createSession } from "../../src/store/sessions.ts";
import type { Store } from "../../src/store/store.ts";

let store: Store;
let a: string;
let b: string;
beforeEach(async () => {
  store = await openStore(":memory:");
  const join = async (name: string) => (await joinAgent(store, { name, jkt: name, publicJwk: {}, now: 0 })).id;
  a = await join("host-a");
  b = await join("host-b");
  const common = { app: "everything", clientJkt: "k", remote: "" };
  await createSession(store, { ...common, sid: "sa", user: "alice", agentId: a, agent: "host-a" }, 0);
  await createSession(store, { ...common, sid: "sb", user: "bob", agentId: b, agent: "host-b" }, 0);
});
afterEach(() => store.destroy());

const item = (more: Record<string, unknown> = {}) => ({
  event: "mcp.session.request",
  uid: newUid(),
  time: "2026-11-23T05:24:00.000Z",
  v: 1,
  sid: "sa",
  method: "tools/call",
  tool: "echo",
  arguments: { message: "hi" },
  success: true,
  ...more,
});
const send = (items: unknown[], agent = a) =>
  ingest(
    store,
    agent,
    items.map((i) => (typeof i === "string" ? i : JSON.stringify(i))),
    Date.UTC(2026, 0, 1),
  );
const stored = async () => (await newestEvents(store, {}, { limit: 100 })).events;

test("user, app and agent come from the proxy's record of the session, whatever the agent says", async () => {
  const event = item({ user: "admin", app: "other", agent: "host-b", actor: "uid:0", remote: "1.2.3.4", extra: 1 });
  expect(await send([event])).toEqual({ stored: 1, invalid: 0 });
  expect(await stored()).toEqual([
    {
      event: "mcp.session.request",
      uid: event.uid,
      time: event.time,
      v: 1,
      user: "alice",
      app: "everything",
      agent: "host-a",
      sid: "sa",
      method: "tools/call",
      tool: "echo",
      arguments: { message: "hi" },
      success: true,
    },
  ]);
});

test("a retry is no duplicate, also of what did not fit", async () => {
  const items = [item(), item(), "not json", item({ sid: "sb" })];
  expect(await send(items)).toEqual({ stored: 4, invalid: 2 });
  expect(await send([...items, item()])).toEqual({ stored: 1, invalid: 2 });
  expect(await stored()).toHaveLength(5);
});

test("an event of another agent's session, or of none, is kept and belongs to nobody", async () => {
  await send([item({ sid: "sb", user: "bob" }), item({ sid: "sx", details: { rule: "x" } })]);
  const [other, none] = await stored();
  expect(other).toMatchObject({ agent: "host-a", tool: "echo", details: { claimed_sid: "sb" } });
  expect(none).toMatchObject({ agent: "host-a", details: { claimed_sid: "sx", rule: "x" } });
  for (const event of [other, none]) {
    expect(event?.details?.invalid).toBe("the session is not one of this agent's");
    for (const key of ["user", "app", "sid"]) expect(event).not.toHaveProperty(key);
  }
});

test("what is no event of a session is kept, bounded, as mcp.session.invalid", async () => {
  const wrong: unknown[] = [
    "",
    "[]",
    "{",
    item({ event: "user.login" }),
    item({ event: "agent.remove" }),
    item({ uid: "mine" }),
    item({ time: "yesterday" }),
    item({ time: "2026-99-99T00:00:00Z" }),
    item({ sid: undefined }),
    item({ arguments: "text" }),
    item({ duration_ms: -1 }),
    item({ outcome: "fine" }),
    item({ tool: "x".repeat(10_000) }),
    item({ details: { big: "x".repeat(MAX_ITEM) } }),
    "\ud800",
  ];
  expect(await send(wrong)).toEqual({ stored: wrong.length, invalid: wrong.length });
  for (const event of await stored()) {
    expect(event).toMatchObject({ event: "mcp.session.invalid", agent: "host-a", v: 1 });
    expect(event.time).toBe("2026-01-01T00:00:00.000Z");
    expect(typeof event.details?.invalid).toBe("string");
    expect(String(event.details?.raw).length).toBeLessThanOrEqual(16 * 1024);
    expect(event).not.toHaveProperty("user");
  }
});

test("times are normalised, so that they sort", async () => {
  await send([item({ time: "2026-11-23T05:24:00Z" }), item({ time: "2026-11-23T05:24:00.123456Z" })]);
  expect((await stored()).map((event) => event.time)).toEqual(["2026-11-23T05:24:00.000Z", "2026-11-23T05:24:00.123Z"]);
});

test("events that a removed agent had sent before it went are still its sessions'", async () => {
  await removeAgent(store, a);
  expect(await send([item()])).toEqual({ stored: 1, invalid: 0 });
  expect(await stored()).toMatchObject([{ user: "alice", agent: "host-a" }]);
});

test("one agent cannot write over what is stored", async () => {
  const event = item();
  await send([event]);
  expect(await send([{ ...event, tool: "harmless" }])).toEqual({ stored: 0, invalid: 0 });
  expect(await send([{ ...event, sid: "sb", tool: "harmless" }], b)).toEqual({ stored: 0, invalid: 0 });
  expect(await stored()).toMatchObject([{ tool: "echo", user: "alice" }]);
});
