/** No orphan, ever: whichever process gets a SIGKILL, nothing of a server is left, and who waits is answered. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type AppDocument, Cluster, FIXTURES, OTHER, type Place } from "./harness.ts";
import { RawClient } from "./mcp.ts";
import { descendants, eventually, isAlive } from "./processes.ts";

let cluster: Cluster;

beforeAll(async () => {
  const app = (name: string, args: string[]) => (place: Place) => {
    place.folder("state", 0o777);
    copyFileSync(join(FIXTURES, "servers", name), place.path(name));
    chmodSync(place.path(name), 0o755);
    const env = { PIDS: place.path("state/.pids"), STATE: place.path("state") };
    const stop_grace = { stdin: "0s", term: "1s" };
    const mcp = { command: place.path(name), args, env, run_as_host_user: OTHER.name, stop_grace };
    return { name: name.replace(".sh", ""), labels: {}, description: "", mcp } as AppDocument;
  };
  cluster = await Cluster.start({
    apps: ["demo", app("hydra.sh", []), app("docker", ["run", "-i", "--rm", "image"])],
    users: { alice: ["mcp-user"] },
    // The hydra answers nothing, so there is nothing to wait for.
    appService: { drain: "1s" },
  });
  forget();
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

afterEach(async () => {
  for (const pid of hydra().filter(isAlive)) process.kill(pid, "SIGKILL");
  forget();
  if (!isAlive(cluster.agent.pid)) await cluster.startAgent();
  // A client that was killed while it opened a session leaves one that would wait for it.
  for (const { sid } of await cluster.sessions()) await cluster.place.cli(["sessions", "kill", sid]);
  await eventually(async () => (await cluster.sessions()).length === 0);
});

const pidsFile = (): string => cluster.place.path("state/.pids");
const hydra = (): number[] => readFileSync(pidsFile(), "utf8").split("\n").filter(Boolean).map(Number);

function forget(): void {
  writeFileSync(pidsFile(), "");
  chmodSync(pidsFile(), 0o666);
}

const containers = (): string[] => readdirSync(cluster.place.path("state")).filter((name) => !name.startsWith("."));

interface Status {
  pid: number;
  guard: boolean;
  containment: string;
  connected: boolean;
  servers: { spawned: number; exited: number; running: number };
  apps: { app: string; state: string; error?: string }[];
}
const agentYaml = (): string => cluster.place.path("agent.yaml");
const status = async (): Promise<Status> =>
  JSON.parse(await cluster.place.ok(["agent", "status", "--format=json", "-c", agentYaml()]));

/** The agent proper, below the guard. */
const worker = (): number => descendants(cluster.agent.pid, 1)[0] ?? 0;

/** A hydra with all of its heads, and a call that it never answers. */
async function openHydra() {
  const client = new RawClient(cluster, "alice", "hydra");
  const answer = client.initialize();
  await eventually(() => hydra().length === 13);
  return { client, answer };
}

