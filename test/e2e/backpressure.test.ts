/** A reader that stops, stops the writer at the other end: nobody's memory grows, and nobody else waits. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Cluster, FIXTURES, NODE, SELF } from "./harness.ts";
import { RawClient, textOf } from "./mcp.ts";
import { argvOf, descendants, eventually } from "./processes.ts";

setDefaultTimeout(60_000);

const MIB = 1024 * 1024;
/** What a process may grow by: windows of 4 MiB, both ways, in several hands, and a garbage collector that waits. */
const GROWTH_MIB = 64;

let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.start({
    apps: [
      "echo",
      (place) => ({
        name: "flood",
        mcp: {
          command: NODE,
          args: [join(FIXTURES, "servers/flood.mjs")],
          env: { MCPGATE_TEST: place.dir },
          run_as_host_user: SELF,
        },
      }),
      (place) => ({
        name: "endless",
        mcp: { command: "yes", env: { MCPGATE_TEST: place.dir }, run_as_host_user: SELF },
      }),
    ],
    users: { alice: ["mcp-user"], bob: ["mcp-user"] },
    appService: { drain: "0s" },
  });
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

const residentMib = (pid: number): number =>
  Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024);

/** Bytes that the process has written so far. */
const writtenBy = (pid: number): number => Number(/wchar: (\d+)/.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1]);

const agentPid = (): number => descendants(cluster.agent.pid, 1)[0] ?? cluster.agent.pid;

async function open(app: string, user = "alice"): Promise<RawClient> {
  const client = new RawClient(cluster, user, app);
  await client.initialize();
  return client;
}

/** Milliseconds for so many calls, one after the other. */
async function timeOf(client: RawClient, calls: number): Promise<number> {
  const since = performance.now();
  for (let i = 0; i < calls; i++) expect((await client.call("echo", { i })).result).toBeDefined();
  return performance.now() - since;
}

/** The most that each grows by while nothing more moves; a second without news is as long as it takes. */
async function growthOf(pids: Record<string, number>, act: () => Promise<void>): Promise<Record<string, number>> {
  const before = Object.entries(pids).map(([name, pid]) => ({ name, pid, was: residentMib(pid), most: 0 }));
  await act();
  const look = () => {
    for (const each of before) each.most = Math.max(each.most, residentMib(each.pid) - each.was);
  };
  for (let i = 0; i < 15; i++) {
    look();
    await Bun.sleep(100);
  }
  return Object.fromEntries(before.map(({ name, most }) => [name, most]));
}

test("a server that writes for ever to an MCP client that never reads: bounded everywhere, and nobody else waits", async () => {
  await using other = await open("echo", "bob");
  await timeOf(other, 20);
  const alone = await timeOf(other, 100);
  // Nobody ever reads the other end of this one's stdout.
  const reader = "sleep 1000";
  const { place } = cluster;
  const shell = Bun.spawn(["sh", "-c", `"${place.bin}" client connect flood | ${reader}`], {
    env: place.env(cluster.home("alice")),
    stdin: "pipe",
    stdout: "ignore",
    stderr: "ignore",
    detached: true,
  });
  try {
    const say = (message: object) => void shell.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
    const clientInfo = { name: "mute", version: "1" };
    say({ id: 1, method: "initialize", params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo } });
    say({ method: "notifications/initialized" });
    await shell.stdin.flush();
    await eventually(async () => (await cluster.sessions()).some(({ app }) => app === "flood"));
    const client = await eventually(() =>
      descendants(shell.pid).find((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("connect")),
    );
    let during = 0;
    const growth = await growthOf({ client, agent: agentPid(), proxy: cluster.proxy.pid }, async () => {
      say({ id: 2, method: "tools/call", params: { name: "flood" } });
      await shell.stdin.flush();
      await Bun.sleep(1_000);
      during = await timeOf(other, 100);
    });
    console.log(JSON.stringify({ growthMib: growth, alone: Math.round(alone), during: Math.round(during) }));
    for (const mib of Object.values(growth)) expect(mib).toBeLessThan(GROWTH_MIB);
    const [server = 0] = cluster.servers().filter((pid) => argvOf(pid).join(" ").includes("flood.mjs"));
    const written = writtenBy(server);
    expect(written).toBeGreaterThan(MIB / 4);
    await Bun.sleep(200);
    expect(writtenBy(server)).toBe(written); // it waits
    expect(during).toBeLessThan(alone * 3 + 500);
  } finally {
    process.kill(-shell.pid, "SIGKILL");
    await shell.exited;
  }
  for (const { sid, app } of await cluster.sessions()) {
    if (app === "flood") await cluster.place.ok(["sessions", "kill", sid]);
  }
});

test("a server that stops reading while its client sends much: bounded everywhere, and all of it arrives", async () => {
  await using client = await open("flood");
  const file = cluster.place.path("hear");
  await client.call("deaf", { file });
  const padding = "z".repeat(MIB);
  const answered: Promise<unknown>[] = [];
  const growth = await growthOf({ client: client.pid, agent: agentPid(), proxy: cluster.proxy.pid }, async () => {
    for (let i = 0; i < 150; i++) answered.push(client.call("measure", { padding }));
  });
  console.log(JSON.stringify({ growthMib: growth }));
  for (const mib of Object.values(growth)) expect(mib).toBeLessThan(GROWTH_MIB);
  writeFileSync(file, "");
  for (const answer of await Promise.all(answered)) expect(JSON.stringify(answer)).toContain(String(MIB + 14));
});

// Last: what it takes stays with the processes for a while.
test("a result of 64 MiB passes, and arguments of as much", async () => {
  await using client = await open("flood");
  const { result } = await client.call("big", { bytes: 64 * MIB });
  expect(textOf(result ?? {})).toHaveLength(64 * MIB);
  const padding = "y".repeat(64 * MIB);
  const measured = await client.call("measure", { padding });
  expect(measured.error).toBeUndefined();
  expect(textOf(measured.result ?? {})).toBe(String(64 * MIB + '{"padding":""}'.length));
});

test("a server that prints without end, and nothing that is a message, takes nobody's turn", async () => {
  await using echo = await open("echo");
  await using endless = new RawClient(cluster, "bob", "endless");
  endless.initialize().catch(() => {});
  await eventually(() => cluster.servers().some((pid) => argvOf(pid)[0] === "yes"));
  const began = performance.now();
  for (let i = 0; i < 20; i++) await echo.call("echo");
  expect(performance.now() - began).toBeLessThan(5_000);
});
