/** What admin operations do to running sessions: what is sent to which agent, and what is cut. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { Failure } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import { createLive, type LiveOptions, type LiveProxy } from "../../src/proxy/live.ts";
import type { Lock } from "../../src/rbac/lock.ts";
import { putLock } from "../../src/store/locks.ts";
import { openStore } from "../../src/store/open.ts";
import { createSession, endSessions, liveSessions, type Session } from "../../src/store/sessions.ts";
import type { Store } from "../../src/store/store.ts";
import { addUser } from "../../src/store/users.ts";

const NOW = Date.UTC(2026, 10, 23);
let store: Store;
let sent: unknown[][];
let refused: Record<string, Failure>;
let live: LiveProxy;

beforeEach(async () => {
  store = await openStore(":memory:", { now: () => NOW });
  sent = [];
  refused = {};
  live = createLive({
    store,
    log: createLog({ write: () => {} }),
    now: () => NOW,
    agents: {
      online: () => new Set(["a", "b"]),
      send: (agent: string, message: { t: string; sid?: string; grant?: string; reason?: string }) => {
        sent.push([
          agent,
          message.t,
          message.sid ?? message.grant,
          ...(message.reason === undefined ? [] : [message.reason]),
        ]);
        return true;
      },
      shutOut: (locks: readonly Lock[]) => void sent.push(["shutOut", locks.map(({ target }) => target)]),
    } as unknown as LiveOptions["agents"],
    relay: {
      cut: () => {},
      currentGrant: async ({ sid }: Session) => {
        if (refused[sid] !== undefined) throw refused[sid];
        return `grant of ${sid}`;
      },
    } as unknown as LiveOptions["relay"],
  });
  await addUser(store, { name: "alice", roles: ["mcp-user"], now: NOW });
  await addUser(store, { name: "bob", roles: ["auditor", "mcp-user"], now: NOW });
  await session("s1", "alice", "a");
  await session("s2", "bob", "a");
  await session("s3", "bob", "b");
});
afterEach(() => store.destroy());

const session = (sid: string, user: string, agentId: string) =>
  createSession(
    store,
    { sid, user, app: "db", agentId, agent: `host-${agentId}`, clientJkt: "k", remote: "192.0.2.1" },
    NOW,
  );
const lock = (kind: Lock["kind"], target: string) =>
  putLock(
    store,
    { name: undefined, kind, target, message: "why", expiresAt: undefined },
    { replace: false, createdBy: "uid:0", now: NOW },
  );
const until = async (what: () => boolean): Promise<void> => {
  while (!what()) await Bun.sleep(1);
};
const alive = async () => (await liveSessions(store)).map(({ sid }) => sid);

test("a lock ends what it shuts out, wherever it runs, and nothing else", async () => {
  await lock("role", "auditor");
  live.locksChanged();
  await until(() => sent.length === 3);
  expect(sent).toEqual([
    ["a", "session.end", "s2", "the role auditor is locked: why"],
    ["b", "session.end", "s3", "the role auditor is locked: why"],
    ["shutOut", ["auditor"]],
  ]);
  expect(await alive()).toEqual(["s1"]);
});

test("an agent's lock ends its sessions before its own connection", async () => {
  await lock("agent", "host-a");
  live.locksChanged();
  await until(() => sent.length === 3);
  expect(sent.map(([to, type]) => [to, type])).toEqual([
    ["a", "session.end"],
    ["a", "session.end"],
    ["shutOut", ["host-a"]],
  ]);
  expect(await alive()).toEqual(["s3"]);
});

test("an agent that comes back hears what ended, and the rules of what goes on", async () => {
  await endSessions(store, { sid: "s1" }, "killed", NOW);
  refused.s3 = new Failure("locked", "the user bob is locked");
  await live.catchUp("a", ["s1", "s2", "s9"]);
  expect(sent).toEqual([
    ["a", "session.end", "s1", "killed"],
    ["a", "session.end", "s9", "the proxy does not know this session"],
    ["a", "session.policy", "grant of s2"],
  ]);
  sent = [];
  await live.catchUp("b", ["s3"]);
  expect(sent).toEqual([["b", "session.end", "s3", "the user bob is locked"]]);
  expect(await alive()).toEqual(["s2"]);
});
