/** Locks through the compiled binary: what is open ends at once, nothing new begins, and what can't be reached holds still. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type AddressInfo, createServer, connect as dialTcp, type Server, type Socket } from "node:net";
import { Cluster, READER } from "./harness.ts";
import { RawClient } from "./mcp.ts";
import { eventually } from "./processes.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.start({
    apps: ["demo", "echo"],
    roles: [READER],
    users: { alice: ["mcp-user"], bob: ["reader"] },
  });
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

async function open(user: string, app = "demo"): Promise<RawClient> {
  const client = new RawClient(cluster, user, app);
  expect((await client.initialize()).result).toBeDefined();
  return client;
}

/** A call that does not end by itself. */
async function openCall(client: RawClient) {
  const id = "endless";
  const answer = client.answerTo(id);
  const params = { name: "slow_count", arguments: { to: 1000, step_ms: 10_000 }, _meta: { progressToken: id } };
  client.send({ jsonrpc: "2.0", id, method: "tools/call", params });
  await eventually(() => client.lines.some((line) => line.includes(`"progressToken":"${id}"`)));
  return { answer };
}

async function addLock(...flags: string[]): Promise<string> {
  return JSON.parse(await cluster.place.ok(["locks", "add", ...flags, "--format=json"])).name;
}
const removeLock = (name: string) => cluster.place.ok(["locks", "rm", name]);

test("a user: the session ends within a second with the message; no login, no new session; and back", async () => {
  await using client = await open("alice");
  const { answer } = await openCall(client);
  await using other = await open("bob", "echo");

  const lock = await addLock("--user=alice", "--message=laptop stolen");
  const since = performance.now();
  expect((await answer).error?.message).toContain("the user alice is locked: laptop stolen");
  expect(performance.now() - since).toBeLessThan(1000);

  expect((await client.initialize()).error?.message).toContain("the user alice is locked: laptop stolen");
  const listed = await cluster.as("alice", ["client", "ls"]);
  expect([listed.code, listed.stderr]).toEqual([
    1,
    "mcpgate: error: the user alice is locked: laptop stolen\nmcpgate: hint: ask your mcpgate admin\n",
  ]);
  await expect(cluster.login("alice")).rejects.toThrow("the user alice is locked: laptop stolen");
  expect((await other.call("read_thing")).result).toBeDefined();

  const [ended] = await cluster.events("--event=mcp.session.end", "--user=alice", "--limit=1");
  expect(ended).toMatchObject({ details: { reason: "the user alice is locked: laptop stolen" } });
  const [made] = await cluster.events("--event=lock.create", "--limit=1");
  expect(made).toMatchObject({ success: true, details: { lock, target: { user: "alice" }, message: "laptop stolen" } });

  await removeLock(lock);
  expect((await client.initialize()).result).toBeDefined();
  expect(await cluster.login("alice")).toContain("alice");
  await client.end();
  await other.end();
});

test("a role: whoever holds it, and whoever is given it", async () => {
  await using bob = await open("bob", "echo");
  await using alice = await open("alice", "echo");
  const lock = await addLock("--role=reader");
  await eventually(async () => (await bob.call("read_thing")).error?.message.includes("the role reader is locked"));
  expect((await alice.call("read_thing")).result).toBeDefined();
  await cluster.place.ok(["users", "update", "alice", "--set-roles=mcp-user,reader"]);
  await eventually(async () => (await alice.call("read_thing")).error?.message.includes("the role reader is locked"));
  await cluster.place.ok(["users", "update", "alice", "--set-roles=mcp-user"]);
  await removeLock(lock);
  await bob.end();
  await alice.end();
});

test("an app, for a while: the others go on, and it comes back by itself", async () => {
  await using echo = await open("alice", "echo");
  await using demo = await open("alice");
  const until = Date.now() + 2_000;
  await addLock("--app=echo", "--ttl=2s", "--message=restoring a backup");
  await eventually(async () => (await echo.call("read_thing")).error?.message.includes("the app echo is locked"));
  expect((await demo.call("echo", { message: "on" })).result).toBeDefined();
  await eventually(async () => (await echo.initialize()).result !== undefined);
  expect(Date.now()).toBeGreaterThanOrEqual(until - 100);
  expect(await cluster.place.ok(["locks", "ls", "--format=json"])).toBe("[]\n");
  await echo.end();
  await demo.end();
});

test("an agent: its sessions end, it is kept out without giving up, and comes back", async () => {
  await using client = await open("alice");
  const { answer } = await openCall(client);
  const [agent] = JSON.parse(await cluster.place.ok(["agents", "ls", "--format=json"]));
  const lock = await addLock(`--agent=${agent.name}`, "--message=reinstalling");
  expect((await answer).error?.message).toContain(`the agent ${agent.name} is locked: reinstalling`);
  const status = async () => JSON.parse(await cluster.place.ok(["agents", "ls", "--format=json"]))[0].online;
  await eventually(async () => !(await status()));
  await eventually(() => cluster.agent.stderr().includes("reinstalling"));
  expect((await client.initialize()).error?.message).toContain("is locked: reinstalling");
  await removeLock(lock);
  await eventually(status, { ms: 15_000 });
  expect((await client.initialize()).result).toBeDefined();
  await client.end();
}, 30_000);

