/** Neighbouring releases work together: what one says beyond the other's knowledge is passed over, and what it can't say has a default. */
import { expect, test } from "bun:test";
import { agentHello, parseFromAgent } from "../../src/link/from-agent.ts";
import { parseMessage } from "../../src/link/protocol.ts";
import { toAgent } from "../../src/link/to-agent.ts";

const hello = {
  ...{ t: "hello", proof: "p", agent: "a", boot: "b", version: "0.0.0", sessions: [], ended: [] },
  apps: [{ name: "one", description: "", labels: {}, shared: false }],
};

test("an agent that knows no app resources asks for none and offers none", () => {
  const parsed = parseMessage(agentHello, JSON.stringify(hello));
  expect(parsed?.resources).toEqual([]);
  expect(parsed?.apps[0]?.resource).toBe(false);
  const { apps } = hello;
  expect(parseFromAgent(JSON.stringify({ t: "apps", apps }))).toMatchObject({ resources: [] });
});

test("members that nobody knows yet are passed over", () => {
  const later = { ...hello, later: 1, apps: [{ ...hello.apps[0], later: { any: "thing" } }] };
  expect(parseMessage(agentHello, JSON.stringify(later))).toEqual(parseMessage(agentHello, JSON.stringify(hello)));
  const resources = [{ name: "one", revision: "1", document: { kind: "app" }, later: true }];
  expect(parseMessage(toAgent, JSON.stringify({ t: "app.resources", resources, later: true }))).toEqual({
    t: "app.resources",
    resources: [{ name: "one", revision: "1", document: { kind: "app" } }],
  });
});

test.each([
  ["selectors by the thousand", { resources: Array(1001).fill({ "*": "*" }) }],
  ["a selector that is none", { resources: [{ env: { $ne: "prod" } }] }],
])("%s are no hello", (_, more) => {
  expect(parseMessage(agentHello, JSON.stringify({ ...hello, ...more }))).toBeUndefined();
});
