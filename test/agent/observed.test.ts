/** Whether an agent can do its work, seen from outside. */
import { expect, test } from "bun:test";
import { observeAgent } from "../../src/agent/observed.ts";
import { createLog } from "../../src/log.ts";

async function scene() {
  const lines: string[] = [];
  const log = createLog({ format: "json", write: (line) => void lines.push(line) });
  const lost = Promise.withResolvers<void>();
  const spool = { pending: 3, bytes: 1000, limit: 4096, blocked: undefined as string | undefined };
  const control = { up: true, connects: 1 };
  const guard = { lost: lost.promise };
  const observed = await observeAgent({ at: { host: "127.0.0.1", port: 0 }, guard, log, env: {} });
  observed.open({
    health: { list: () => [{ app: "db", state: "failing" }] },
    sessions: { all: [{ grant: { app: "db" } }], budget: { used: 5, total: 10 } },
    pool: { spares: () => 2 },
    control,
    spool,
    servers: () => ({ spawned: 4, exited: 3, running: 1 }),
  });
  const address = lines.map((line) => JSON.parse(line)).find(({ event }) => event === "diag.listening").address;
  const get = async (path: string) => await fetch(`http://${address}${path}`);
  return {
    ...{ observed, spool, control, lost },
    metrics: async () => (await (await get("/metrics")).text()).split("\n"),
    failing: async () => {
      const { checks } = (await (await get("/readyz")).json()) as { checks: Record<string, string> };
      return Object.entries(checks).filter(([, state]) => state !== "ok");
    },
    [Symbol.asyncDispose]: () => observed.close(),
  };
}

test("it is ready with its proxy, room in the spool, and its guard", async () => {
  await using it = await scene();
  expect(await it.failing()).toEqual([]);
  it.control.up = false;
  expect(await it.failing()).toEqual([["proxy", "not connected to the proxy"]]);
  it.control.up = true;
  it.spool.blocked = "the audit spool is full";
  expect(await it.failing()).toEqual([["spool", "the audit spool is full"]]);
  it.spool.blocked = undefined;
  it.lost.resolve();
  await it.lost.promise;
  expect(await it.failing()).toEqual([["guard", "the process that watches the agent is gone"]]);
});

test("what it holds and runs", async () => {
  await using it = await scene();
  expect(await it.metrics()).toEqual(
    expect.arrayContaining([
      'mcpgate_agent_sessions{app="db"} 1',
      'mcpgate_agent_spares{app="db"} 2',
      'mcpgate_agent_app_failing{app="db"} 1',
      "mcpgate_agent_spool_events 3",
      "mcpgate_agent_spool_limit_bytes 4096",
      "mcpgate_agent_budget_used_bytes 5",
      "mcpgate_agent_servers_started_total 4",
      "mcpgate_agent_servers_ended_total 3",
      "mcpgate_agent_servers_running 1",
      "mcpgate_agent_guarded 1",
    ]),
  );
});

test("a session is counted from its opening to its end, and calls by what MCP knows", async () => {
  await using it = await scene();
  const watch = it.observed.session({ sid: "s", app: "db" });
  watch.onJoined();
  watch.onJoined(); // came back
  watch.onFrame(100);
  watch.onStdout(30);
  const answer = { event: "mcp.session.response", request: "u", duration_ms: 20 } as const;
  watch.onEvents([
    { ...answer, method: "tools/call", outcome: "ok" },
    { ...answer, method: "tools/call", outcome: "error", duration_ms: 2000 },
    { ...answer, method: "sampling/createMessage", outcome: "ok", from: "client" }, // what the server asked
    { ...answer, method: "x".repeat(4096), outcome: "denied" },
    { event: "mcp.session.invalid", from: "server" },
  ]);
  watch.onEnded("server_exited");
  const all = await it.metrics();
  expect(all.filter((line) => /^mcpgate_agent_(calls|sessions_|invalid|bytes)/.test(line))).toEqual([
    'mcpgate_agent_sessions_opened_total{app="db"} 1',
    'mcpgate_agent_sessions_resumed_total{app="db"} 1',
    'mcpgate_agent_sessions_ended_total{app="db",code="server_exited"} 1',
    'mcpgate_agent_calls_total{app="db",method="tools/call",outcome="ok"} 1',
    'mcpgate_agent_calls_total{app="db",method="tools/call",outcome="error"} 1',
    'mcpgate_agent_calls_total{app="db",method="other",outcome="denied"} 1',
    'mcpgate_agent_invalid_lines_total{app="db",from="server"} 1',
    'mcpgate_agent_bytes_total{app="db",direction="from_client"} 100',
    'mcpgate_agent_bytes_total{app="db",direction="from_server"} 30',
  ]);
  expect(all).toContain('mcpgate_agent_call_seconds_bucket{app="db",method="tools/call",le="0.025"} 1');
  expect(all).toContain('mcpgate_agent_call_seconds_sum{app="db",method="tools/call"} 2.02');
});
