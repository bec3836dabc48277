import { afterEach, beforeEach, expect, test } from "bun:test";
import { newestEvents } from "../../src/audit/store.ts";
import type { ToAgent } from "../../src/link/to-agent.ts";
import { createLog } from "../../src/log.ts";
import { AppResources } from "../../src/proxy/app-resources.ts";
import type { RunJob } from "../../src/proxy/store-jobs.ts";
import { compileSelectors } from "../../src/rbac/labels.ts";
import { joinAgent } from "../../src/store/agents.ts";
import { listReports, putAppResource, removeAppResource } from "../../src/store/app-resources.ts";
import { enrolApps, findApps } from "../../src/store/apps.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";

type Sent = [agent: string, names: string[]];

let store: Store;
let sent: Sent[];
let logged: string[];
let resources: AppResources;

beforeEach(async () => {
  store = await openStore(":memory:");
  [sent, logged] = [[], []];
  resources = new AppResources({
    store,
    log: createLog({ write: (line) => void logged.push(line) }),
    now: () => 1,
    takers: () => [
      { id: "all", takes: compileSelectors([{ "*": "*" }]) },
      { id: "dev", takes: compileSelectors([{ env: "dev" }]) },
      { id: "broken", takes: compileSelectors([{ env: "^(" + "$" }, { "*": "dev" }]) },
    ],
    send: (agent, message: ToAgent) => {
      if (message.t === "app.resources") sent.push([agent, message.resources.map(({ name }) => name)]);
    },
  });
});
afterEach(() => store.destroy());

const put = (name: string, env = "dev") =>
  putAppResource(
    store,
    {
      kind: "app",
      version: "v3",
      metadata: { name, labels: { env } },
      spec: { mcp: { command: "x", run_as_host_user: "mcp" } },
    },
    { replace: true, by: "uid:0", now: 1 },
  );

test("each agent gets what it asks for, all of it, whenever something changes", async () => {
  await put("one");
  await put("two", "prod");
  await resources.changed();
  expect(sent).toEqual([
    ["all", ["one", "two"]],
    ["dev", ["one"]],
    ["broken", []],
  ]);
});

test("many changes at once are few rounds, and the last one has them all", async () => {
  const before = resources.version;
  await Promise.all(
    Array.from({ length: 50 }, async (_, i) => {
      await put(`a${i % 10}`);
      if (i % 10 === 3) await removeAppResource(store, "a3").catch(() => {});
      await resources.changed();
    }),
  );
  await resources.changed();
  expect(resources.version - before).toBe(51);
  const toAll = sent.filter(([agent]) => agent === "all");
  expect(toAll.length).toBeLessThan(51);
  expect(toAll.at(-1)?.[1]).toEqual((await resources.messageFor(() => true)).resources.map(({ name }) => name));
});

test("an offer whose name another agent has is a refusal, told once", async () => {
  const ids = await Promise.all(
    ["here", "there"].map(async (name) => (await joinAgent(store, { name, jkt: name, publicJwk: {}, now: 0 })).id),
  );
  const [here = "", there = ""] = ids;
  await enrolApps(store, there, [{ name: "one", labels: {}, description: "", shared: false }], 1);
  const { revision } = (await put("one")).resource;
  const offers = [{ name: "one", revision, state: "offered" as const }];
  for (let i = 0; i < 2; i++) await resources.reported({ id: here, name: "here" }, offers);
  const reason = "the name belongs to the agent there, whose own app is not declared shared";
  expect(await listReports(store)).toMatchObject([{ agent: "here", state: "refused", reason }]);
  const { events } = await newestEvents(store, { events: ["app.refuse"] }, { limit: 10 });
  expect(events).toMatchObject([{ app: "one", agent: "here", success: false, error: reason }]);
  expect(logged.filter((line) => line.includes("app_resource.refused"))).toHaveLength(1);
});

test("an app that was removed and made again before its agent heard of it is offered on", async () => {
  const { id } = await joinAgent(store, { name: "here", jkt: "here", publicJwk: {}, now: 0 });
  const agent = { id, name: "here" };
  const offer = { name: "one", labels: {}, description: "", shared: true, resource: true };
  const first = (await put("one")).resource;
  await enrolApps(store, id, [offer], 1);
  await resources.reported(agent, [{ name: "one", revision: first.revision, state: "offered" }]);
  await removeAppResource(store, "one");
  const { revision } = (await put("one", "prod")).resource;
  // What it says of the one that is gone counts for nothing.
  await resources.reported(agent, [{ name: "one", revision: first.revision, state: "offered" }]);
  expect(await findApps(store, "one")).toEqual([]);
  await resources.reported(agent, [{ name: "one", revision, state: "offered" }]);
  expect(await findApps(store, "one")).toMatchObject([{ agent: "here", labels: { env: "prod" }, shared: true }]);
  expect(await listReports(store)).toMatchObject([{ agent: "here", state: "offered", revision }]);
  expect(logged).toEqual([]);
});

test("what is read after a change is told after the agents have heard of the change", async () => {
  const order: string[] = [];
  const note = resources.heard((async () => void order.push("read")) as unknown as RunJob);
  await put("one");
  const changed = resources.changed().then(() => void order.push("sent"));
  await note("readStanding", {} as never).then(() => void order.push("told"));
  await changed;
  expect(order).toEqual(["read", "sent", "told"]);
  expect(sent).toHaveLength(3);
});
