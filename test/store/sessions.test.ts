import { afterEach, beforeEach, expect, test } from "bun:test";
import { openStore } from "../../src/store/open.ts";
import {
  createSession,
  endSessions,
  findSession,
  liveSessions,
  type NewSession,
  touchSession,
} from "../../src/store/sessions.ts";
import type { Store } from "../../src/store/store.ts";

let store: Store;
beforeEach(async () => {
  store = await openStore(":memory:");
});
afterEach(() => store.destroy());

const session = (sid: string, more: Partial<NewSession> = {}): NewSession => ({
  sid,
  user: "alice",
  app: "everything",
  agentId: "a-1",
  agent: "host-a",
  clientJkt: "k",
  remote: "127.0.0.1",
  ...more,
});
const open = (sid: string, more: Partial<NewSession> = {}, now = 1) => createSession(store, session(sid, more), now);

test("opening twice is opening once", async () => {
  const first = await open("s1");
  expect(first.created).toBe(true);
  const second = await open("s1", { agentId: "a-2", remote: "10.0.0.1" }, 2);
  expect(second).toEqual({ created: false, session: first.session });
  const both = await Promise.all([open("s2"), open("s2")]);
  expect(both.map((o) => o.created).sort()).toEqual([false, true]);
});

test("another user or app does not get in, and an ended session is gone", async () => {
  await open("s1");
  for (const more of [{ user: "bob" }, { app: "other" }]) {
    await expect(open("s1", more)).rejects.toMatchObject({ code: "conflict" });
  }
  await endSessions(store, { sid: "s1" }, "killed", 5);
  await expect(open("s1")).rejects.toMatchObject({ code: "session_gone" });
  await expect(open("s1", { user: "bob" })).rejects.toMatchObject({ code: "conflict" });
});

test("the user's next login takes over, and the session ends with it", async () => {
  await open("s1");
  expect(await open("s1", { clientJkt: "k2" })).toMatchObject({ created: false, session: { clientJkt: "k2" } });
  expect(await endSessions(store, { clientJkt: "k" }, "logged out", 5)).toEqual([]);
  expect(await endSessions(store, { clientJkt: "k2" }, "logged out", 5)).toMatchObject([{ sid: "s1" }]);
  await expect(open("s1", { clientJkt: "k3" })).rejects.toMatchObject({ code: "session_gone" });
});

test("sessions end by what they have in common, once", async () => {
  await open("s1", {}, 1);
  await open("s2", { user: "bob", agentId: "a-2", clientJkt: "k2" }, 2);
  await open("s3", { app: "other" }, 3);
  const sids = async (filter = {}) => (await liveSessions(store, filter)).map((s) => s.sid);
  expect(await sids()).toEqual(["s1", "s2", "s3"]);
  expect(await sids({ user: "alice" })).toEqual(["s1", "s3"]);
  expect(await sids({ user: "alice", app: "other" })).toEqual(["s3"]);
  expect(await sids({ agentId: "a-2" })).toEqual(["s2"]);
  expect(await sids({ clientJkt: "k2" })).toEqual(["s2"]);

  expect((await endSessions(store, { user: "alice" }, "user removed", 9)).map((s) => s.sid).sort()).toEqual([
    "s1",
    "s3",
  ]);
  expect(await endSessions(store, { user: "alice" }, "again", 10)).toEqual([]);
  expect(await findSession(store, "s1")).toMatchObject({ endedAt: 9, endReason: "user removed" });
  expect(await sids()).toEqual(["s2"]);
});

test("a resume notes the time and the address", async () => {
  await open("s1");
  await touchSession(store, "s1", { now: 8 });
  expect(await findSession(store, "s1")).toMatchObject({ lastSeenAt: 8, remote: "127.0.0.1", startedAt: 1 });
  await touchSession(store, "s1", { now: 9, remote: "10.0.0.1" });
  expect(await findSession(store, "s1")).toMatchObject({ lastSeenAt: 9, remote: "10.0.0.1" });
});
