/** What Prometheus and a load balancer see of a proxy and an agent that are at work. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import parsePrometheusTextFormat from "parse-prometheus-text-format";
import { parse, stringify } from "yaml";
import { Cluster, FIXTURES, NODE, READER, SELF, SLOWEST_MS } from "./harness.ts";
import { RawClient } from "./mcp.ts";
import { descendants, eventually, type Service } from "./processes.ts";

setDefaultTimeout(SLOWEST_MS);

let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.start({
    apps: [
      "echo",
      { name: "broken", mcp: { command: NODE, args: [`${FIXTURES}/servers/none.mjs`], run_as_host_user: SELF } },
    ],
    roles: [READER],
    users: { alice: ["mcp-user"], bob: ["reader"] },
    proxyService: { audit: { sinks: [{ type: "file", path: "sink.jsonl" }] } },
    diagAddr: "127.0.0.1:0",
  });
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

const addressOf = (service: Service): string =>
  /diag\.listening address=(\S+)/.exec(service.stderr())?.[1] ?? "nowhere";

async function readyz(service: Service): Promise<{ status: number; checks: Record<string, string> }> {
  const response = await fetch(`http://${addressOf(service)}/readyz`);
  const { checks } = (await response.json()) as { checks: Record<string, string> };
  return { status: response.status, checks };
}

/** One number: of the series with these labels, or of all of them together. */
async function read(service: Service, metric: string, labels: Record<string, string> = {}): Promise<number> {
  const text = await (await fetch(`http://${addressOf(service)}/metrics`)).text();
  const family = parsePrometheusTextFormat(text).find(({ name }) => name === metric);
  const fits = (series: { labels?: Record<string, string> }) =>
    Object.entries(labels).every(([key, value]) => series.labels?.[key] === value);
  const series = family?.metrics.filter(fits) ?? [];
  return series.reduce((sum, { value }) => sum + Number(value), 0);
}

const becomes = (service: Service, metric: string, labels: Record<string, string>, value: number) =>
  eventually(async () => (await read(service, metric, labels)) === value);

test("calls are counted by app, method and outcome, while their session runs and when it has ended", async () => {
  const { agent, proxy } = cluster;
  const before = await read(proxy, "mcpgate_proxy_sessions_opened_total");
  const client = new RawClient(cluster, "bob", "echo");
  await client.initialize();
  for (let i = 0; i < 3; i++) await client.call("read_thing", { i });
  await client.call("write_thing");
  await client.request("prompts/get", { name: "none" }); // which a reader may not have
  await client.request("made/up-by-a-client");

  const calls = (method: string, outcome: string) =>
    read(agent, "mcpgate_agent_calls_total", { app: "echo", method, outcome });
  expect(await calls("initialize", "ok")).toBe(1);
  expect(await calls("tools/call", "ok")).toBe(3);
  expect(await calls("tools/call", "denied")).toBe(1);
  expect(await calls("prompts/get", "denied")).toBe(1);
  expect(await calls("other", "denied")).toBe(1);
  const text = await (await fetch(`http://${addressOf(agent)}/metrics`)).text();
  expect(text).toContain('mcpgate_agent_call_seconds_count{app="echo",method="tools/call"} 4\n');
  for (const said of ["made/up", "write_thing", "read_thing", "bob"]) expect(text).not.toContain(said);

  expect(await read(agent, "mcpgate_agent_sessions", { app: "echo" })).toBe(1);
  expect(await read(agent, "mcpgate_agent_servers_running")).toBe(1);
  expect(await read(agent, "mcpgate_agent_bytes_total", { app: "echo", direction: "from_client" })).toBeGreaterThan(
    100,
  );
  expect(await read(agent, "mcpgate_agent_bytes_total", { app: "echo", direction: "from_server" })).toBeGreaterThan(
    100,
  );
  expect(await read(proxy, "mcpgate_proxy_sessions", { app: "echo" })).toBe(1);
  expect(await read(proxy, "mcpgate_proxy_sessions_joined")).toBe(1);
  expect(await read(proxy, "mcpgate_proxy_sessions_opened_total")).toBe(before + 1);
  for (const direction of ["to_agent", "to_client"]) {
    expect(await read(proxy, "mcpgate_proxy_relayed_bytes_total", { direction })).toBeGreaterThan(100);
    expect(await read(proxy, "mcpgate_proxy_relayed_frames_total", { direction })).toBeGreaterThan(5);
  }
  for (const kind of ["client", "agent_session", "agent_control"]) {
    expect(await read(proxy, "mcpgate_proxy_connections", { kind })).toBe(1);
  }

  await client.end();
  await becomes(agent, "mcpgate_agent_sessions_ended_total", { app: "echo", code: "end" }, 1);
  await becomes(agent, "mcpgate_agent_servers_running", {}, 0);
  await becomes(
    agent,
    "mcpgate_agent_servers_ended_total",
    {},
    await read(agent, "mcpgate_agent_servers_started_total"),
  );
  await becomes(proxy, "mcpgate_proxy_sessions_ended_total", { cause: "client" }, 1);
  await becomes(proxy, "mcpgate_proxy_connections", { kind: "client" }, 0);
  expect(await calls("tools/call", "ok")).toBe(3);
});