test("as documents", async () => {
  const { place } = cluster;
  place.file("lock.yaml", {
    kind: "lock",
    version: "v2",
    metadata: { name: "freeze" },
    spec: { target: { app: "nothing" }, message: "as the original's", expires: "2999-01-01T00:00:00Z" },
  });
  expect(await place.ok(["create", "-f", "lock.yaml"])).toBe('lock "freeze" has been created\n');
  expect(await place.ok(["get", "lock/freeze"])).toContain(
    "message: as the original's\n  expires: 2999-01-01T00:00:00.000Z\n",
  );
  place.file("again.yaml", await place.ok(["get", "lock"]));
  expect(await place.ok(["create", "-f", "again.yaml", "--force"])).toBe('lock "freeze" has been updated\n');
  expect(await place.ok(["rm", "lock/freeze"])).toBe('lock "freeze" has been deleted\n');
});

/** What the agent dials through, as through a company's proxy: it can fall silent, connection by connection. */
class Gateway {
  readonly #server: Server;
  readonly #tunnels = new Set<[client: Socket, upstream: Socket]>();
  #open = true;

  private constructor() {
    this.#server = createServer((client) => {
      client.on("error", () => {});
      client.once("data", (head) => this.#connect(client, String(head)));
    });
  }

  static async start(): Promise<Gateway> {
    const gateway = new Gateway();
    await new Promise<void>((resolve) => gateway.#server.listen(0, "127.0.0.1", resolve));
    return gateway;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  #connect(client: Socket, head: string): void {
    const [, host = "", port = ""] = /^CONNECT ([^:]+):(\d+) /.exec(head) ?? [];
    if (!this.#open || host === "") return void client.destroy();
    const upstream = dialTcp(Number(port), host, () => {
      client.write("HTTP/1.1 200 OK\r\n\r\n");
      client.pipe(upstream).pipe(client);
      this.#tunnels.add(pair);
    });
    const pair: [Socket, Socket] = [client, upstream];
    for (const [end, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      end.on("error", () => {});
      end.on("close", () => {
        this.#tunnels.delete(pair);
        other.destroy();
      });
    }
  }

  /** The oldest connection says nothing more, either way, and no new one gets through; the others go on. */
  silenceOldest(): void {
    this.#open = false;
    const [oldest = []] = this.#tunnels;
    for (const end of oldest) end.unpipe().pause();
  }

  /** Nothing gets through any more. */
  cut(): void {
    this.#open = false;
    for (const [client] of this.#tunnels) client.destroy();
  }

  mend(): void {
    this.#open = true;
  }

  close(): void {
    this.cut();
    this.#server.close();
  }
}

test("an agent that hears nothing of its proxy lets no new call through after 10 s, until it has caught up", async () => {
  const gateway = await Gateway.start();
  await cluster.agent.stop();
  const { place } = cluster;
  cluster.agent = place.start(["agent", "start", "-c", place.path("agent.yaml")], {
    env: { HTTPS_PROXY: gateway.url },
  });
  await cluster.agent.ready;
  await using client = await open("alice");
  const id = "long";
  const answer = client.answerTo(id);
  const params = { name: "slow_count", arguments: { to: 12, step_ms: 1000 }, _meta: { progressToken: id } };
  client.send({ jsonrpc: "2.0", id, method: "tools/call", params });

  gateway.silenceOldest();
  // its last heartbeat was up to three seconds ago
  await Bun.sleep(5_000);
  expect((await client.call("echo", { message: "still" })).result).toBeDefined();
  // it does not hear that alice may not call this any more
  await cluster.place.ok(["users", "update", "alice", "--set-roles=reader"]);
  expect((await client.call("slow_count", { to: 1 })).result).toBeDefined();
  await Bun.sleep(5_500);
  const held = client.call("slow_count", { to: 1 });
  const state = (call: Promise<unknown>, ms: number) => Promise.race([call, Bun.sleep(ms).then(() => "held")]);
  expect(await state(held, 1_000)).toBe("held");
  // what was let through before goes on to its end
  expect((await answer).result).toBeDefined();
  expect(await state(held, 100)).toBe("held");
  gateway.mend();
  expect((await held).error?.code).toBe(-32602);
  expect((await client.call("echo", { message: "on" })).result).toBeDefined();
  await cluster.place.ok(["users", "update", "alice", "--set-roles=mcp-user"]);

  // locked while it is away: it hears so when it comes back, and keeps nothing running
  gateway.cut();
  const [agent] = JSON.parse(await place.ok(["agents", "ls", "--format=json"]));
  const lock = await addLock(`--agent=${agent.name}`);
  expect(cluster.servers()).toHaveLength(1);
  gateway.mend();
  await eventually(() => cluster.servers().length === 0);
  await removeLock(lock);
  await client.end();
  gateway.close();
}, 45_000);
