import { afterEach, beforeEach, expect, test } from "bun:test";
import { findAgent, joinAgent, listAgents, removeAgent, touchAgent } from "../../src/store/agents.ts";
import { enrolApps, findApps, listApps, type OfferedApp } from "../../src/store/apps.ts";
import { ensureKeys, listKeys, putKey } from "../../src/store/keys.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";

let store: Store;
beforeEach(async () => {
  store = await openStore(":memory:");
});
afterEach(() => store.destroy());

const publicJwk = { kty: "OKP", crv: "Ed25519", x: "x" };
const join = (name: string, jkt: string) => joinAgent(store, { name, jkt, publicJwk, now: 7 });
const app = (name: string, more: Partial<OfferedApp> = {}): OfferedApp => ({
  name,
  labels: { env: "dev" },
  description: "",
  shared: false,
  ...more,
});

test("an agent is its key: the same key joins again as the same agent, another one may not take its name", async () => {
  const agent = await join("host-a", "k1");
  expect((await join("host-a", "k1")).id).toBe(agent.id);
  await expect(join("host-a", "k2")).rejects.toMatchObject({
    code: "already_exists",
    hint: expect.stringContaining("mcpgate agents rm host-a; "),
  });
  await join("host-b", "k2");
  await expect(join("host-b", "k1")).rejects.toMatchObject({ code: "already_exists" });
  expect(await join("host-c", "k1")).toMatchObject({ id: agent.id, name: "host-c" });
  expect((await listAgents(store)).map((a) => a.name)).toEqual(["host-b", "host-c"]);

  await touchAgent(store, agent.id, 99);
  expect(await findAgent(store, { jkt: "k1" })).toEqual({
    id: agent.id,
    name: "host-c",
    jkt: "k1",
    publicJwk,
    joinedAt: 7,
    lastSeenAt: 99,
  });
});

test("an app belongs to the agent that enrolled it, until that agent drops it or is removed", async () => {
  const a = await join("a", "ka");
  const b = await join("b", "kb");
  expect(await enrolApps(store, a.id, [app("one"), app("two")], 1)).toEqual({
    enrolled: ["one", "two"],
    refused: [],
    freed: [],
  });
  expect(await enrolApps(store, b.id, [app("one"), app("three")], 2)).toEqual({
    enrolled: ["three"],
    refused: [{ name: "one", reason: expect.stringContaining("it belongs to the agent a; ") }],
    freed: [],
  });
  expect((await findApps(store, "one")).map((offer) => offer.agentId)).toEqual([a.id]);

  expect((await enrolApps(store, a.id, [app("two", { labels: { env: "prod" } })], 3)).freed).toEqual(["one"]);
  expect((await enrolApps(store, b.id, [app("one")], 4)).refused).toEqual([]);
  expect((await listApps(store)).map((offer) => `${offer.agent}/${offer.name}`)).toEqual(["b/one", "a/two"]);
  expect(await findApps(store, "two")).toEqual([
    {
      name: "two",
      agentId: a.id,
      agent: "a",
      labels: { env: "prod" },
      description: "",
      type: "stdio",
      shared: false,
      resource: false,
      enrolledAt: 1,
    },
  ]);

  await removeAgent(store, b.id);
  expect(await findApps(store, "one")).toEqual([]);
  await expect(removeAgent(store, b.id)).rejects.toMatchObject({ code: "not_found" });
  expect((await enrolApps(store, a.id, [app("one")], 5)).enrolled).toEqual(["one"]);
});

test("an app has several agents only when all of them declare it shared", async () => {
  const [a, b, c] = await Promise.all([join("a", "ka"), join("b", "kb"), join("c", "kc")]);
  await enrolApps(store, a.id, [app("one", { shared: true })], 1);
  expect((await enrolApps(store, b.id, [app("one")], 1)).refused).toHaveLength(1);
  expect((await enrolApps(store, b.id, [app("one", { shared: true })], 1)).refused).toEqual([]);
  expect((await enrolApps(store, c.id, [app("one")], 1)).refused).toHaveLength(1);
  // taking the word back, while another offers it, is refused too
  expect((await enrolApps(store, a.id, [app("one")], 1)).refused).toHaveLength(1);
  expect((await findApps(store, "one")).map((offer) => offer.agent)).toEqual(["b"]);
  // and so is joining one that was never declared shared
  await enrolApps(store, a.id, [app("own")], 1);
  expect((await enrolApps(store, c.id, [app("own", { shared: true })], 1)).refused).toHaveLength(1);
});

test("names that are none, names given twice and the proxy's own labels are refused; the others are enrolled", async () => {
  const a = await join("a", "ka");
  const { enrolled, refused } = await enrolApps(
    store,
    a.id,
    [
      app("good"),
      app("Bad Name"),
      app("good"),
      app("sly", { labels: { "mcpgate.internal/app-sub-kind": "other" } }),
      app("old-sly", { labels: { "teleport.internal/x": "y" } }),
    ],
    1,
  );
  expect(enrolled).toEqual(["good"]);
  expect(refused.map((r) => r.name)).toEqual(["Bad Name", "good", "sly", "old-sly"]);
});

test("the first key of a purpose is made once; the newest comes first", async () => {
  let made = 0;
  const make = async () => ({ id: `k${++made}`, public: "p", private: "s" });
  expect((await ensureKeys(store, "signing", make, 1)).map((key) => key.id)).toEqual(["k1"]);
  expect((await ensureKeys(store, "signing", make, 2)).map((key) => key.id)).toEqual(["k1"]);
  await putKey(store, "signing", { id: "k9", public: "p", private: "s" }, 3);
  await putKey(store, "tls", { id: "server", public: "p", private: "s" }, 3);
  await putKey(store, "tls", { id: "server", public: "p2", private: "s2" }, 4);
  expect((await listKeys(store, "signing")).map((key) => key.id)).toEqual(["k9", "k1"]);
  expect(await listKeys(store, "tls")).toEqual([
    { id: "server", purpose: "tls", public: "p2", private: "s2", createdAt: 4 },
  ]);
});
