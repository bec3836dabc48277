import { afterEach, beforeEach, expect, test } from "bun:test";
import { generateKeyPair } from "../../../src/identity/keys.ts";
import { joinAgent } from "../../../src/store/agents.ts";
import { enrolApps } from "../../../src/store/apps.ts";
import { reportPins } from "../../../src/store/tool-pins.ts";
import { openFixture } from "./fixture.ts";

const HASH = "a".repeat(64);
const OTHER = "b".repeat(64);

let f: Awaited<ReturnType<typeof openFixture>>;
let agentId: string;
beforeEach(async () => {
  f = await openFixture();
  const { publicJwk, jkt } = await generateKeyPair();
  agentId = (await joinAgent(f.store, { name: "web-1", jkt, publicJwk: { ...publicJwk }, now: 1 })).id;
  await enrolApps(f.store, agentId, [{ name: "notes", labels: {}, description: "Notes", shared: false }], 1);
  const tools = [
    { tool: "read", pinned: OTHER, pending: HASH, diff: ["- description: a", "+ description: b"] },
    { tool: "list", pinned: OTHER, pending: null, diff: [] },
  ];
  await reportPins(f.store, { agentId, app: "notes", enforce: true, tools, now: 1 });
});
afterEach(() => f.close());

test("apps, their pins, and an approval", async () => {
  expect((await f.admin("GET", "/v1/api/apps")).body).toEqual({
    apps: [
      {
        ...{ name: "notes", agent: "web-1", online: false, description: "Notes", labels: {} },
        ...{ resource: false, tools: 2, pending: 1 },
      },
    ],
    refused: [],
  });
  expect((await f.admin("GET", "/v1/api/apps/notes/pins")).body.pins).toMatchObject([
    { tool: "list", pending: null },
    { tool: "read", pinned: OTHER, pending: HASH, enforce: true, diff: ["- description: a", "+ description: b"] },
  ]);
  const stale = await f.admin("POST", "/v1/api/apps/notes/approve", { tools: [{ tool: "read", hash: OTHER }] });
  expect(stale.body).toEqual({ approved: [] });
  const { body } = await f.admin("POST", "/v1/api/apps/notes/approve", { tools: [{ tool: "read", hash: HASH }] });
  expect(body).toEqual({ approved: [{ agent: "web-1", tool: "read", hash: HASH }] });
  expect(f.calls).toEqual([["toolsApproved", agentId, "notes", [{ tool: "read", hash: HASH }]]]);
  const { events } = (await f.admin("GET", "/v1/api/events?event=app.approve")).body;
  expect(events).toMatchObject([
    { event: "app.approve", app: "notes", agent: "web-1", tool: "read", details: { hash: HASH } },
  ]);
});

test("what is not there, and what is no approval", async () => {
  expect((await f.admin("GET", "/v1/api/apps/nope/pins")).status).toBe(404);
  expect((await f.admin("POST", "/v1/api/apps/nope/approve", { tools: [{ tool: "x", hash: HASH }] })).status).toBe(404);
  for (const body of [
    {},
    { tools: [] },
    { tools: [{ tool: "read", hash: "x" }] },
    { tools: [{ tool: "read", hash: HASH }], x: 1 },
  ]) {
    expect((await f.admin("POST", "/v1/api/apps/notes/approve", body)).status).toBe(400);
  }
});
