/** `mcp.share` and `mcp.warm`: several sessions and one process, which must not notice each other. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { type AppDocument, Cluster, knownApps, type Place, READER, SLOWEST_MS } from "./harness.ts";
import { connectV1, connectV2, RawClient, textOf } from "./mcp.ts";
import { eventually } from "./processes.ts";

setDefaultTimeout(SLOWEST_MS);

let cluster: Cluster;

type Known = keyof ReturnType<typeof knownApps>;

function variant(name: string, of: Known, more: object): (place: Place) => AppDocument {
  return (place) => {
    const app = knownApps(place)[of];
    return { ...app, name, mcp: { ...app.mcp, ...more } };
  };
}

beforeAll(async () => {
  cluster = await Cluster.start({
    apps: [
      variant("everything", "everything", { share: "user", linger: "1m" }),
      variant("all", "echo", { share: "app", linger: "1m" }),
      variant("demo", "demo", { share: "app", linger: "0s" }),
      variant("brief", "echo", { share: "user", linger: "0s" }),
      variant("warm", "echo", { warm: 1 }),
    ],
    roles: [READER],
    users: { alice: ["mcp-user"], bob: ["reader"] },
  });
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

const status = async (): Promise<{ sessions: { sid: string; app: string; user: string; pid: number }[] }> =>
  JSON.parse(
    await cluster.place.ok(["agent", "status", "--format=json", `--config=${cluster.place.path("agent.yaml")}`]),
  );

/** Of the sessions on an app. */
const pids = async (app: string): Promise<number[]> =>
  (await status()).sessions.filter((each) => each.app === app).map(({ pid }) => pid);

test("two SDK clients that count their ids alike, over one process of a real server", async () => {
  await using one = await connectV1(cluster, "alice", "everything");
  await using two = await connectV1(cluster, "alice", "everything");
  const [pid, other] = await pids("everything");
  expect(pid).toBe(other as number);
  const sums = (client: typeof one, first: number) =>
    Promise.all(
      Array.from({ length: 20 }, async (_, i) =>
        textOf(await client.callTool({ name: "get-sum", arguments: { a: first, b: i } })),
      ),
    );
  const [ofOne, ofTwo] = await Promise.all([sums(one, 1000), sums(two, 2000)]);
  for (let i = 0; i < 20; i++) {
    expect(ofOne[i]).toContain(`is ${1000 + i}`);
    expect(ofTwo[i]).toContain(`is ${2000 + i}`);
  }

  // Both use the id of the request as the token.
  const progress = async (client: typeof one, steps: number): Promise<number[]> => {
    const seen: number[] = [];
    const call = { name: "trigger-long-running-operation", arguments: { duration: 0.4, steps } };
    await client.callTool(call, undefined, { onprogress: ({ total }) => void seen.push(total ?? 0) });
    return seen;
  };
  const [three, four] = await Promise.all([progress(one, 3), progress(two, 4)]);
  expect(new Set(three)).toEqual(new Set([3]));
  expect(new Set(four)).toEqual(new Set([4]));

  const abort = new AbortController();
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  const long = { name: "trigger-long-running-operation", arguments: { duration: 60, steps: 600 } };
  const cancelled = one
    .callTool(long, undefined, { signal: abort.signal, onprogress: () => resolve() })
    .catch((error: Error) => error);
  await begun;
  const still = progress(two, 2);
  abort.abort("enough");
  expect(String(await cancelled)).toContain("enough");
  // The server says its last step and its answer in one breath, and the SDK drops progress that it reads together with
  // the answer, over a bare pipe too.
  expect(new Set(await still)).toEqual(new Set([2]));

  // The server is told of no capabilities, and asks for nothing.
  expect((await one.listTools()).tools.map(({ name }) => name)).not.toContain("trigger-sampling-request");
});

test("of two people on one process, each sees and calls what they may", async () => {
  await using alice = await connectV1(cluster, "alice", "all");
  await using bob = await connectV1(cluster, "bob", "all");
  const all = await pids("all");
  expect(all).toHaveLength(2);
  expect(new Set(all).size).toBe(1);
  const names = async (client: typeof alice): Promise<string[]> =>
    (await client.listTools()).tools.map(({ name }) => name);
  const [ofAlice, ofBob] = await Promise.all([names(alice), names(bob)]);
  expect(ofAlice).toEqual(["read_thing", "write_thing", "echo"]);
  expect(ofBob).toEqual(["read_thing", "echo"]);
  const write = { name: "write_thing", arguments: { who: "bob" } };
  expect(await bob.callTool(write).catch(({ code }: { code: number }) => code)).toBe(-32602);
  expect(cluster.seen().some((line) => line.includes("write_thing"))).toBe(false);
  expect(textOf(await alice.callTool({ name: "echo", arguments: { x: 1 } }))).toContain('{"x":1}');
});

test("a client without the handshake gets a process of its own era; without sessions it ends", async () => {
  {
    await using modern = await connectV2(cluster, "alice", "demo");
    await using modernToo = await connectV2(cluster, "bob", "demo");
    await using classic = await connectV1(cluster, "alice", "demo");
    expect(modern.getNegotiatedProtocolVersion()).toBe("2026-07-28");
    const text = async (client: { callTool(o: object): Promise<object> }, message: string) =>
      textOf(await client.callTool({ name: "echo", arguments: { message } }));
    expect(await Promise.all([text(modern, "a"), text(modernToo, "b"), text(classic, "c")])).toEqual(["a", "b", "c"]);
    const processes = await pids("demo");
    expect(processes).toHaveLength(3);
    expect(new Set(processes).size).toBe(2);
  }
  await eventually(async () => (await pids("demo")).length === 0);
});

test("a server that is killed: every session that shared it hears of it, and goes on with the next", async () => {
  await using one = await connectV1(cluster, "alice", "brief");
  await using two = await connectV1(cluster, "alice", "brief");
  const [pid] = await pids("brief");
  process.kill(pid ?? 0, "SIGKILL");
  await eventually(async () => (await pids("brief")).every((each) => each !== pid));
  for (const client of [one, two]) {
    expect(textOf(await client.callTool({ name: "echo", arguments: {} }))).toContain("echo");
  }
  const now = await pids("brief");
  expect(now).toHaveLength(2);
  expect(new Set(now).size).toBe(1);
});

test("a spare waits before anybody asks, and another takes its place", async () => {
  const ready = (): string[] =>
    cluster.agent
      .stderr()
      .split("\n")
      .filter((line) => line.includes("spare.ready"));
  await eventually(() => ready().length > 0);
  await using client = new RawClient(cluster, "alice", "warm");
  await client.initialize();
  const [pid] = await pids("warm");
  expect(ready()[0]).toContain(String(pid));
  await eventually(() => ready().length > 1);
});
