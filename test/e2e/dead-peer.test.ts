/**
 * Peers that are dead though nobody says so: a proxy that stands still, a network that swallows everything. The clocks are the
 * real ones, so this takes half a minute; both at once.
 */
import { expect, test } from "bun:test";
import { TcpRelay } from "../chaos/tcp-relay.ts";
import { Cluster } from "./harness.ts";
import { RawClient, textOf } from "./mcp.ts";
import { eventually } from "./processes.ts";

/** Until a client has given its connection up (25 s and a look every 3 s), with room for a busy machine. */
const NOTICED_MS = 40_000;

interface Scene {
  cluster: Cluster;
  relay: TcpRelay;
}

async function open(): Promise<Scene> {
  const relay = new TcpRelay();
  const cluster = await Cluster.start({
    apps: ["demo"],
    users: { alice: ["mcp-user"] },
    publicAddr: `127.0.0.1:${relay.port}`,
    onListening: (address) => {
      relay.target = Number(address.split(":")[1]);
    },
  });
  return { cluster, relay };
}

async function close({ cluster, relay }: Scene): Promise<void> {
  expect(await cluster.stop()).toEqual([]);
  relay.close();
}

/** Milliseconds that a call takes from whose beginning on nothing passes, until `mend` was called. */
async function callThrough(scene: Scene, fault: () => void, mend: () => Promise<void>): Promise<number> {
  const { cluster } = scene;
  const client = new RawClient(cluster, "alice", "demo");
  await client.initialize();
  const pid = async () => JSON.parse(textOf((await client.call("read_host_info")).result ?? {})).pid;
  const before = await pid();
  fault();
  const since = performance.now();
  const answer = client.call("echo", { message: "are you there" });
  await mend();
  expect(textOf((await answer).result ?? {})).toContain("are you there");
  const took = performance.now() - since;
  expect(await pid()).toBe(before);
  const { stderr } = await client.end();
  expect(stderr.match(/connection\.lost reason="the other end is silent"/g)).toHaveLength(1);
  expect(stderr.match(/connection\.regained/g)).toHaveLength(1);
  expect(cluster.agent.stderr()).toContain('control.lost reason="the proxy is silent"');
  return took;
}

async function proxyStops(): Promise<number> {
  const scene = await open();
  const { proxy, agent } = scene.cluster;
  const took = await callThrough(
    scene,
    () => process.kill(proxy.pid, "SIGSTOP"),
    async () => {
      // Agents give up first, clients some seconds later.
      await eventually(() => agent.stderr().includes("the proxy is silent"), { ms: NOTICED_MS, every: 200 });
      await Bun.sleep(12_000);
      process.kill(proxy.pid, "SIGCONT");
    },
  );
  await close(scene);
  return took;
}

/** Connections that are there are dead for good; new ones work. */
async function networkSwallows(): Promise<number> {
  const scene = await open();
  const took = await callThrough(
    scene,
    () => void scene.relay.stall(),
    async () => {},
  );
  await close(scene);
  return took;
}

test("a proxy under SIGSTOP, and connections that swallow everything: a pause of half a minute, and the call is answered", async () => {
  const [stopped, swallowed] = await Promise.all([proxyStops(), networkSwallows()]);
  console.log(JSON.stringify({ stoppedMs: Math.round(stopped), swallowedMs: Math.round(swallowed) }));
  expect(swallowed).toBeLessThan(NOTICED_MS);
  expect(stopped).toBeLessThan(NOTICED_MS);
}, 120_000);
