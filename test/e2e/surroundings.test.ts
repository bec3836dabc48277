/** Hostile working directories, stdout that is JSON-RPC and nothing else, and readers that take their time. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { closeSync, constants, existsSync, mkdirSync, openSync, readSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { Cluster, FIXTURES, NODE, SELF, SLOWEST_MS } from "./harness.ts";
import { RawClient } from "./mcp.ts";
import { eventually } from "./processes.ts";

setDefaultTimeout(SLOWEST_MS);

let cluster: Cluster;
let hostile: string;

beforeAll(async () => {
  const junk = { command: NODE, args: [join(FIXTURES, "servers/junk.mjs")], run_as_host_user: SELF };
  cluster = await Cluster.start({
    apps: ["demo", "echo", { name: "junk", mcp: junk }],
    users: { alice: ["mcp-user"] },
  });
  hostile = makeHostile(cluster.place.path("hostile"));
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

const owned = () => existsSync(cluster.place.path("hostile/owned"));

/** All that a runtime may look for in its working directory, and what it would do there. */
function makeHostile(dir: string): string {
  mkdirSync(join(dir, "node_modules/hono"), { recursive: true });
  const evil = `require("node:fs").appendFileSync(${JSON.stringify(join(dir, "owned"))}, "x\\n"); console.log("evil");\n`;
  const files = {
    ".env": `MCPGATE_HOME=${cluster.home("alice")}\nMCPGATE_CONFIG=${dir}/evil.yaml\nNODE_TLS_REJECT_UNAUTHORIZED=0\nBUN_OPTIONS=--preload=./evil.cjs\n`,
    ".env.local": `MCPGATE_HOME=${cluster.home("alice")}\n`,
    ".env.production": `MCPGATE_HOME=${cluster.home("alice")}\n`,
    "bunfig.toml": 'preload = ["./evil.cjs"]\n[run]\nbun = true\n[test]\npreload = ["./evil.cjs"]\n',
    "package.json":
      '{"type":"commonjs","main":"./evil.cjs","imports":{"#x":"./evil.cjs"},"sideEffects":["./evil.cjs"]}\n',
    "tsconfig.json": '{"compilerOptions":{"paths":{"*":["./evil.cjs"]},"jsxImportSource":"./evil.cjs"}}\n',
    "jsconfig.json": '{"compilerOptions":{"paths":{"*":["./evil.cjs"]}}}\n',
    "evil.cjs": evil,
    "index.js": evil,
    "main.js": evil,
    "node_modules/hono/package.json": '{"name":"hono","main":"index.js"}\n',
    "node_modules/hono/index.js": evil,
    "evil.yaml": "not: [a configuration\n",
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
  return dir;
}

describe("a hostile working directory", () => {
  test("has no effect on commands", async () => {
    const version = await cluster.place.ok(["version"]);
    expect(await cluster.place.ok(["version"], { cwd: hostile })).toBe(version);
    const { stdout, stderr } = await cluster.as("alice", ["client", "ls", "--format=json"], { cwd: hostile });
    expect(JSON.parse(stdout).map(({ name }: { name: string }) => name)).toEqual(["demo", "echo", "junk"]);
    expect(stderr).toBe("");
    expect(JSON.parse(await cluster.place.ok(["users", "ls", "--format=json"], { cwd: hostile }))).toHaveLength(1);
    // where the environment says nothing, a .env that leads to somebody's login does not say it instead
    const bare = { PATH: process.env.PATH ?? "", HOME: cluster.place.path("bare") };
    const status = Bun.spawn([cluster.place.bin, "client", "status"], {
      env: bare,
      cwd: hostile,
      stdout: "pipe",
      stderr: "pipe",
    });
    expect(await status.stderr.text()).toStartWith("mcpgate: error: not logged in\n");
    expect(owned()).toBe(false);
  });

  test("has no effect on a connection, nor on the server at its end", async () => {
    await using client = new RawClient(cluster, "alice", "demo", { cwd: hostile });
    await client.initialize();
    expect((await client.call("echo", { message: "hi" })).result).toBeDefined();
    expect((await client.end()).code).toBe(0);
    expect(owned()).toBe(false);
  });

  test("has no effect on the proxy and the agent, nor on a server that is told to run there", async () => {
    const { place } = cluster;
    await cluster.agent.stop();
    await cluster.proxy.stop();
    cluster.proxy = place.start(["proxy", "start"], { cwd: hostile });
    await cluster.proxy.ready;
    const config = parse(await Bun.file(place.path("agent.yaml")).text());
    for (const app of config.app_service.apps) app.mcp.cwd = hostile;
    place.file("hostile.yaml", config);
    cluster.agent = place.start(["agent", "start", "-c", place.path("hostile.yaml")], { cwd: hostile });
    await cluster.agent.ready;
    await using client = new RawClient(cluster, "alice", "demo");
    await client.initialize();
    const answer = await client.call("read_host_info");
    expect(JSON.stringify(answer)).toContain(`\\"cwd\\": \\"${hostile}\\"`);
    await client.end();
    expect(owned()).toBe(false);
  });
});

describe("stdout", () => {
  test("is JSON-RPC and nothing else, whatever the server prints", async () => {
    await using client = new RawClient(cluster, "alice", "junk");
    expect((await client.initialize()).result).toBeDefined();
    expect((await client.call("echo", { message: "hi" })).result).toBeDefined();
    client.send("no JSON at all");
    client.send('{"jsonrpc":"1.0","id":9,"method":"ping"}');
    expect((await client.request("ping")).result).toEqual({});
    expect((await client.end()).code).toBe(0);
    expect(client.rest).toBe("");
    expect(client.lines.length).toBeGreaterThanOrEqual(5);
    for (const line of client.lines) expect(JSON.parse(line)).toMatchObject({ jsonrpc: "2.0" });
  });

  test("bytes that need no change are not changed", async () => {
    await using client = new RawClient(cluster, "alice", "echo");
    await client.initialize();
    const answered = client.answerTo(5);
    const line =
      '{ "params": {"arguments": {"big":12345678901234567890, "e":1.0e2, "ü":"\\u00fc"}, "name":"echo", "x":[ ]},"method":"tools/call","id":5 ,"jsonrpc":"2.0"}';
    client.send(line);
    await answered;
    expect(cluster.seen().at(-1)).toBe(line);
  });

  test("is whole however slowly it is read: 5 MB through a pipe, after the end of stdin", async () => {
    const message = "0123456789".repeat(500_000);
    const send = (each: object): string => `${JSON.stringify({ jsonrpc: "2.0", ...each })}\n`;
    const hello = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "slow", version: "1" } };
    const stdin =
      send({ id: 1, method: "initialize", params: hello }) +
      send({ method: "notifications/initialized" }) +
      send({ id: 2, method: "tools/call", params: { name: "read_thing", arguments: { message } } });
    const pipe = cluster.place.path("pipe");
    await Bun.$`mkfifo ${pipe}`;
    const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
    const writer = openSync(pipe, constants.O_WRONLY);
    const child = Bun.spawn([cluster.place.bin, "client", "connect", "echo"], {
      env: cluster.place.env(cluster.home("alice")),
      stdin: Buffer.from(stdin),
      stdout: writer,
      stderr: "pipe",
    });
    closeSync(writer);
    // nobody reads until the server has answered
    await cluster.eventsOnce(
      (events) => events.some(({ size = 0 }) => size > 5_000_000),
      "--event=mcp.session.response",
    );
    const chunks: Buffer[] = [];
    const chunk = Buffer.alloc(64 * 1024);
    for (;;) {
      const count = readSome(reader, chunk);
      if (count === 0) break;
      if (count > 0) chunks.push(Buffer.from(chunk.subarray(0, count)));
      await Bun.sleep(1);
    }
    closeSync(reader);
    expect(await child.exited).toBe(0);
    expect(await child.stderr.text()).toBe("");
    const lines = Buffer.concat(chunks).toString().split("\n");
    expect(lines.pop()).toBe("");
    const answers = lines.map((line) => JSON.parse(line));
    expect(answers.map(({ id }) => id)).toEqual([1, 2]);
    expect(JSON.parse(answers[1].result.content[0].text).arguments.message === message).toBe(true);
  });

  test("that nobody reads any more ends the client and its session", async () => {
    const script = `"$1" client connect echo | head -n 1`;
    const child = Bun.spawn(["sh", "-c", script, "sh", cluster.place.bin], {
      env: cluster.place.env(cluster.home("alice")),
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
    });
    const hello = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "head", version: "1" } };
    child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params: hello })}\n`);
    await child.stdin.flush();
    const { value } = await child.stdout.getReader().read();
    expect(JSON.parse(new TextDecoder().decode(value))).toMatchObject({ id: 1, result: {} });
    // `head` is gone by now, or soon
    await eventually(async () => {
      try {
        await child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id: crypto.randomUUID(), method: "ping" })}\n`);
        await child.stdin.flush();
      } catch (error) {
        expect((error as { code?: string }).code).toBe("EPIPE"); // the client has ended, and its shell not yet
      }
      return child.exitCode !== null;
    });
    expect(await child.stderr.text()).not.toContain("    at ");
    await eventually(() => cluster.servers().length === 0);
    await eventually(async () => (await cluster.sessions()).length === 0);
  });
});

/** -1: nothing there yet. */
function readSome(fd: number, into: Buffer): number {
  try {
    return readSync(fd, into);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EAGAIN") return -1;
    throw error;
  }
}
