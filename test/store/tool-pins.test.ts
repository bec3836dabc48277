import { expect, test } from "bun:test";
import { generateKeyPair } from "../../src/identity/keys.ts";
import { joinAgent, removeAgent } from "../../src/store/agents.ts";
import { enrolApps } from "../../src/store/apps.ts";
import { openStore } from "../../src/store/open.ts";
import { approvePins, listPins, reportPins } from "../../src/store/tool-pins.ts";

async function open() {
  const store = await openStore(":memory:");
  const { publicJwk, jkt } = await generateKeyPair();
  const { id } = await joinAgent(store, { name: "web-1", jkt, publicJwk: { ...publicJwk }, now: 1 });
  const offer = (...names: string[]) =>
    enrolApps(
      store,
      id,
      names.map((name) => ({ name, labels: {}, description: "", shared: false })),
      1,
    );
  await offer("notes");
  const report = (...tools: [string, string | null, string | null][]) =>
    reportPins(store, {
      agentId: id,
      app: "notes",
      enforce: true,
      tools: tools.map(([tool, pinned, pending]) => ({ tool, pinned, pending, diff: pending === null ? [] : ["+ x"] })),
      now: 2,
    });
  return { store, id, offer, report };
}

test("a report replaces what was known, and approvals outlive it", async () => {
  const { store, id, report } = await open();
  expect(await report(["read", "a", "b"], ["gone", "c", null])).toEqual([]);
  const approved = await approvePins(store, {
    app: "notes",
    tools: [
      { tool: "read", hash: "b" },
      { tool: "gone", hash: "c" },
      { tool: "read", hash: "z" },
    ],
    by: "admin",
    now: 3,
  });
  expect(approved).toEqual([{ agentId: id, agent: "web-1", tool: "read", hash: "b" }]);
  // An agent that did not hear of it reports the same again, and is told.
  expect(await report(["read", "a", "b"])).toEqual([{ tool: "read", hash: "b" }]);
  expect(await report(["read", "b", null])).toEqual([]);
  expect(await listPins(store, "notes")).toMatchObject([
    { tool: "read", pinned: "b", pending: undefined, enforce: true, approved: { hash: "b", by: "admin", at: 3 } },
  ]);
  // What was approved once is not what waits now.
  expect(await report(["read", "b", "c"])).toEqual([]);
  expect(await listPins(store, "other")).toEqual([]);
});

test("another definition than the one that was looked at is not approved", async () => {
  const { store, report } = await open();
  await report(["read", "a", "c"]);
  expect(await approvePins(store, { app: "notes", tools: [{ tool: "read", hash: "b" }], by: "admin", now: 3 })).toEqual(
    [],
  );
  expect(await report(["read", "a", "c"])).toEqual([]);
});

test("there is none of an app that the agent does not offer", async () => {
  const { store, offer, report } = await open();
  await report(["read", "a", null]);
  await offer("notes", "other");
  expect(await listPins(store)).toHaveLength(1);
  await offer("other");
  expect(await listPins(store)).toEqual([]);
  expect(await report(["read", "a", "b"])).toEqual([]);
  expect(await listPins(store)).toEqual([]);
});

test("goes with its agent", async () => {
  const { store, id, report } = await open();
  await report(["read", "a", null]);
  await removeAgent(store, id);
  expect(await listPins(store)).toEqual([]);
});
