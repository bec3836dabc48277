import { expect, test } from "bun:test";
import { Placement } from "../../src/proxy/placement.ts";
import type { App } from "../../src/store/apps.ts";

const offer = (agentId: string): App => ({
  ...{ name: "app", agentId, agent: agentId, labels: {}, description: "", type: "stdio" as const },
  ...{ shared: true, resource: true, enrolledAt: 0 },
});
const offers = ["a", "b", "c"].map(offer);
const healthy = { load: new Map(), failing: () => false };
const ids = (apps: App[]): string => apps.map(({ agentId }) => agentId).join("");

test("agents that are alike take turns, whatever they are called", () => {
  const placement = new Placement();
  const first = Array.from({ length: 6 }, () => ids(placement.order(offers, healthy))[0]);
  expect(first.slice(0, 3).sort()).toEqual(["a", "b", "c"]);
  expect(first.slice(3)).toEqual(first.slice(0, 3));
});

test("few sessions of the app, then few sessions, then the turn", () => {
  const load = new Map([
    ["a", { app: 2, all: 2 }],
    ["b", { app: 1, all: 9 }],
    ["c", { app: 1, all: 3 }],
  ]);
  const placement = new Placement();
  expect(ids(placement.order(offers, { ...healthy, load }))).toBe("cba");
  expect(ids(placement.order(offers, { ...healthy, load }))).toBe("cba");
});

test("one that did not answer in time comes last, until it does or is given up", () => {
  let now = 0;
  const placement = new Placement(() => now);
  placement.silent("a");
  const load = new Map([["b", { app: 5, all: 5 }]]);
  expect(ids(placement.order(offers.slice(0, 2), { ...healthy, load }))).toBe("ba");
  now = 15_000;
  expect(ids(placement.order(offers.slice(0, 2), { ...healthy, load }))).toBe("ab");
});

test("where servers fail comes last, and is there still", () => {
  const placement = new Placement();
  const load = new Map([["b", { app: 5, all: 5 }]]);
  expect(ids(placement.order(offers.slice(0, 2), { load, failing: (agent) => agent === "a" }))).toBe("ba");
  expect(placement.order([], healthy)).toEqual([]);
});
