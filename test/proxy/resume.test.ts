/** Who may go on with a session, and what a client that comes back is told. Over a real store; the agent never answers. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { verifyGrant } from "../../src/identity/grant.ts";
import { generateKeyPair, type KeyPair } from "../../src/identity/keys.ts";
import { signProof } from "../../src/identity/proof.ts";
import { publicUrl } from "../../src/identity/url.ts";
import { CLIENT_PATH } from "../../src/link/protocol.ts";
import type { ToAgent } from "../../src/link/to-agent.ts";
import { createLog } from "../../src/log.ts";
import { Relay, type RelayOptions } from "../../src/proxy/relay.ts";
import type { Socket } from "../../src/proxy/socket.ts";
import { jobsHere } from "../../src/proxy/store-jobs.ts";
import { joinAgent } from "../../src/store/agents.ts";
import { enrolApps } from "../../src/store/apps.ts";
import { addLogin, LOGIN_TTL, revokeLogins } from "../../src/store/logins.ts";
import { openStore } from "../../src/store/open.ts";
import { createSession, endSessions, findSession } from "../../src/store/sessions.ts";
import type { Store } from "../../src/store/store.ts";
import { addUser } from "../../src/store/users.ts";

const SID = "0123456789abcdef0123456789abcdef";
const publicAddr = { host: "mcpgate.example.com", port: 443 };

let now: number;
let store: Store;
let agentId: string;
let signing: KeyPair;
let sent: PromiseWithResolvers<Extract<ToAgent, { t: "session.open" }>>;
let relay: Relay;
/** The agent is away until this resolves. */
let arrival: PromiseWithResolvers<void> | undefined;
let askedFor: PromiseWithResolvers<void>;

const agents: RelayOptions["agents"] = {
  online: () => new Set(arrival === undefined ? [agentId] : []),
  failing: () => false,
  arrival: () => {
    askedFor.resolve();
    return arrival?.promise;
  },
  send: (_agent, message) => {
    if (message.t === "session.open") sent.resolve(message);
    return true;
  },
};

beforeEach(async () => {
  now = Date.UTC(2026, 10, 23);
  arrival = undefined;
  askedFor = Promise.withResolvers();
  sent = Promise.withResolvers();
  store = await openStore(":memory:", { now: () => now });
  signing = await generateKeyPair();
  agentId = (await joinAgent(store, { name: "host-a", jkt: "k", publicJwk: {}, now })).id;
  await enrolApps(store, agentId, [{ name: "db", description: "", labels: {}, shared: false }], now);
  for (const name of ["alice", "bob"]) await addUser(store, { name, roles: ["mcp-user"], traits: {}, now });
  const log = createLog({ write: () => {} });
  relay = new Relay({
    store,
    run: jobsHere(store),
    log,
    publicAddr,
    clusterName: "example",
    signingKey: signing,
    now: () => now,
    agents,
  });
});
afterEach(() => store.destroy());

async function loggedIn(name: string): Promise<KeyPair> {
  const key = await generateKeyPair();
  await addLogin(store, { jkt: key.jkt, user: name, now });
  return key;
}

/** Alice's session, begun with this key. */
async function begun(): Promise<KeyPair> {
  const key = await loggedIn("alice");
  const session = { sid: SID, user: "alice", app: "db", agentId, agent: "host-a", clientJkt: key.jkt, remote: "" };
  await createSession(store, session, now);
  return key;
}

async function attach(key: KeyPair): Promise<void> {
  const socket = { nonce: "n", remote: "192.0.2.1", closed: false } as unknown as Socket;
  const url = publicUrl(publicAddr, CLIENT_PATH);
  const proof = await signProof({ key, method: "GET", url, nonce: "n", claims: { sid: SID, app: "db" } });
  const message = { t: "attach", proof, sid: SID, app: "db", link: [1], version: "1" };
  return relay.clients.onAnswer(socket, JSON.stringify(message));
}

test("a session goes on with the user's next login, and belongs to it from then on", async () => {
  await begun();
  now += LOGIN_TTL * 1000;
  const next = await loggedIn("alice");
  void attach(next).catch(() => {});
  const { grant, resume } = await sent.promise;
  expect(resume).toBe(true);
  expect(await verifyGrant(grant, [signing.publicJwk], { agent: agentId })).toMatchObject({
    sid: SID,
    user: "alice",
    client_jkt: next.jkt,
  });
  expect((await findSession(store, SID))?.clientJkt).toBe(next.jkt);
});

test("not with an expired login, a revoked one or another user's", async () => {
  const key = await begun();
  await expect(attach(await loggedIn("bob"))).rejects.toMatchObject({ code: "conflict" });
  await expect(attach(await generateKeyPair())).rejects.toMatchObject({ code: "not_logged_in" });
  const revoked = await loggedIn("alice");
  await revokeLogins(store, { jkt: revoked.jkt }, now);
  await expect(attach(revoked)).rejects.toMatchObject({ code: "not_logged_in" });
  now += LOGIN_TTL * 1000;
  await expect(attach(key)).rejects.toMatchObject({ code: "login_expired" });
  expect((await findSession(store, SID))?.clientJkt).toBe(key.jkt);
});

test("not once it has ended, whoever asks", async () => {
  await begun();
  await endSessions(store, { sid: SID }, "logged out", now);
  await expect(attach(await loggedIn("alice"))).rejects.toMatchObject({
    code: "session_gone",
    message: expect.stringContaining("logged out"),
  });
});

test("a client that comes back waits for an agent that is away, and goes on with it", async () => {
  const key = await begun();
  arrival = Promise.withResolvers();
  const ended = attach(key).catch((error: unknown) => error);
  await askedFor.promise;
  // that nothing happens can't be awaited
  expect(await Promise.race([ended, Bun.sleep(50).then(() => "waits")])).toBe("waits");
  const { resolve } = arrival;
  arrival = undefined;
  resolve();
  expect((await sent.promise).resume).toBe(true);
});

test("a client that waits for an agent hears that it came back without the session", async () => {
  const key = await begun();
  arrival = Promise.withResolvers();
  const waits = attach(key);
  await askedFor.promise;
  await endSessions(store, { sid: SID }, "its agent has it no more", now);
  arrival.resolve();
  await expect(waits).rejects.toMatchObject({ code: "session_gone" });
});

test("a client that waits for the agent's answer hears that the session is lost", async () => {
  const key = await begun();
  const waits = attach(key);
  await sent.promise;
  relay.lost(SID, "its agent has it no more");
  await expect(waits).rejects.toMatchObject({
    code: "session_gone",
    message: expect.stringContaining("its agent has it no more"),
  });
});
