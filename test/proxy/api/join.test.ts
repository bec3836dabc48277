import { afterEach, beforeEach, expect, test } from "bun:test";
import { generateKeyPair } from "../../../src/identity/keys.ts";
import { findAgent } from "../../../src/store/agents.ts";
import { putLock } from "../../../src/store/locks.ts";
import { type Fixture, OUTSIDE, openFixture } from "./fixture.ts";

let f: Fixture;
beforeEach(async () => {
  f = await openFixture({ caPem: "-----BEGIN CERTIFICATE-----\n", caPin: "sha256:00" });
});
afterEach(() => f.close());

const addToken = async (ttl_seconds?: number): Promise<{ token: string; id: string }> =>
  (await f.admin("POST", "/v1/api/tokens", { type: "app", ...(ttl_seconds === undefined ? {} : { ttl_seconds }) }))
    .body;
const join = async (o: { token: string; name?: string; key?: Awaited<ReturnType<typeof generateKeyPair>> }) =>
  f.send("POST", "/v1/join", {
    body: { token: o.token, name: o.name ?? "host-a" },
    key: o.key ?? (await generateKeyPair()),
  });

test("a token registers the agent's key and answers with what the agent pins", async () => {
  const { token, id } = await addToken();
  const key = await generateKeyPair();
  const answer = await join({ token, key });
  expect(answer.status).toBe(200);
  expect(answer.body).toEqual({
    agent_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
    agent_name: "host-a",
    cluster_name: "example",
    public_addr: "mcpgate.example.com:443",
    signing_keys: [{ kty: "OKP", crv: "Ed25519", x: expect.any(String) }],
    ca_pem: "-----BEGIN CERTIFICATE-----\n",
  });
  expect(await findAgent(f.store, { id: answer.body.agent_id })).toMatchObject({
    jkt: key.jkt,
    publicJwk: key.publicJwk,
  });
  expect(await f.events("agent.join")).toMatchObject([
    { agent: "host-a", success: true, remote: OUTSIDE.remote, details: { token_id: id } },
  ]);
  // good for more agents, and for the same one again
  expect((await join({ token, name: "host-b" })).status).toBe(200);
  expect((await join({ token, key })).body.agent_id).toBe(answer.body.agent_id);
});

test("no agent without a good token, and each failed try is in the audit log without the token", async () => {
  const expired = await addToken(60);
  f.clock.now += 60_000;
  const revoked = await addToken();
  expect((await f.admin("POST", "/v1/api/tokens/revoke", { token: revoked.token })).body).toEqual({ id: revoked.id });
  for (const token of [expired.token, revoked.token, "0".repeat(32), "", "x".repeat(100)]) {
    const answer = await join({ token });
    expect([answer.status, answer.body.error.code]).toEqual([403, "token_invalid"]);
    expect(answer.body.error.hint).toContain("mcpgate tokens add --type=app");
  }
  const events = await f.events("agent.join");
  expect(events).toHaveLength(5);
  expect(events[0]).toMatchObject({ agent: "host-a", success: false, error: "the join token has expired" });
  expect(await f.store.selectFrom("agents").selectAll().execute()).toEqual([]);
  for (const text of [JSON.stringify(await f.events()), f.logged.join("")]) {
    for (const { token } of [expired, revoked]) expect(text).not.toContain(token);
  }
});

test("a locked agent stays locked: it joins under no other name, and nobody under its own", async () => {
  const { token } = await addToken();
  const key = await generateKeyPair();
  expect((await join({ token, key })).status).toBe(200);
  const spec = { name: undefined, kind: "agent", target: "host-a", message: "stolen", expiresAt: undefined } as const;
  await putLock(f.store, spec, { replace: false, createdBy: "uid:0", now: f.clock.now });
  for (const attempt of [join({ token, key, name: "host-b" }), join({ token, key }), join({ token })]) {
    expect((await attempt).body.error).toMatchObject({ code: "locked", message: expect.stringContaining("stolen") });
  }
  expect((await findAgent(f.store, { jkt: key.jkt }))?.name).toBe("host-a");
  expect((await f.events("agent.join")).slice(1)).toMatchObject(Array(3).fill({ success: false }));
});

