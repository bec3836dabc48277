/** `client connect` when it can't: it stays an MCP server that says what to do, and works once that was done. */

import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { type AppDocument, Cluster, SELF, SLOWEST_MS } from "./harness.ts";
import { connectV1, connectV2, RawClient, textOf } from "./mcp.ts";

setDefaultTimeout(SLOWEST_MS);

let cluster: Cluster;

const app = (name: string, mcp: Partial<AppDocument["mcp"]>): AppDocument => ({
  name,
  mcp: { command: "true", run_as_host_user: SELF, ...mcp },
});

beforeAll(async () => {
  cluster = await Cluster.start({
    apps: [
      "demo",
      "echo",
      app("missing", { command: "no-such-command" }),
      app("absolute", { command: "/nowhere/server" }),
      app("stranger", { run_as_host_user: "no-such-user" }),
      app("dies", {
        command: "/bin/sh",
        args: ["-c", "read line; echo starting up >&2; echo no database >&2; exit 3"],
      }),
    ],
    users: { alice: ["mcp-user"] },
  });
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

/** What the first request is answered with. */
async function firstError(name: string, home?: string): Promise<{ code: number; message: string; hint: unknown }> {
  await using client = new RawClient(cluster, "alice", name, home === undefined ? {} : { home });
  const { error } = await client.initialize();
  if (error === undefined) throw new Error("it did connect");
  expect((await client.end()).code).toBe(0);
  expect(client.lines).toHaveLength(1);
  return { code: error.code, message: error.message, hint: error.data?.hint };
}

describe("the first request is answered with what to do", () => {
  test("not logged in; and after a login in another terminal a later request works", async () => {
    const home = cluster.place.path("late");
    await using client = new RawClient(cluster, "alice", "demo", { home });
    const { error } = await client.initialize();
    expect(error?.message).toContain("not logged in");
    expect(error?.data?.hint).toBe("mcpgate client login --proxy=HOST:PORT --user=NAME");
    await cluster.login("alice", home);
    expect((await client.initialize()).result).toMatchObject({ serverInfo: { name: "mcpgate-demo" } });
    expect((await client.call("echo", { message: "at last" })).result).toBeDefined();
    expect(await client.end()).toMatchObject({ code: 0 });
  });

  test("the same for the SDKs, whose connect fails with it", async () => {
    const before = cluster.place.path("home", "eve");
    const error = await connectV1(cluster, "eve", "demo").then(
      () => undefined,
      (reason: Error) => reason.message,
    );
    expect(error).toContain("not logged in; try: mcpgate client login");
    const modern = await connectV2(cluster, "eve", "demo").then(
      () => undefined,
      (reason: Error) => reason.message,
    );
    expect(modern).toContain("not logged in");
    await cluster.login("alice", before);
    await using client = await connectV1(cluster, "eve", "demo");
    expect(textOf(await client.callTool({ name: "echo", arguments: { message: "hi" } }))).toBe("hi");
  });

  test("an expired login, with the very command that renews it", async () => {
    const home = cluster.place.path("expired");
    await cluster.login("alice", home);
    const { jkt } = newestLogin();
    database().run("UPDATE logins SET expires_at = ? WHERE jkt = ?", [Date.now() - 1000, jkt]);
    const { message, hint } = await firstError("demo", home);
    expect(message).toContain("expired");
    expect(hint).toBe(`mcpgate client login --proxy=${cluster.address} --user=alice`);
    const ls = await cluster.place.cli(["client", "ls"], { home });
    expect(ls).toMatchObject({ code: 1, stdout: "" });
    expect(ls.stderr).toContain(`mcpgate: hint: ${hint}\n`);
    await cluster.login("alice", home);
    expect((await cluster.place.cli(["client", "ls"], { home })).code).toBe(0);
  });

  test("logged out", async () => {
    const home = cluster.place.path("out");
    await cluster.login("alice", home);
    await cluster.place.ok(["client", "logout"], { home });
    expect((await firstError("demo", home)).message).toContain("not logged in");
  });

  test("no such app", async () => {
    const { message, hint } = await firstError("nothing");
    expect(message).toContain('no such app "nothing", or you may not reach it');
    expect(hint).toBe("mcpgate client ls");
  });

  test("a command that is not there, a host user who is not there", async () => {
    const missing = await firstError("missing");
    expect(missing.message).toContain('command "no-such-command"');
    expect(missing.message).toContain("PATH");
    const absolute = await firstError("absolute");
    expect(absolute.message).toContain('command "/nowhere/server" doesn\'t exist');
    const stranger = await firstError("stranger");
    expect(stranger.message).toContain("no-such-user");
  });

  test("a server that dies: its last words", async () => {
    const { message } = await firstError("dies");
    expect(message).toContain("exited with code 3");
    expect(message).toContain("no database");
  });
});

describe("things that are down", () => {
  test("no agent: and once it is there again a later request works", async () => {
    await using client = new RawClient(cluster, "alice", "demo");
    await client.initialize();
    expect(await cluster.agent.stop()).toBe(0);
    await using late = new RawClient(cluster, "alice", "demo");
    const { error } = await late.initialize();
    expect(error?.message).toContain('that serves "demo" is not connected');
    expect(error?.data?.hint).toContain("mcpgate agent start");
    const { stdout, stderr } = await cluster.as("alice", ["client", "ls"]);
    expect(stdout).toContain("demo");
    expect(stderr).toStartWith("mcpgate: warning: no agent is online for ");
    await cluster.startAgent();
    expect((await late.initialize()).result).toBeDefined();
  });

  test("no proxy: and once it is there again a later request works", async () => {
    await cluster.proxy.stop();
    await using client = new RawClient(cluster, "alice", "demo");
    const { error } = await client.initialize();
    expect(error?.message).toContain(`can't reach the proxy ${cluster.address}`);
    const { code, stderr } = await cluster.as("alice", ["client", "ls"]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^mcpgate: error: can't reach the proxy .*\nmcpgate: hint: .*\n$/);
    await cluster.startProxy();
    const until = performance.now() + 10_000;
    while ((await client.initialize()).result === undefined) {
      if (performance.now() > until) throw new Error("it never connected");
    }
    expect((await client.call("echo", { message: "hi" })).result).toBeDefined();
  });
});

function database(): Database {
  const opened = new Database(cluster.place.path("proxy/mcpgate.db"));
  opened.run("PRAGMA busy_timeout = 5000");
  return opened;
}

function newestLogin(): { jkt: string } {
  using opened = database();
  return opened.query("SELECT jkt FROM logins ORDER BY created_at DESC LIMIT 1").get() as { jkt: string };
}
