import { afterEach, beforeEach, expect, test } from "bun:test";
import { hashLine } from "../../src/audit/chain.ts";
import { signHead } from "../../src/audit/head.ts";
import { checkpoint, keepHead, sealOwn } from "../../src/audit/heads.ts";
import { ingest, MAX_ITEM } from "../../src/audit/ingest.ts";
import { newestEvents } from "../../src/audit/store.ts";
import { newUid } from "../../src/audit/uid.ts";
import { generateKeyPair } from "../../src/identity/keys.ts";
import { removeAgent } from "../../src/store/agents.ts";
import { findChain, ownChain } from "../../src/store/chains.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";
import { type TestAgent, TestLog } from "./log.ts";

let store: Store;
let log: TestLog;
let a: TestAgent;
let b: TestAgent;
beforeEach(async () => {
  store = await openStore(":memory:");
  log = await TestLog.make(store);
  a = await log.agent("host-a");
  b = await log.agent("host-b");
  await a.boot();
  await b.boot();
});
afterEach(() => store.destroy());

const send = (items: string[], agent = a) => ingest(store, agent.id, items, log.now);
/** All but the beginnings of the two chains. */
const stored = async () =>
  (await newestEvents(store, {}, { limit: 100 })).events.filter(({ event }) => event !== "audit.chain.start");
const disputed = async () => (await stored()).filter(({ event }) => event === "audit.disputed");

test("an agent's line is stored byte for byte, and is the event", async () => {
  const lines = await a.ship([a.event({ arguments: { big: 12345678901234, é: [null, "\u2028"] } }), a.event()]);
  const rows = await store.selectFrom("events").selectAll().where("chain", "=", a.end.chain).orderBy("n").execute();
  expect(rows.slice(1).map(({ body }) => body)).toEqual(lines);
  expect(rows[1]).toMatchObject({ user: "alice", app: "files", agent: "host-a", sid: a.sid, n: 2, verdict: null });
  expect(await stored()).toEqual(lines.map((line) => JSON.parse(line)));
  expect(await findChain(store, a.end.chain)).toMatchObject({ n: 3, hash: hashLine(lines[1] ?? ""), agent_id: a.id });
});

test("user, app, agent and sid are what the proxy's record says, and where the line says else, that is recorded", async () => {
  await a.ship([
    a.event({ user: "admin" }),
    a.event({ user: "admin" }),
    a.event({ agent: "host-b" }),
    a.event({ actor: "uid:0", remote: "1.2.3.4" }),
  ]);
  const events = (await stored()).filter(({ event }) => event === "mcp.session.request");
  expect(events).toHaveLength(4);
  for (const event of events) {
    expect(event).toMatchObject({ user: "alice", app: "files", agent: "host-a", sid: a.sid, tool: "read" });
    expect(event).not.toHaveProperty("actor");
    expect(event).not.toHaveProperty("remote");
    expect(event.details?.invalid).toBeString();
  }
  expect((await disputed()).map(({ details }) => [details?.from, details?.to, details?.whose])).toEqual([
    [2, 3, ["alice", "files", "host-a", a.sid]],
    [4, 4, ["alice", "files", "host-a", a.sid]],
    [5, 5, ["alice", "files", "host-a", a.sid]],
  ]);
});

test("a retry is no duplicate, also of what did not fit", async () => {
  const lines = await a.ship([a.event(), a.event(), a.event({ sid: b.sid })]);
  const before = (await stored()).length;
  expect(await send([...lines, "not json"])).toEqual({ stored: 1, invalid: 1 });
  expect(await send([...lines, "not json"])).toEqual({ stored: 0, invalid: 1 });
  expect(await stored()).toHaveLength(before + 1);
  expect((await log.verify()).found).toEqual([]);
});

test("an event of another agent's session, or of none, is kept and belongs to nobody", async () => {
  await a.ship([a.event({ sid: b.sid, user: "bob" }), a.event({ sid: "sx", details: { rule: "x" } })]);
  const [other, none] = await stored();
  expect(other).toMatchObject({ agent: "host-a", tool: "read", details: { claimed_sid: b.sid } });
  expect(none).toMatchObject({ agent: "host-a", details: { claimed_sid: "sx", rule: "x" } });
  for (const event of [other, none]) {
    expect(event?.details?.invalid).toBe("the session is not one of this agent's");
    for (const key of ["user", "app", "sid"]) expect(event).not.toHaveProperty(key);
  }
});