test("a token without a proof of the key registers nothing", async () => {
  const { token } = await addToken();
  const answer = await f.send("POST", "/v1/join", { body: { token, name: "host-a" } });
  expect([answer.status, answer.body.error.code]).toEqual([401, "bad_proof"]);
  expect(answer.headers.get("dpop-nonce")).toMatch(/./);
  expect((await f.send("POST", "/v1/join", { body: { token, name: "host-a" }, proof: "x" })).status).toBe(401);
  expect(await f.store.selectFrom("agents").selectAll().execute()).toEqual([]);
});

test("a name belongs to one key until its agent is removed", async () => {
  const { token } = await addToken();
  const first = await join({ token });
  const other = await generateKeyPair();
  const refused = await join({ token, key: other });
  expect([refused.status, refused.body.error.hint]).toEqual([
    409,
    expect.stringContaining("mcpgate agents rm host-a; "),
  ]);
  expect((await f.events("agent.join")).at(-1)).toMatchObject({ success: false });

  expect((await f.admin("DELETE", "/v1/api/agents/host-a")).body).toMatchObject({ id: first.body.agent_id });
  expect(f.calls).toEqual([
    ["endSessions", { agent: first.body.agent_id }, "agent removed"],
    ["disconnectAgent", first.body.agent_id, "agent removed"],
  ]);
  expect(await f.events("agent.remove")).toMatchObject([{ agent: "host-a", actor: "uid:1000", success: true }]);
  expect((await join({ token, key: other })).status).toBe(200);
});

test("names that are none are refused", async () => {
  const { token } = await addToken();
  for (const name of ["", "-x", "a b", "x".repeat(254), "a\u202eb", "../x"]) {
    expect((await join({ token, name })).body.error.code).toBe("invalid");
  }
});

test("guessing tokens from one address is slowed down, and joins that work are not counted", async () => {
  const { token } = await addToken();
  const key = await generateKeyPair();
  for (let i = 0; i < 65; i++) expect((await join({ token, key })).status).toBe(200);
  for (let i = 0; i < 60; i++) expect((await join({ token: "x", key })).status).toBe(403);
  const refused = await join({ token, key });
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "300"]);
  f.clock.now += 5 * 60_000;
  expect((await join({ token, key })).status).toBe(200);
});

test("anybody may ask for the release, the cluster and the CA", async () => {
  expect((await f.send("GET", "/v1/webapi/find")).body).toEqual({
    server_version: expect.stringMatching(/^\d+\.\d+\.\d+/),
    min_client_version: expect.stringMatching(/^\d+\.\d+\.\d+/),
    cluster_name: "example",
    auth: { type: "local", second_factor: "off", login_ttl: 43_200, min_password_length: 12 },
    proxy: { public_addr: "mcpgate.example.com:443" },
  });
  expect((await f.send("GET", "/v1/webapi/ca")).body).toEqual({ ca_pem: "-----BEGIN CERTIFICATE-----\n" });
  const plain = await openFixture();
  expect((await plain.send("GET", "/v1/webapi/ca")).status).toBe(404);
  await plain.close();
});

test("what an agent asks of itself: known, connected, locked, removed; with its own key only", async () => {
  const { token } = await addToken();
  const key = await generateKeyPair();
  const ask = async (with_ = key) => (await f.send("GET", "/v1/agent/whoami", { key: with_ })).body;
  expect((await ask()).error.code).toBe("access_denied");
  const { agent_id } = (await join({ token, key })).body;
  expect(await ask()).toEqual({ agent_id, agent_name: "host-a", online: false });
  f.online.add(agent_id);
  expect(await ask()).toMatchObject({ online: true });
  expect((await ask(await generateKeyPair())).error.code).toBe("access_denied");
  expect((await f.send("GET", "/v1/agent/whoami")).status).toBe(401);
  const spec = { name: undefined, kind: "agent", target: "host-a", message: "stolen", expiresAt: undefined } as const;
  const { lock } = await putLock(f.store, spec, { replace: false, createdBy: "uid:0", now: f.clock.now });
  expect((await ask()).error).toMatchObject({ code: "locked", message: expect.stringContaining("stolen") });
  await f.admin("DELETE", `/v1/api/locks/${lock.name}`);
  await f.admin("DELETE", "/v1/api/agents/host-a");
  expect((await ask()).error.message).toContain("it was removed");
});
