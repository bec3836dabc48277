import { afterEach, beforeEach, expect, test } from "bun:test";
import { joinAgent } from "../../src/store/agents.ts";
import {
  getAppResource,
  listAppResources,
  listReports,
  putAppResource,
  removeAppResource,
  reportResources,
} from "../../src/store/app-resources.ts";
import { enrolApps, findApps } from "../../src/store/apps.ts";
import { policyRevision } from "../../src/store/meta.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";

let store: Store;
beforeEach(async () => {
  store = await openStore(":memory:");
});
afterEach(() => store.destroy());

const document = (name: string, labels: Record<string, string> = { env: "dev" }, args: string[] = []) => ({
  kind: "app",
  version: "v3",
  metadata: { name, description: `the ${name}`, labels },
  spec: { mcp: { command: "server", args, run_as_host_user: "mcp" } },
});
const put = async (doc: object, replace = false) => putAppResource(store, doc, { replace, by: "uid:0", now: 1 });
const join = async (name: string) => (await joinAgent(store, { name, jkt: name, publicJwk: {}, now: 0 })).id;
const offered = (name: string) => ({
  ...{ name, labels: { env: "mine" }, description: "mine", shared: false, resource: true },
});

test("made once, replaced when that is asked for, each time another revision", async () => {
  const { resource, created } = await put(document("one"));
  expect(created).toBe(true);
  expect(resource).toMatchObject({ name: "one", labels: { env: "dev" }, description: "the one", updatedBy: "uid:0" });
  await expect(put(document("one"))).rejects.toMatchObject({ code: "already_exists", hint: "mcpgate get app/one" });
  const again = await put(document("one", { env: "prod" }), true);
  expect(again.created).toBe(false);
  expect(again.resource.revision).not.toBe(resource.revision);
  expect((await listAppResources(store)).map(({ name }) => name)).toEqual(["one"]);
  expect((await getAppResource(store, "one")).document).toEqual(document("one", { env: "prod" }));
});

test("what agents offer of one has its labels, whatever they say, and at once", async () => {
  const agent = await join("a");
  await put(document("one"));
  expect((await enrolApps(store, agent, [offered("one"), offered("none")], 1)).refused).toEqual([
    { name: "none", reason: "there is no app resource of this name any more" },
  ]);
  expect(await findApps(store, "one")).toMatchObject([
    { labels: { env: "dev" }, description: "the one", shared: true, resource: true },
  ]);
  const before = await policyRevision(store);
  await put(document("one", { env: "prod" }), true);
  expect(await findApps(store, "one")).toMatchObject([{ labels: { env: "prod" } }]);
  expect(await policyRevision(store)).toBeGreaterThan(before);
});

test("removed: what agents offer of it is gone, what stands in a file of theirs stays", async () => {
  const [a, b] = [await join("a"), await join("b")];
  await put(document("one"));
  await enrolApps(store, a, [offered("one")], 1);
  await enrolApps(store, b, [{ ...offered("one"), resource: false, shared: true }], 1);
  expect(await removeAppResource(store, "one")).toEqual([a]);
  expect(await findApps(store, "one")).toMatchObject([{ agent: "b", resource: false, labels: { env: "mine" } }]);
  await expect(removeAppResource(store, "one")).rejects.toMatchObject({ code: "not_found" });
  await expect(getAppResource(store, "one")).rejects.toMatchObject({ code: "not_found" });
});

test("an agent that comes back keeps what it could not know of yet, and nothing else", async () => {
  const agent = await join("a");
  for (const name of ["one", "two", "three"]) await put(document(name));
  await enrolApps(store, agent, ["one", "two"].map(offered), 1);
  const { enrolled, freed } = await enrolApps(store, agent, [], 2, ["one", "three"]);
  expect({ enrolled, freed }).toEqual({ enrolled: ["one"], freed: ["two"] });
  expect((await enrolApps(store, agent, [], 3)).freed).toEqual(["one"]);
});

test("reports: a refusal is news once for each version and reason, and takes the offer away", async () => {
  const agent = await join("a");
  const { revision } = (await put(document("one"))).resource;
  await enrolApps(store, agent, [offered("one")], 1);
  const refuse = (reason: string, of = revision) =>
    reportResources(store, agent, [{ name: "one", revision: of, state: "refused", reason }], 2);
  expect(await refuse("no")).toEqual([{ name: "one", reason: "no" }]);
  expect(await findApps(store, "one")).toEqual([]);
  expect(await refuse("no")).toEqual([]);
  expect(await refuse("never")).toEqual([{ name: "one", reason: "never" }]);
  const next = (await put(document("one"), true)).resource.revision;
  expect(await refuse("never")).toEqual([]); // of the version before
  expect(await listReports(store)).toEqual([]);
  expect(await refuse("never", next)).toEqual([{ name: "one", reason: "never" }]);
  expect(await listReports(store)).toMatchObject([{ name: "one", agent: "a", state: "refused", reason: "never" }]);
  await enrolApps(store, agent, [offered("one")], 3);
  const offers = { name: "one", revision: next, state: "offered" as const, reason: undefined };
  expect(await reportResources(store, agent, [offers], 3)).toEqual([]);
  expect(await findApps(store, "one")).toHaveLength(1);
  expect(await listReports(store)).toMatchObject([{ state: "offered", reason: undefined }]);
  // An agent that asks for none any more.
  await reportResources(store, agent, [], 4);
  expect(await listReports(store)).toEqual([]);
});

test("there is room for so much", async () => {
  const big = document("one", {}, Array(3).fill("x".repeat(4000)));
  await expect(put(document("one", {}, Array(5).fill("x".repeat(4000))))).rejects.toMatchObject({
    message: "an app resource has at most 16 KiB",
  });
  const text = JSON.stringify(big);
  const rows = Array.from({ length: 300 }, (_, i) => ({
    ...{
      name: `r${i}`,
      revision: `${i}`,
      document: text,
      labels: "{}",
      description: "",
      updated_at: 0,
      updated_by: "",
    },
  }));
  await store.insertInto("app_resources").values(rows).execute();
  await expect(put(big)).rejects.toMatchObject({ message: "all apps together have at most 3 MiB" });
  expect(await listAppResources(store)).toHaveLength(300);
});
