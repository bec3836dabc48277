/** Behind a load balancer that ends TLS and cuts what is silent: everything works, and the log knows who it was. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCa, issueLeaf } from "../../src/identity/pki.ts";
import { Cluster } from "./harness.ts";
import { LoadBalancer } from "./load-balancer.ts";
import { RawClient, textOf } from "./mcp.ts";

setDefaultTimeout(30_000);

/** Much less than they allow, and more than between two heartbeats of an agent (3 s): sessions are cut, again and again. */
const IDLE_MS = 4_000;

let dir = "";
let balancer: LoadBalancer;
let cluster: Cluster;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "mcpgate-lb-"));
  const now = Date.now();
  const ca = await createCa("a company's own", now);
  const { certPem, keyPem } = await issueLeaf({ ca, names: ["127.0.0.1"], now });
  writeFileSync(join(dir, "ca.pem"), ca.certPem);
  balancer = new LoadBalancer({ cert: certPem, key: keyPem, idleMs: IDLE_MS, client: "203.0.113.7" });
  cluster = await Cluster.start({
    apps: ["demo"],
    users: { alice: ["mcp-user"] },
    publicAddr: `127.0.0.1:${balancer.port}`,
    onListening: (address) => {
      balancer.target = Number(address.split(":")[1]);
    },
    proxyService: { tls: "off", trusted_proxies: ["127.0.0.1"] },
    env: { NODE_EXTRA_CA_CERTS: join(dir, "ca.pem") },
  });
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
  balancer.close();
  rmSync(dir, { recursive: true });
});

test("a call that takes longer than the balancer waits is answered, by the same server", async () => {
  await using client = new RawClient(cluster, "alice", "demo");
  await client.initialize();
  const pid = async () => JSON.parse(textOf((await client.call("read_host_info")).result ?? {})).pid;
  const before = await pid();
  const cuts = balancer.cuts;
  const { result } = await client.call("slow_count", { to: 1, step_ms: IDLE_MS + 2_000 });
  expect(textOf(result ?? {})).toBe("counted to 1");
  expect(balancer.cuts).toBeGreaterThan(cuts);
  expect(await pid()).toBe(before);
  const { stderr } = await client.end();
  const times = (event: string) => stderr.split(event).length - 1;
  expect(times("connection.lost")).toBeGreaterThan(0);
  expect(times("connection.regained")).toBe(times("connection.lost"));
});

test("events tell the person's address, not the balancer's", async () => {
  const [login] = await cluster.events("--event=user.login", "--limit=1");
  expect(login).toMatchObject({ user: "alice", remote: "203.0.113.7" });
  const [start] = await cluster.events("--event=mcp.session.start", "--limit=1");
  expect(start).toMatchObject({ user: "alice", remote: "203.0.113.7" });
});
