/** Two OS users: the agent starts servers as another one, and the client is run by one who may nothing else. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { Cluster, isRoot, knownApps, OTHER, type Place, SELF, SLOWEST_MS } from "./harness.ts";
import { RawClient } from "./mcp.ts";

setDefaultTimeout(SLOWEST_MS);

let cluster: Cluster;
let home: string;
const self = { uid: process.getuid?.() ?? -1, gid: process.getgid?.() ?? -1 };

beforeAll(async () => {
  const asOther = (place: Place) => {
    const { demo } = knownApps(place);
    return { ...demo, name: "other", mcp: { ...demo.mcp, run_as_host_user: OTHER.name } };
  };
  cluster = await Cluster.start({ apps: ["demo", asOther], users: { alice: ["mcp-user"] } });
  home = cluster.place.folderOf(OTHER, "other-home");
  await cluster.login("alice", join(home, "state"), { user: OTHER });
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

const hostInfo = async (app: string): Promise<Record<string, unknown>> => {
  await using client = new RawClient(cluster, "alice", app, { home: join(home, "state"), user: OTHER });
  await client.initialize();
  const answer = await client.call("read_host_info");
  expect((await client.end()).code).toBe(0);
  return JSON.parse((answer.result as { content: { text: string }[] }).content[0]?.text ?? "null");
};

test("the server runs as the host user that its app names", async () => {
  const other = await hostInfo("other");
  const entry = (await Bun.$`getent passwd ${OTHER.name}`.text()).trim().split(":");
  expect(other).toMatchObject({ host_user: OTHER.name, uid: OTHER.uid, gid: OTHER.gid, home: entry[5] });
  expect(await hostInfo("demo")).toMatchObject({ host_user: SELF, ...self });
});

test("a client of another OS user does all that it does", async () => {
  const options = { home: join(home, "state"), user: OTHER };
  expect(await cluster.place.ok(["client", "status"], options)).toContain("alice");
  expect(await cluster.place.ok(["client", "ls"], options)).toContain("demo MCP server");
  const file = join(home, "mcp.json");
  await cluster.place.ok(["client", "config", "demo", `--client-config=${file}`], options);
  expect(statSync(file)).toMatchObject({ uid: OTHER.uid });
  expect(statSync(file).mode & 0o777).toBe(0o600);
});

test.if(isRoot)("and is no admin: the socket and the configuration's data are the proxy's user's", async () => {
  const { code, stdout, stderr } = await cluster.place.cli(["users", "ls"], {
    home: join(home, "state"),
    user: OTHER,
    env: { MCPGATE_CONFIG: cluster.place.file("readable.yaml", `mcpgate: {data_dir: ${cluster.place.dir}}\n`, 0o644) },
  });
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toMatch(/^mcpgate: error: .*\nmcpgate: hint: .*\n$/);
});

describe("what is on the disk", () => {
  /** Every file and directory below, itself included. */
  function* walk(path: string): Generator<{ path: string; mode: number; uid: number; isDirectory: boolean }> {
    const stat = statSync(path);
    yield { path, mode: stat.mode & 0o7777, uid: stat.uid, isDirectory: stat.isDirectory() };
    if (stat.isDirectory()) for (const name of readdirSync(path)) yield* walk(join(path, name));
  }

  test("is its owner's alone: 0600 in 0700", () => {
    for (const [root, uid] of [
      [cluster.place.path("proxy"), self.uid],
      [cluster.place.path("agent"), self.uid],
      [cluster.home("alice"), self.uid],
      [join(home, "state"), OTHER.uid],
    ] as const) {
      const found = [...walk(root)];
      expect(found.length).toBeGreaterThan(1);
      for (const each of found) expect(each).toMatchObject({ mode: each.isDirectory ? 0o700 : 0o600, uid });
    }
  });

  test("and an identity that others may read is refused", async () => {
    const file = cluster.place.path("agent/identity.json");
    await cluster.agent.stop();
    await Bun.$`chmod 640 ${file}`;
    const refused = await cluster.place.cli(["agent", "start", "-c", cluster.place.path("agent.yaml")]);
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toMatch(/mcpgate: error: .*identity\.json.*\nmcpgate: hint: .*chmod 600 .*\n$/);
    await Bun.$`chmod 600 ${file}`;
    await cluster.startAgent();
  });
});
