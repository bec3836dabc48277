/** What the API says of a user's rights: the stored roles, roles as they would be, locks, and roles with tests of their own. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { joinAgent } from "../../../src/store/agents.ts";
import { enrolApps } from "../../../src/store/apps.ts";
import { type Fixture, openFixture } from "./fixture.ts";

let f: Fixture;
beforeEach(async () => {
  f = await openFixture();
  const { id } = await joinAgent(f.store, { name: "host-a", jkt: "k", publicJwk: {}, now: f.clock.now });
  const db = { name: "db", description: "", labels: { env: "dev" }, shared: false };
  await enrolApps(f.store, id, [db], f.clock.now);
});
afterEach(() => f.close());

const role = (tools: unknown[], rest: object = {}) => ({
  kind: "role",
  version: "v8",
  metadata: { name: "dev" },
  spec: { allow: { app_labels: { env: "dev" }, mcp: { tools } } },
  ...rest,
});
const decide = async (question: object) =>
  (await f.admin("POST", "/v1/api/decisions", { user: "bob", app: "db", ...question })).body;

test("stored roles and traits, roles in their place, locks", async () => {
  await f.admin("POST", "/v1/api/roles", role(["read_*", "{{external.team}}_*"]));
  await f.admin("POST", "/v1/api/users", { name: "bob", roles: ["dev"], traits: { team: ["data"] } });
  expect(await decide({ tool: "data_x" })).toEqual({
    allowed: true,
    reason: "the role dev allows the tool data_x",
    role: "dev",
    path: "spec.allow.mcp.tools.1",
    entry: "data_*",
  });
  expect(await decide({ tool: "drop" })).toEqual({ allowed: false, reason: "no role allows the tool drop" });
  expect(await decide({ tool: "drop", roles: [role(["drop"])] })).toMatchObject({ allowed: true });
  expect((await decide({ app: "nope" })).error).toMatchObject({ code: "not_found" });
  expect((await decide({ user: "nobody" })).error).toMatchObject({ code: "not_found" });
  const spec = { target: { role: "dev" }, message: "frozen" };
  await f.admin("POST", "/v1/api/locks", { kind: "lock", version: "v2", spec });
  expect(await decide({ tool: "data_x" })).toEqual({ allowed: false, reason: "the role dev is locked: frozen" });
});

test("conditions see the arguments as they were written", async () => {
  await f.admin("POST", "/v1/api/roles", role([{ name: "pay", where: "arguments.id == 5" }]));
  await f.admin("POST", "/v1/api/users", { name: "bob", roles: ["dev"] });
  expect((await decide({ tool: "pay", arguments: '{"id": 5}' })).allowed).toBe(true);
  expect((await decide({ tool: "pay", arguments: '{"id": 6}' })).allowed).toBe(false);
  expect((await decide({ tool: "pay", arguments: '{"id": 5, "ID": 6}' })).reason).toContain("can't be judged");
});

test("a role whose own tests fail is not stored", async () => {
  const app = { name: "db", labels: { env: "dev" } };
  const refused = await f.admin(
    "POST",
    "/v1/api/roles",
    role(["*"], { tests: [{ app, tool: "drop", expect: "deny" }] }),
  );
  expect([refused.status, refused.body.error]).toEqual([
    400,
    {
      code: "invalid",
      message: "tests.0: expected deny, and the role dev allows the tool drop",
      hint: "mcpgate roles test FILE",
    },
  ]);
  expect((await f.admin("GET", "/v1/api/roles/dev")).status).toBe(404);
  const fine = role(["read_*"], { tests: [{ app, tool: "drop", expect: "deny" }] });
  expect((await f.admin("POST", "/v1/api/roles", fine)).body).toMatchObject({ created: true, document: fine });
});