test("what an agent may not say is kept, and disputed", async () => {
  const wrong = [
    a.event({ event: "user.login" }),
    a.event({ arguments: "text" as never }),
    a.event({ duration_ms: -1 }),
    a.event({ outcome: "fine" as never }),
    a.event({ tool: "x".repeat(10_000) }),
    { event: "audit.checkpoint" as const, agent: "host-a" },
    { event: "audit.gap" as const, agent: "host-a", sid: a.sid },
  ];
  await a.ship(wrong);
  expect(await disputed()).toHaveLength(wrong.length);
  const rows = await store.selectFrom("events").select("verdict").where("chain", "=", a.end.chain).execute();
  expect(rows.filter(({ verdict }) => verdict !== null)).toHaveLength(wrong.length);
  expect((await log.verify()).found).toEqual([]);
});

test("what has no place in a chain of this agent's is an event of the proxy's, bounded", async () => {
  const line = (more: Record<string, unknown>) =>
    JSON.stringify({
      ...a.event(),
      uid: newUid(),
      time: log.time(),
      v: 1,
      chain: a.end.chain,
      n: 9,
      prev: "0".repeat(64),
      ...more,
    });
  const wrong = [
    "",
    "[]",
    "{",
    line({ uid: "mine" }),
    line({ time: "yesterday" }),
    line({ time: "2026-99-99T00:00:00.000Z" }),
    line({ n: 0 }),
    line({ prev: 7 }),
    line({ chain: b.end.chain }),
    line({ details: { big: "x".repeat(MAX_ITEM) } }),
    "\ud800",
  ];
  expect(await send(wrong)).toEqual({ stored: wrong.length, invalid: wrong.length });
  const events = await stored();
  expect(events).toHaveLength(wrong.length);
  const own = await ownChain(store, 0);
  for (const event of events) {
    expect(event).toMatchObject({ event: "mcp.session.invalid", agent: "host-a", v: 1, chain: own.chain });
    expect(event.details?.invalid).toBeString();
    expect(String(event.details?.raw).length).toBeLessThanOrEqual(16 * 1024);
    expect(event).not.toHaveProperty("user");
  }
});

test("events that a removed agent had sent before it went are still its sessions'", async () => {
  await removeAgent(store, a.id);
  const { chain } = a.end;
  await store.deleteFrom("chains").where("chain", "=", chain).execute(); // not even the chain is known any more
  await a.ship([a.event()]);
  expect((await stored())[0]).toMatchObject({ user: "alice", event: "mcp.session.request" });
});

test("one agent cannot write over what is stored: neither its own place, nor another's uid", async () => {
  const [line = ""] = await a.ship([a.event()]);
  const forged = { ...JSON.parse(line), tool: "harmless" };
  expect(await send([JSON.stringify(forged)])).toEqual({ stored: 1, invalid: 1 });
  await b.ship([b.event({ uid: forged.uid, tool: "harmless" })]);
  const events = await stored();
  expect(events.filter(({ uid }) => uid === forged.uid)).toMatchObject([{ tool: "read", user: "alice" }]);
  expect(events.filter(({ tool }) => tool === "harmless")).toMatchObject([
    { agent: "host-b", details: { invalid: "its uid was used before" } },
  ]);
  expect(events.find(({ event }) => event === "mcp.session.invalid")?.details).toMatchObject({
    invalid: "another line stands at its place",
    raw: JSON.stringify(forged),
  });
  await log.seal();
  expect((await log.verify()).found).toEqual([]);
});

test("a head is kept when the agent's key signed it over what is stored, and only then", async () => {
  await a.calls(3);
  const keep = async (head: Parameters<typeof signHead>[0], key = a.key, agent = a) =>
    keepHead(store, agent.id, await signHead(head, key));
  const refused = { code: "bad_proof" };
  await expect(keep(a.end, await generateKeyPair())).rejects.toMatchObject(refused);
  await expect(keep(a.end, b.key, b)).rejects.toMatchObject(refused);
  await expect(keep({ ...a.end, n: a.end.n + 1 })).rejects.toMatchObject(refused);
  await expect(keep({ ...a.end, hash: "0".repeat(64) })).rejects.toMatchObject(refused);
  await expect(keepHead(store, a.id, "x.y.z")).rejects.toMatchObject(refused);
  await keep(a.end);
  expect((await findChain(store, a.end.chain))?.head_n).toBe(4);
});

test("checkpoints tell of what grew, and the proxy's chain is signed as far as it goes", async () => {
  await a.calls(2);
  await checkpoint(store, log.now);
  await checkpoint(store, log.now);
  await b.calls(1);
  await checkpoint(store, log.now);
  const told = (await stored())
    .filter(({ event }) => event === "audit.checkpoint")
    .map(({ details }) => details?.chains);
  expect(told).toHaveLength(2);
  expect(told[0]).toContainEqual([a.end.chain, 3, a.end.hash, a.key.jkt]);
  expect(told[1]).toEqual([[b.end.chain, 2, b.end.hash, b.key.jkt]]);
  await sealOwn(store, log.key, log.now);
  const own = await ownChain(store, log.now);
  expect(own.head_n).toBe(own.n);
});
