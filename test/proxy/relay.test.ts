/** The relay's decisions over a real store: what changes while a session opens reaches its agent, in order. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { newestEvents } from "../../src/audit/store.ts";
import { verifyGrant } from "../../src/identity/grant.ts";
import { generateKeyPair, type KeyPair } from "../../src/identity/keys.ts";
import { signProof } from "../../src/identity/proof.ts";
import { publicUrl } from "../../src/identity/url.ts";
import { CLIENT_PATH } from "../../src/link/protocol.ts";
import type { ToAgent } from "../../src/link/to-agent.ts";
import { createLog } from "../../src/log.ts";
import { Relay } from "../../src/proxy/relay.ts";
import type { Socket } from "../../src/proxy/socket.ts";
import { jobsHere } from "../../src/proxy/store-jobs.ts";
import { joinAgent } from "../../src/store/agents.ts";
import { enrolApps } from "../../src/store/apps.ts";
import { putLock } from "../../src/store/locks.ts";
import { addLogin, revokeLogins } from "../../src/store/logins.ts";
import { openStore } from "../../src/store/open.ts";
import { endSessions, findSession } from "../../src/store/sessions.ts";
import type { Store } from "../../src/store/store.ts";
import { addUser, updateUser } from "../../src/store/users.ts";

const NOW = Date.UTC(2026, 10, 23);
const SID = "0123456789abcdef0123456789abcdef";
const publicAddr = { host: "mcpgate.example.com", port: 443 };

let store: Store;
let agentId: string;
let user: KeyPair;
let signing: KeyPair;
let sent: ToAgent[];
/** What happens in the moment that the agent is told of the session. */
let meanwhile: () => void;
/** What happens while the relay looks for an agent, before the session is on record. */
let before: () => void;
let relay: Relay;

beforeEach(async () => {
  store = await openStore(":memory:", { now: () => NOW });
  [user, signing] = await Promise.all([generateKeyPair(), generateKeyPair()]);
  agentId = (await joinAgent(store, { name: "host-a", jkt: "k", publicJwk: {}, now: NOW })).id;
  await enrolApps(store, agentId, [{ name: "db", description: "", labels: {}, shared: false }], NOW);
  await addUser(store, { name: "bob", roles: ["mcp-user"], traits: { team: ["data"] }, now: NOW });
  await addLogin(store, { jkt: user.jkt, user: "bob", now: NOW });
  sent = [];
  meanwhile = () => {};
  before = () => {};
  relay = new Relay({
    store,
    run: jobsHere(store),
    log: createLog({ write: () => {} }),
    publicAddr,
    clusterName: "example",
    signingKey: signing,
    now: () => NOW,
    agents: {
      online: () => {
        before();
        return new Set([agentId]);
      },
      arrival: () => undefined,
      failing: () => false,
      send: (_agent: string, message: ToAgent) => {
        sent.push(message);
        if (message.t === "session.open") meanwhile();
        return true;
      },
    } as unknown as ConstructorParameters<typeof Relay>[0]["agents"],
  });
});
afterEach(() => store.destroy());

/** A client that wants in; no agent ever answers, so it ends with what the relay itself has to say. */
async function attach(link = [1]): Promise<unknown> {
  const socket = { nonce: "n", remote: "192.0.2.1", closed: false } as unknown as Socket;
  const url = publicUrl(publicAddr, CLIENT_PATH);
  const proof = await signProof({ key: user, method: "GET", url, nonce: "n", claims: { sid: SID, app: "db" } });
  const message = { t: "attach", proof, sid: SID, app: "db", link, version: "1", later: "a member of a later release" };
  return relay.clients.onAnswer(socket, JSON.stringify(message));
}

const enough = async (count: number): Promise<void> => {
  while (sent.length < count) await Bun.sleep(1);
};

test("the grant carries the user's traits", async () => {
  void attach().catch(() => {});
  await enough(1);
  const [open] = sent;
  if (open?.t !== "session.open") throw new Error("no session was opened");
  const grant = await verifyGrant(open.grant, [signing.publicJwk], { agent: agentId });
  expect(grant).toMatchObject({ user: "bob", app: "db", traits: { team: ["data"] } });
});

test("the agent hears which link versions the client offers, also those that the proxy has never heard of", async () => {
  void attach([9, 1]).catch(() => {});
  await enough(1);
  expect(sent[0]).toMatchObject({ t: "session.open", link: [9, 1] });
});

test("rules that change on the way are sent after the opening, under a newer revision", async () => {
  meanwhile = () => void updateUser(store, "bob", { traits: { team: ["ops"] } });
  void attach().catch(() => {});
  await enough(2);
  const [open, policy] = sent;
  if (open?.t !== "session.open" || policy?.t !== "session.policy") throw new Error(`sent: ${sent.map(({ t }) => t)}`);
  const keys = [signing.publicJwk];
  const [before, after] = await Promise.all(
    [open, policy].map(({ grant }) => verifyGrant(grant, keys, { agent: agentId })),
  );
  expect([before?.traits, after?.traits]).toEqual([{ team: ["data"] }, { team: ["ops"] }]);
  expect(after?.revision).toBe((before?.revision ?? 0) + 1);
});

test("a session that ends, is locked or loses its app on the way is ended at the agent too", async () => {
  const lock = { name: undefined, kind: "user", target: "bob", message: "stolen", expiresAt: undefined } as const;
  for (const [change, reason] of [
    [() => endSessions(store, { sid: SID }, "killed", NOW), "killed"],
    [() => updateUser(store, "bob", { roles: ["auditor"] }), "you may not reach this app any more"],
    [() => putLock(store, lock, { replace: false, createdBy: "uid:0", now: NOW }), "the user bob is locked: stolen"],
  ] as const) {
    sent = [];
    await store.deleteFrom("sessions").execute();
    await updateUser(store, "bob", { roles: ["mcp-user"] });
    meanwhile = () => void change();
    await expect(attach()).rejects.toThrow(reason);
    expect(sent.map(({ t }) => t)).toEqual(["session.open", "session.end"]);
    expect(sent[1]).toMatchObject({ sid: SID, reason });
  }
});

test("a logout while a session opens leaves no session behind", async () => {
  before = () => void revokeLogins(store, { user: "bob" }, NOW);
  await expect(attach()).rejects.toMatchObject({ code: "not_logged_in" });
  expect(await findSession(store, SID)).toMatchObject({ endReason: "logged out" });
  expect(sent.some(({ t }) => t === "session.open")).toBe(false);
});

test("a lock refuses the opening with its message, and that is on record", async () => {
  for (const [kind, target] of [
    ["user", "bob"],
    ["role", "mcp-user"],
    ["app", "db"],
    ["agent", "host-a"],
  ] as const) {
    await store.deleteFrom("locks").execute();
    const lock = { name: undefined, kind, target, message: "ask Dana", expiresAt: undefined };
    await putLock(store, lock, { replace: false, createdBy: "uid:0", now: NOW });
    await expect(attach()).rejects.toMatchObject({
      code: "locked",
      message: `the ${kind} ${target} is locked: ask Dana`,
    });
    const { events } = await newestEvents(store, { events: ["mcp.session.start"] }, { limit: 1 });
    expect(events[0]).toMatchObject({
      user: "bob",
      app: "db",
      success: false,
      error: expect.stringContaining("ask Dana"),
    });
  }
  expect(sent).toEqual([]);
  expect(await findSession(store, SID)).toBeUndefined();
});
