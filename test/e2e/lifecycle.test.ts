/** Beginnings and ends: what ends a session ends its server, and what is no end is survived. */
import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Cluster, READER, role, SELF, SLOWEST_MS } from "./harness.ts";
import { RawClient } from "./mcp.ts";
import { eventually, isAlive } from "./processes.ts";

setDefaultTimeout(SLOWEST_MS);

let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.start({
    apps: ["demo", "echo", { name: "deaf", mcp: { command: "sleep", args: ["1000"], run_as_host_user: SELF } }],
    roles: [READER],
    users: { alice: ["mcp-user"], bob: ["reader"] },
    appService: { drain: "1s" },
  });
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

// Whatever a test does to its sessions: afterwards there is no server and no session left.
afterEach(async () => {
  await eventually(() => cluster.servers().length === 0);
  await eventually(async () => (await cluster.sessions()).length === 0);
});

const text = (answer: { result?: Record<string, unknown> }): string =>
  (answer.result as { content?: { text: string }[] } | undefined)?.content?.[0]?.text ?? JSON.stringify(answer);

const serverPid = async (client: RawClient): Promise<number> =>
  JSON.parse(text(await client.call("read_host_info"))).pid;

async function open(app = "demo", user = "alice"): Promise<RawClient> {
  const client = new RawClient(cluster, user, app);
  await client.initialize();
  return client;
}

/** A call that is under way: its progress has been heard of. */
async function slowCall(client: RawClient, to: number, step_ms: number) {
  const id = `slow-${to}-${step_ms}`;
  const answer = client.answerTo(id);
  const params = { name: "slow_count", arguments: { to, step_ms }, _meta: { progressToken: id } };
  client.send({ jsonrpc: "2.0", id, method: "tools/call", params });
  await eventually(() => client.lines.some((line) => line.includes(`"progressToken":"${id}"`)));
  return { answer };
}

describe("the client ends", () => {
  test("with its stdin: the session and the server end with it", async () => {
    await using client = await open();
    const pid = await serverPid(client);
    expect(isAlive(pid)).toBe(true);
    expect(await client.end()).toEqual({ code: 0, stderr: "" });
    expect(isAlive(pid)).toBe(false);
  });

  test("after the answers to all that was asked: printf … | mcpgate client connect", async () => {
    const clientInfo = { name: "printf", version: "1" };
    const requests = [
      { id: 1, method: "initialize", params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo } },
      { method: "notifications/initialized" },
      { id: 2, method: "tools/list" },
      { id: 3, method: "tools/call", params: { name: "echo", arguments: { message: "last" } } },
    ];
    const stdin = requests.map((each) => `${JSON.stringify({ jsonrpc: "2.0", ...each })}\n`).join("");
    const { code, stdout, stderr } = await cluster.as("alice", ["client", "connect", "echo"], { stdin });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const answers = stdout.trimEnd().split("\n");
    expect(answers.map((line) => JSON.parse(line).id)).toEqual([1, 2, 3]);
    expect(answers[2]).toContain("last");
  });

  test.each(["SIGTERM", "SIGINT"] as const)("by %s, also in the middle of a call: nothing stays", async (signal) => {
    await using client = await open();
    const pid = await serverPid(client);
    const { answer } = await slowCall(client, 1000, 10_000);
    client.kill(signal);
    expect(await client.exited).toBe(0);
    expect((await answer).error?.message).toContain("not known");
    // long before the time that a client which is only away has to come back
    await eventually(() => !isAlive(pid), { ms: 5_000 });
    const ends = await cluster.eventsOnce((events) => events.length > 0, "--event=mcp.session.end", "--limit=1");
    expect(ends[0]).toMatchObject({ success: true, details: { reason: "the client ended the session" } });
  });
});

describe("the agent ends", () => {
  test("by SIGTERM: its servers are gone, and who waits for an answer gets one", async () => {
    await using client = await open();
    const pid = await serverPid(client);
    const { answer } = await slowCall(client, 1000, 10_000);
    expect(await cluster.agent.stop()).toBe(0);
    expect(isAlive(pid)).toBe(false);
    const { error } = await answer;
    expect(error?.message).toContain("the agent stops");
    expect(error?.message).toContain("unknown");
    expect((await client.call("echo", { message: "x" })).error?.message).toMatch(/has ended|not connected/);
    await cluster.startAgent();
    // another handshake begins another session
    expect((await client.initialize()).result).toBeDefined();
    expect(text(await client.call("echo", { message: "again" }))).toBe("again");
    await client.end();
  });

  test("by SIGKILL: its servers die with it, and its events are not lost", async () => {
    await using client = await open("demo", "bob");
    const pid = await serverPid(client);
    await cluster.agent.stop("SIGKILL");
    await eventually(() => !isAlive(pid));
    await cluster.startAgent();
    const calls = await cluster.eventsOnce(
      (events) => events.some(({ tool }) => tool === "read_host_info"),
      "--user=bob",
      "--event=mcp.session.request",
    );
    expect(calls.at(-1)).toMatchObject({ tool: "read_host_info", success: true });
    // and the client goes on with a new one
    expect(text(await client.call("echo", { message: "x" }))).toBe("x");
    await client.end();
  });
});

test("an agent that is killed takes a server with it that hears nothing of the end of its input", async () => {
  await using client = new RawClient(cluster, "alice", "deaf");
  const pid = await eventually(() =>
    cluster.servers().find((each) => readFileSync(`/proc/${each}/cmdline`, "utf8").startsWith("sleep\0")),
  );
  await cluster.agent.stop("SIGKILL");
  await eventually(() => !isAlive(pid));
  await cluster.startAgent();
  await client.end();
});