test("the audit log's way: spool, store, sink", async () => {
  const { agent, proxy } = cluster;
  await becomes(agent, "mcpgate_agent_spool_events", {}, 0);
  expect(await read(agent, "mcpgate_agent_spool_limit_bytes")).toBe(256 * 1024 * 1024);
  expect(await read(proxy, "mcpgate_proxy_audit_events_total")).toBeGreaterThan(5);
  expect(await read(proxy, "mcpgate_proxy_store_bytes")).toBeGreaterThan(10_000);
  await becomes(proxy, "mcpgate_proxy_sink_lag_events", { sink: "file" }, 0);
  expect(await read(proxy, "mcpgate_proxy_sink_events_total", { sink: "file" })).toBeGreaterThan(5);
});

test("a server that can't start is seen", async () => {
  await using client = new RawClient(cluster, "alice", "broken");
  expect((await client.request("initialize")).error).toBeDefined();
  await becomes(cluster.agent, "mcpgate_agent_app_failing", { app: "broken" }, 1);
  await becomes(cluster.agent, "mcpgate_agent_sessions_ended_total", { app: "broken", code: "server_exited" }, 1);
  expect(await read(cluster.agent, "mcpgate_agent_app_failing", { app: "echo" })).toBe(0);
});

test("who is refused is counted by why", async () => {
  await using client = new RawClient(cluster, "alice", "no-such-app");
  expect((await client.request("initialize")).error).toBeDefined();
  expect(await read(cluster.proxy, "mcpgate_proxy_refused_total", { kind: "client", code: "not_found" })).toBe(1);
});

test("an agent is ready while it has its proxy, and healthy anyway", async () => {
  const { agent } = cluster;
  expect(await readyz(cluster.proxy)).toEqual({ status: 200, checks: { listener: "ok", store: "ok" } });
  expect(await readyz(agent)).toEqual({ status: 200, checks: { proxy: "ok", spool: "ok", guard: "ok" } });
  const connects = await read(agent, "mcpgate_agent_connects_total");

  await cluster.proxy.stop();
  const not = await eventually(async () => {
    const found = await readyz(agent);
    return found.status === 503 && found;
  });
  expect(not.checks).toEqual({ proxy: "not connected to the proxy", spool: "ok", guard: "ok" });
  expect((await fetch(`http://${addressOf(agent)}/healthz`)).status).toBe(200);
  expect(await read(agent, "mcpgate_agent_connected")).toBe(0);

  await cluster.startProxy();
  await eventually(async () => (await readyz(agent)).status === 200);
  expect(agent.stderr()).toContain("control.regained after_ms=");
  expect(await read(agent, "mcpgate_agent_connects_total")).toBe(connects + 1);
  expect(await readyz(cluster.proxy)).toEqual({ status: 200, checks: { listener: "ok", store: "ok" } });
  await becomes(cluster.proxy, "mcpgate_proxy_agents_online", {}, 1);
});

/** Addresses that these processes listen on, of /proc/net/tcp and tcp6. */
function listening(pids: number[]): string[] {
  const sockets = new Set(
    pids.flatMap((pid) =>
      readdirSync(`/proc/${pid}/fd`).map((fd) => {
        try {
          return /socket:\[(\d+)\]/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
        } catch {
          return undefined; // closed meanwhile
        }
      }),
    ),
  );
  return ["tcp", "tcp6"].flatMap((file) =>
    readFileSync(`/proc/net/${file}`, "utf8")
      .split("\n")
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , , state, , , , , , inode]) => state === "0A" && sockets.has(inode))
      .map(([, local = ""]) => local),
  );
}

test("the listeners are this host's alone, and nothing of them is to be had from the proxy's port", async () => {
  const own = (service: Service) => [service.pid, ...descendants(service.pid)];
  expect(listening(own(cluster.agent)).map((local) => local.split(":")[0])).toEqual(["0100007F"]);
  expect(listening(own(cluster.proxy)).map((local) => local.split(":")[0])).toEqual(["0100007F", "0100007F"]);
  for (const path of ["/metrics", "/healthz", "/readyz"]) {
    const tls = { rejectUnauthorized: false };
    expect((await fetch(`https://${cluster.address}${path}`, { tls })).status).toBe(404);
  }
});

test("off is off", async () => {
  const { place } = cluster;
  const config = parse(readFileSync(place.path("agent.yaml"), "utf8"));
  place.file("agent.yaml", stringify({ ...config, mcpgate: { ...config.mcpgate, diag_addr: "off" } }));
  await cluster.agent.stop();
  await cluster.startAgent();
  expect(listening([cluster.agent.pid, ...descendants(cluster.agent.pid)])).toEqual([]);
});
