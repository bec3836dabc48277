import { afterEach, beforeEach, expect, test } from "bun:test";
import { joinAgent } from "../../../src/store/agents.ts";
import { reportResources } from "../../../src/store/app-resources.ts";
import { enrolApps } from "../../../src/store/apps.ts";
import { type Fixture, openFixture } from "./fixture.ts";

let f: Fixture;
let agentId: string;
beforeEach(async () => {
  f = await openFixture();
  agentId = (await joinAgent(f.store, { name: "web-1", jkt: "k", publicJwk: {}, now: 0 })).id;
});
afterEach(() => f.close());

const PATH = "/v1/api/app-resources";
const document = (name = "notes", mcp: object = {}) => ({
  kind: "app",
  version: "v3",
  metadata: { name, labels: { env: "dev" } },
  spec: { mcp: { command: "server", args: ["--token=abc"], run_as_host_user: "mcp", ...mcp } },
});

test("made, replaced, shown with what agents make of it, and removed with its sessions", async () => {
  const made = await f.admin("POST", PATH, document());
  expect([made.status, made.body.created, made.body.agents]).toEqual([201, true, []]);
  expect((await f.admin("POST", PATH, document())).body.error.code).toBe("already_exists");
  expect((await f.admin("PUT", `${PATH}/notes`, document())).body.created).toBe(false);
  expect((await f.admin("PUT", `${PATH}/other`, document())).body.error.message).toContain("the address says other");

  const row = await f.store.selectFrom("app_resources").select("revision").executeTakeFirstOrThrow();
  const [report] = [{ name: "notes", revision: row.revision, state: "refused" as const, reason: "no" }];
  await reportResources(f.store, agentId, [report], 1);
  f.online.add(agentId);
  const { body } = await f.admin("GET", `${PATH}/notes`);
  expect(body).toMatchObject({ name: "notes", document: document(), updated_by: "uid:1000" });
  expect(body.agents).toEqual([{ agent: "web-1", online: true, state: "refused", reason: "no" }]);
  expect((await f.admin("GET", "/v1/api/apps")).body.refused).toEqual([
    { name: "notes", agent: "web-1", reason: "no" },
  ]);
  // Its word was on another version.
  await f.admin("PUT", `${PATH}/notes`, document());
  expect((await f.admin("GET", PATH)).body.apps[0].agents).toEqual([
    { agent: "web-1", online: true, state: "waiting" },
  ]);

  const offer = { name: "notes", labels: {}, description: "", shared: true, resource: true };
  await enrolApps(f.store, agentId, [offer], 1);
  f.calls.length = 0;
  expect((await f.admin("DELETE", `${PATH}/notes`)).body).toEqual({ name: "notes" });
  expect(f.calls).toEqual([["endSessions", { app: "notes", agent: agentId }, "the app was removed"]]);
  expect((await f.admin("GET", `${PATH}/notes`)).status).toBe(404);

  const events = await f.events("app.create", "app.update", "app.delete");
  expect(events.map(({ event, app, actor }) => [event, app, actor])).toEqual([
    ["app.create", "notes", "uid:1000"],
    ["app.update", "notes", "uid:1000"],
    ["app.update", "notes", "uid:1000"],
    ["app.delete", "notes", "uid:1000"],
  ]);
  expect(events[0]?.details).toEqual({
    command: ["server", "--token=<redacted>"],
    run_as_host_user: "mcp",
    labels: { env: "dev" },
  });
});

test("what is none is refused, with the place and the right spelling", async () => {
  const { status, body } = await f.admin("POST", PATH, document("notes", { comand: "x" }));
  expect([status, body.error]).toEqual([
    400,
    { code: "invalid", message: "spec.mcp.comand: unknown key", hint: "did you mean: command" },
  ]);
  expect((await f.admin("GET", PATH)).body.apps).toEqual([]);
  expect(await f.events("app.create")).toEqual([]);
});