describe("the proxy restarts", () => {
  test("in the middle of a session: the call made meanwhile completes, with the same server", async () => {
    await using client = await open();
    const pid = await serverPid(client);
    const { answer: underWay } = await slowCall(client, 10, 100);
    expect(await cluster.proxy.stop()).toBe(0);
    const meanwhile = client.call("echo", { message: "through the night" });
    await cluster.startProxy();
    expect(text(await meanwhile)).toBe("through the night");
    expect(text(await underWay)).toBe("counted to 10");
    expect(await serverPid(client)).toBe(pid);
    const progress = client.lines.filter((line) => line.includes("slow-10-100")).map((line) => JSON.parse(line));
    expect(progress.flatMap(({ params }) => params?.progress ?? [])).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect((await client.end()).code).toBe(0);
    const requests = await cluster.eventsOnce(
      (events) => events.some(({ arguments: given }) => given?.message === "through the night"),
      "--event=mcp.session.request",
    );
    expect(requests.filter(({ arguments: given }) => given?.message === "through the night")).toHaveLength(1);
  });

  test("by SIGKILL: the same", async () => {
    await using client = await open();
    const pid = await serverPid(client);
    await cluster.proxy.stop("SIGKILL");
    const meanwhile = client.call("echo", { message: "killed" });
    await cluster.startProxy();
    expect(text(await meanwhile)).toBe("killed");
    expect(await serverPid(client)).toBe(pid);
    await client.end();
  });
});

describe("the admin ends a session", () => {
  /** Ends alice's session by `act`; what her open call was told. */
  async function endedBy(act: (sid: string) => Promise<unknown>, user = "alice"): Promise<string> {
    await using client = await open("demo", user);
    const pid = await serverPid(client);
    const { answer } = await slowCall(client, 1000, 10_000);
    const [session] = await cluster.sessions();
    expect(session).toMatchObject({ user, app: "demo" });
    await act(session?.sid ?? "");
    const { error } = await answer;
    await eventually(() => !isAlive(pid), { ms: 5_000 });
    // the client stays an MCP server that answers: with a new session, or with why there is none
    const { result, error: refused } = await client.call("echo", { message: "x" });
    expect(result === undefined).toBe(refused !== undefined);
    expect((await client.end()).code).toBe(0);
    return error?.message ?? "";
  }

  test("sessions kill", async () => {
    expect(await endedBy((sid) => cluster.place.ok(["sessions", "kill", sid]))).toContain("killed");
    const [killed] = await cluster.events("--event=session.kill", "--limit=1");
    expect(killed).toMatchObject({ user: "alice", app: "demo", success: true, actor: `uid:${process.getuid?.()}` });
  });

  test("users rm", async () => {
    await cluster.addUser("carol", ["mcp-user"]);
    expect(await endedBy(() => cluster.place.ok(["users", "rm", "carol"]), "carol")).toContain("user removed");
    const { code, stderr } = await cluster.as("carol", ["client", "ls"]);
    expect(code).toBe(1);
    expect(stderr).toContain("mcpgate: hint: mcpgate client login");
  });

  test("a logout", async () => {
    expect(await endedBy(() => cluster.as("alice", ["client", "logout"]))).toContain("logged out");
    await cluster.login("alice");
  });

  test("a role without the app", async () => {
    await cluster.addUser("dora", ["mcp-user"]);
    const told = await endedBy(() => cluster.place.ok(["users", "update", "dora", "--set-roles=auditor"]), "dora");
    expect(told).toContain("you may not reach this app any more");
  });

  test("agents rm: the agent ends too, and needs a new token", async () => {
    const [agent] = JSON.parse(await cluster.place.ok(["agents", "ls", "--format=json"]));
    const told = await endedBy(() => cluster.place.ok(["agents", "rm", agent.name]));
    expect(told).toMatch(/agent removed|agent stops/);
    expect(await cluster.agent.exited).toBe(1);
    expect(cluster.agent.stderr()).toMatch(/mcpgate: error: .*removed.*\nmcpgate: hint: .*\n/);
    const again = await cluster.place.cli(["agent", "start", "-c", cluster.place.path("agent.yaml")]);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain("mcpgate tokens add --type=app");

    cluster.place.file("token", await cluster.place.ok(["tokens", "add", "--type=app", "--format=text"]));
    await Bun.file(cluster.place.path("agent/identity.json")).delete();
    await cluster.startAgent();
    await using client = await open();
    expect(text(await client.call("echo", { message: "back" }))).toBe("back");
    await client.end();
  });
});

test("a role edit on a live session changes what is allowed, both ways", async () => {
  await using client = await open("echo", "bob");
  const names = async () => {
    const { result } = await client.request("tools/list");
    return (result as { tools: { name: string }[] }).tools.map(({ name }) => name);
  };
  const edit = (tools: string[], deny: string[] = []) =>
    cluster.place.ok(["create", "--force", "-f", cluster.place.file("reader.yaml", role("reader", tools, deny))]);
  expect(await names()).toEqual(["read_thing", "echo"]);
  const pid = cluster.servers();
  await edit(["*"]);
  await eventually(() => client.lines.some((line) => line.includes("notifications/tools/list_changed")));
  expect(await names()).toEqual(["read_thing", "write_thing", "echo"]);
  expect((await client.call("write_thing")).result).toBeDefined();
  await edit(["*"], ["write_*"]);
  await eventually(async () => (await client.call("write_thing")).error?.code === -32602);
  expect(await names()).toEqual(["read_thing", "echo"]);
  expect(cluster.servers()).toEqual(pid);
  // and by the user's roles
  await cluster.place.ok(["users", "update", "bob", "--set-roles=mcp-user"]);
  await eventually(async () => (await client.call("write_thing")).result !== undefined);
  await client.end();
});