describe("SIGKILL", () => {
  test("of the agent: the guard ends all that it had started, starts it again, and open calls are answered", async () => {
    const { client, answer } = await openHydra();
    await using _ = client;
    const before = worker();
    process.kill(before, "SIGKILL");
    const began = performance.now();
    expect((await answer).error?.message).toMatch(/unknown|not known|ended/);
    expect(performance.now() - began).toBeLessThan(5_000);
    await eventually(() => hydra().filter(isAlive).length === 0);
    expect(isAlive(before)).toBe(false);
    await eventually(() => worker() !== 0);
    await using next = new RawClient(cluster, "alice", "demo");
    await eventually(async () => (await status().catch(() => undefined))?.connected);
    expect((await next.initialize()).result).toBeDefined();
    expect(cluster.agent.stderr()).toContain("agent.died");
  });

  test("of the guard: the agent ends all that it had started, says so, and ends", async () => {
    const { client, answer } = await openHydra();
    await using _ = client;
    const agent = worker();
    process.kill(cluster.agent.pid, "SIGKILL");
    expect((await answer).error?.message).toContain("guard process was killed");
    await cluster.agent.exited;
    await eventually(() => !isAlive(agent));
    // All have been killed by then; the kernel may need a moment more, and nobody else is left to do anything about them.
    await eventually(() => hydra().filter(isAlive).length === 0, { ms: 1_000 });
    expect(cluster.agent.stderr()).toContain("guard.lost");
  });

  test("of the server: the rest of it goes too", async () => {
    const { client, answer } = await openHydra();
    await using _ = client;
    process.kill(hydra()[0] ?? 0, "SIGKILL");
    expect((await answer).error?.message).toContain("killed by SIGKILL");
    await eventually(() => hydra().filter(isAlive).length === 0);
    const { servers, apps } = await status();
    expect(servers.spawned).toBe(servers.exited + servers.running);
    expect(apps.find(({ app }) => app === "hydra")).toMatchObject({
      state: "failing",
      error: "the server killed by SIGKILL",
    });
  });

  test("of the client: the server goes when it is known that the client won't be back", async () => {
    const { client, answer } = await openHydra();
    answer.catch(() => {});
    client.kill("SIGKILL");
    await client.exited;
    const [session] = await cluster.sessions();
    await cluster.place.ok(["sessions", "kill", session?.sid ?? ""]);
    await eventually(() => hydra().filter(isAlive).length === 0);
  });
});

test("SIGTERM ends all of it, and the guard ends with the agent's exit code", async () => {
  const { client, answer } = await openHydra();
  await using _ = client;
  expect(await cluster.agent.stop()).toBe(0);
  expect(hydra().filter(isAlive)).toEqual([]);
  expect((await answer).error?.message).toContain("the agent stops");
});

describe("a container", () => {
  async function open() {
    const client = new RawClient(cluster, "alice", "docker");
    client.initialize().catch(() => {});
    await eventually(() => containers().length === 1);
    return client;
  }

  test("carries the agent's and the session's name, and ends with the session", async () => {
    await using client = await open();
    const [session] = await cluster.sessions();
    const labels = readFileSync(cluster.place.path("state", containers()[0] ?? ""), "utf8");
    expect(labels).toMatch(/^mcpgate\.agent=\S+\nmcpgate\.sid=\S+\n$/);
    expect(labels).toContain(`mcpgate.sid=${session?.sid}\n`);
    client.kill("SIGTERM");
    await eventually(() => containers().length === 0);
  });

  test("whose client was killed is ended by name", async () => {
    await using _ = await open();
    const [name] = containers();
    process.kill(Number(name), "SIGKILL");
    // The client opens another session, and with it comes another container.
    await eventually(() => !containers().includes(name ?? ""));
  });

  test("that an agent left behind is ended by the next", async () => {
    await using _ = await open();
    const [name] = containers();
    process.kill(worker(), "SIGKILL");
    await eventually(() => !containers().includes(name ?? ""));
  });
});

test("agent status: for its own user, in words and as JSON", async () => {
  // The test before this one had it start again.
  const now = await eventually(async () => {
    const it = await status().catch(() => undefined);
    return it?.connected ? it : undefined;
  });
  expect(now).toMatchObject({ guard: true, connected: true, pid: worker() });
  expect(now.containment).toMatch(/^(cgroup|subreaper)$/);
  expect(await cluster.place.ok(["agent", "status", "-c", agentYaml()])).toContain(
    `Supervision: ${now.containment} and guard`,
  );
  expect(statSync(cluster.place.path("agent/status.sock")).mode & 0o777).toBe(0o600);
  await cluster.agent.stop();
  expect(existsSync(cluster.place.path("agent/status.sock"))).toBe(false);
  const { code, stderr } = await cluster.place.cli(["agent", "status", "-c", agentYaml()]);
  expect(code).toBe(1);
  expect(stderr).toContain("mcpgate: hint: mcpgate agent start");
});
