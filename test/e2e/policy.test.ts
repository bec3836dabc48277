/** Policy through the compiled binary: traits and expressions decide as they are written, and can be tried beforehand. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Cluster } from "./harness.ts";
import { RawClient } from "./mcp.ts";
import { eventually } from "./processes.ts";

let cluster: Cluster;

const TEAM = {
  kind: "role",
  version: "v8",
  metadata: { name: "team" },
  spec: {
    allow: {
      app_labels_expression: 'labels["env"] == "test" && contains(user.spec.traits["apps"], "echo")',
      mcp: { tools: ["{{internal.mcp_tools}}", "{{external.verb}}_thing"] },
    },
  },
};

beforeAll(async () => {
  cluster = await Cluster.start({ apps: ["echo"], roles: [TEAM], users: { alice: ["team"] } });
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

test("traits open an app and its tools, on a live session too", async () => {
  const { place } = cluster;
  const none = new RawClient(cluster, "alice", "echo");
  expect((await none.initialize()).error?.message).toContain("you may not reach it");
  await none.end();

  const added = await place.ok(["users", "update", "alice", "--set-trait=apps=echo", "--set-trait=verb=read"]);
  expect(added).toBe("User alice has been updated: roles team, traits apps=echo verb=read\n");
  await using client = new RawClient(cluster, "alice", "echo");
  await client.initialize();
  const tools = async () => {
    const { result } = await client.request("tools/list");
    return (result as { tools: { name: string }[] }).tools.map(({ name }) => name);
  };
  expect(await tools()).toEqual(["read_thing"]);
  expect((await client.call("echo")).error?.code).toBe(-32602);

  await place.ok(["users", "update", "alice", "--set-mcp-tools=ec*"]);
  await eventually(() => client.lines.some((line) => line.includes("notifications/tools/list_changed")));
  expect(await tools()).toEqual(["read_thing", "echo"]);
  expect((await client.call("echo")).result).toBeDefined();

  const listed = JSON.parse((await cluster.as("alice", ["client", "ls", "--format=json"])).stdout);
  expect(listed[0].allowed_tools).toEqual(["ec*", "read_thing"]);

  // what opened the app is taken away
  await place.ok(["users", "update", "alice", "--unset-trait=apps"]);
  await eventually(async () => (await client.call("echo")).error !== undefined);
  await place.ok(["users", "update", "alice", "--set-trait=apps=echo"]);
  await client.end();
});

test("can: the decision and the rule that made it", async () => {
  const { place } = cluster;
  expect(await place.ok(["can", "alice", "echo/read_thing"])).toBe(
    "allowed: the role team allows the tool read_thing\n  role/team spec.allow.mcp.tools.1: read_thing\n",
  );
  const denied = await place.cli(["can", "alice", "echo/write_thing", "{}"]);
  expect([denied.code, denied.stdout]).toEqual([1, "denied: no role allows the tool write_thing\n"]);
  // as it would be
  const open = { ...TEAM, spec: { allow: { app_labels: { "*": "*" }, mcp: { tools: ["*"] } } } };
  place.file("open.json", JSON.stringify(open, undefined, 2));
  const { stdout } = await place.cli(["can", "alice", "echo/write_thing", "-f", "open.json"]);
  expect(stdout).toMatch(/^allowed: the role team allows the tool write_thing\n {2}open\.json:\d+:\d+: \*\n$/);
});

test("a role's own tests: run by hand, and before it is stored", async () => {
  const { place } = cluster;
  const app = { name: "echo", labels: { env: "test" } };
  const alice = { name: "alice", traits: { apps: ["echo"], verb: ["read"] } };
  const tests = [
    { user: alice, app, tool: "read_thing", arguments: { path: "/" }, expect: "allow" },
    { user: alice, app, tool: "write_thing", expect: "deny" },
    { user: "bob", app, tool: "read_thing", expect: "deny" },
  ];
  place.file("tested.yaml", { ...TEAM, tests });
  const fine = await place.cli(["roles", "test", "tested.yaml"]);
  expect([fine.code, fine.stderr]).toEqual([0, "mcpgate: 3 tests, all passed\n"]);
  expect(await place.ok(["create", "-f", "tested.yaml", "--force"])).toBe('role "team" has been updated\n');
  expect(await place.ok(["get", "role/team"])).toContain("tests:\n");

  const wrong = { ...TEAM, spec: { allow: { ...TEAM.spec.allow, mcp: { tools: ["*"] } } }, tests };
  place.file("wrong.yaml", wrong);
  expect((await place.cli(["roles", "test", "wrong.yaml"])).code).toBe(1);
  const refused = await place.cli(["create", "-f", "wrong.yaml", "--force"]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(
    /^mcpgate: error: wrong\.yaml:\d+:\d+: tests\.1: expected deny, and the role team allows the tool write_thing\nmcpgate: hint: mcpgate roles test wrong\.yaml\n$/,
  );
  // nothing has changed
  expect((await place.cli(["can", "alice", "echo/write_thing"])).code).toBe(1);
});
