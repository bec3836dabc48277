import { describe, expect, test } from "bun:test";
import { SignJWT } from "jose/jwt/sign";
import { GRANT_LIFETIME_S, GRANT_TYPE, type Grant, signGrant, verifyGrant } from "../../src/identity/grant.ts";
import { generateKeyPair } from "../../src/identity/keys.ts";
import { PeerClock } from "../../src/identity/peer-clock.ts";

const NOW = 1_800_000_000;
const [old, key, stranger] = await Promise.all([generateKeyPair(), generateKeyPair(), generateKeyPair()]);
const keys = [old.publicJwk, key.publicJwk];
const grant: Grant = {
  v: 1,
  sid: "session-1",
  attach: "attach-1",
  user: "alice",
  traits: { team: ["data"] },
  app: "everything",
  agent: "agent-1",
  client_jkt: stranger.jkt,
  rules: { v: 1, roles: [{ role: "mcp-user", allow: { tools: ["*"] }, deny: {} }] },
  revision: 7,
  start_by: NOW + GRANT_LIFETIME_S,
};
const expected = { agent: "agent-1" };
const badProof = expect.objectContaining({ code: "bad_proof" });

test("an agent reads what the proxy signed, by any of the cluster's keys", async () => {
  for (const signer of [old, key]) {
    const received = await verifyGrant(await signGrant(grant, signer, "cluster", NOW), keys, expected);
    expect(received).toEqual({ ...grant, startWithinMs: 70_000 });
  }
});

test("rules may have conditions, and what they speak of", async () => {
  const conditional: Grant = {
    ...grant,
    rules: {
      v: 1,
      roles: [{ role: "r", allow: { tools: ["a", { name: "b", where: "true" }] }, deny: {} }],
      facts: {
        user: { name: "alice", roles: ["r"], traits: { team: ["data"] } },
        app: { name: "x", labels: { a: "b" } },
      },
    },
  };
  const received = await verifyGrant(await signGrant(conditional, key, "cluster", NOW), keys, expected);
  expect(received.rules).toEqual(conditional.rules);
});

describe("a wrong clock locks nobody out", () => {
  test("the agent's own is not asked: a grant signed in another decade starts", async () => {
    for (const now of [0, 60, 4e9]) {
      const jws = await signGrant({ ...grant, start_by: now + 60 }, key, "cluster", now);
      expect((await verifyGrant(jws, keys, expected)).startWithinMs).toBe(70_000);
    }
  });

  test("by the proxy's clock, as the agent has heard it, an old grant is refused", async () => {
    const jws = await signGrant(grant, key, "cluster", NOW);
    const at = (proxyNow: number) => verifyGrant(jws, keys, { ...expected, proxyNow: () => proxyNow });
    expect((await at(NOW + 20)).startWithinMs).toBe(50_000);
    expect((await at(NOW - 5)).startWithinMs).toBe(75_000);
    expect((await at(NOW + 65)).startWithinMs).toBe(5_000); // the leeway
    await expect(at(NOW + 71)).rejects.toEqual(badProof);
  });

  test("a clock that is not known yet counts the lifetime alone", async () => {
    const clock = new PeerClock(() => 1000);
    const jws = await signGrant(grant, key, "cluster", NOW);
    const proxyNow = () => clock.now();
    expect((await verifyGrant(jws, keys, { ...expected, proxyNow })).startWithinMs).toBe(70_000);
    clock.learn((NOW + 30) * 1000);
    expect((await verifyGrant(jws, keys, { ...expected, proxyNow })).startWithinMs).toBe(40_000);
  });
});

test("a peer's clock runs on by the monotonic one", () => {
  let monotonic = 500;
  const clock = new PeerClock(() => monotonic);
  expect(clock.now()).toBeUndefined();
  clock.learn(Number.NaN);
  expect(clock.now()).toBeUndefined();
  clock.learn(10_000);
  monotonic += 2_500;
  expect(clock.now()).toBe(12.5);
  clock.learn(10_000);
  expect(clock.now()).toBe(10);
});

describe("a grant is refused", () => {
  const { agent, ...rest } = grant;
  const claims = { ...rest, aud: agent, iat: NOW, iss: "cluster" };
  const forge = (o: { header?: object; claims?: object; signer?: typeof key }) =>
    new SignJWT({ ...claims, ...o.claims })
      .setProtectedHeader({ typ: GRANT_TYPE, alg: "EdDSA", kid: (o.signer ?? key).jkt, ...o.header })
      .sign((o.signer ?? key).privateJwk);

  test("not the honest one that the others differ from", async () => {
    expect(
      await verifyGrant(await forge({ claims: { later: "a newer proxy says more" } }), keys, expected),
    ).toMatchObject({
      sid: "session-1",
    });
  });

  const faults: [string, Parameters<typeof forge>[0]][] = [
    ["of a key that is not the cluster's", { signer: stranger }],
    ["of a stranger who names a cluster's key", { signer: stranger, header: { kid: key.jkt } }],
    ["that names no key", { header: { kid: undefined } }],
    ["that names the cluster's other key", { header: { kid: old.jkt } }],
    ["of another type", { header: { typ: "dpop+jwt" } }],
    ["with critical extensions", { header: { crit: ["b64"], b64: true } }],
    ["for another agent", { claims: { aud: "agent-2" } }],
    ["for several agents", { claims: { aud: ["agent-1", "agent-2"] } }],
    ["of another version", { claims: { v: 2 } }],
    ["without a user", { claims: { user: "" } }],
    ["without a start_by", { claims: { start_by: undefined } }],
    ["that ends before it begins", { claims: { start_by: NOW } }],
    ["that lasts for ever", { claims: { start_by: NOW + 301 } }],
    [
      "with an entry that this release does not know",
      {
        claims: {
          rules: { v: 1, roles: [{ role: "r", allow: { tools: [{ name: "a", where: "true", until: 1 }] }, deny: {} }] },
        },
      },
    ],
    ["with rules of another version", { claims: { rules: { v: 2, roles: [] } } }],
    [
      "with a kind of rule that we don't know",
      { claims: { rules: { v: 1, roles: [{ role: "r", allow: {}, deny: { apps: ["*"] } }] } } },
    ],
    [
      "with a rule that is no list",
      { claims: { rules: { v: 1, roles: [{ role: "r", allow: { tools: "*" }, deny: {} }] } } },
    ],
  ];
  test.each(faults)("%s", async (_, fault) => {
    await expect(verifyGrant(await forge(fault), keys, expected)).rejects.toEqual(badProof);
  });

  test("that is no grant at all", async () => {
    for (const jws of [undefined, "", "a.b.c", "x".repeat(2_000_000), {}]) {
      await expect(verifyGrant(jws, keys, expected)).rejects.toEqual(badProof);
    }
  });
});
