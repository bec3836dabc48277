/** What the agent tells of itself in numbers. Labels are apps as configured, the methods that MCP knows, and fixed words. */
import type { Spool } from "../audit/spool.ts";
import type { Counter, Histogram, Metrics } from "../observe/metrics.ts";
import type { AppHealth } from "./health.ts";
import type { LedgerCounts } from "./ledger.ts";

/** What changes with each session and call. */
export interface AgentCounts {
  opened: Counter;
  resumed: Counter;
  ended: Counter;
  calls: Counter;
  seconds: Histogram;
  invalid: Counter;
  bytes: Counter;
}

export interface AgentNumbers {
  health: Pick<AppHealth, "list">;
  sessions: { readonly all: readonly { grant: { app: string } }[]; readonly budget: { used: number; total: number } };
  pool: { spares(app: string): number };
  control: { readonly up: boolean; readonly connects: number };
  spool: Pick<Spool, "pending" | "bytes" | "limit" | "blocked">;
  servers(): LedgerCounts;
  /** Whether another process watches this one. */
  isGuarded(): boolean;
}

/** From a tool that looks something up to one that builds something. */
const CALL_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

export function agentCounts(metrics: Metrics): AgentCounts {
  return {
    opened: metrics.counter("mcpgate_agent_sessions_opened_total", "Sessions opened.", ["app"]),
    resumed: metrics.counter("mcpgate_agent_sessions_resumed_total", "Times that a session's client came back.", [
      "app",
    ]),
    ended: metrics.counter("mcpgate_agent_sessions_ended_total", "Sessions ended, by what their clients were told.", [
      "app",
      "code",
    ]),
    calls: metrics.counter("mcpgate_agent_calls_total", "Requests of clients that have ended, by method and outcome.", [
      "app",
      "method",
      "outcome",
    ]),
    seconds: metrics.histogram(
      "mcpgate_agent_call_seconds",
      "From the request at the agent to the end of it.",
      CALL_SECONDS,
      ["app", "method"],
    ),
    invalid: metrics.counter("mcpgate_agent_invalid_lines_total", "Lines that were refused unread, by who sent them.", [
      "app",
      "from",
    ]),
    bytes: metrics.counter("mcpgate_agent_bytes_total", "Bytes that came.", ["app", "direction"]),
  };
}

export function addAgentMetrics(metrics: Metrics, numbers: AgentNumbers): void {
  const { health, sessions, pool, control, spool, servers, isGuarded } = numbers;
  const byApp = (value: (app: string) => number) => () => health.list().map(({ app }) => [[app], value(app)] as const);
  metrics.gauge(
    "mcpgate_agent_sessions",
    "Sessions.",
    () => {
      const live = new Map<string, number>(health.list().map(({ app }) => [app, 0]));
      for (const { grant } of sessions.all) live.set(grant.app, (live.get(grant.app) ?? 0) + 1);
      return [...live].map(([app, count]) => [[app], count] as const);
    },
    ["app"],
  );
  metrics.gauge(
    "mcpgate_agent_spares",
    "Servers that wait for their first session.",
    byApp((app) => pool.spares(app)),
    ["app"],
  );
  metrics.gauge(
    "mcpgate_agent_app_failing",
    "1 where the app's server last failed to start or died.",
    () => health.list().map(({ app, state }) => [[app], state === "failing" ? 1 : 0] as const),
    ["app"],
  );
  metrics.gauge("mcpgate_agent_connected", "1 while the agent is connected to its proxy.", () => Number(control.up));
  metrics.count("mcpgate_agent_connects_total", "Times that it connected to its proxy.", () => control.connects);
  metrics.gauge("mcpgate_agent_guarded", "1 where another process watches the agent.", () => Number(isGuarded()));
  metrics.gauge("mcpgate_agent_spool_events", "Audit events that the proxy has not stored yet.", () => spool.pending);
  metrics.gauge("mcpgate_agent_spool_bytes", "The audit spool on the disk.", () => spool.bytes);
  metrics.gauge("mcpgate_agent_spool_limit_bytes", "What the audit spool may hold.", () => spool.limit);
  metrics.gauge("mcpgate_agent_budget_used_bytes", "What sessions hold beyond the least.", () => sessions.budget.used);
  metrics.gauge("mcpgate_agent_budget_limit_bytes", "What they may hold.", () => sessions.budget.total);
  metrics.count("mcpgate_agent_servers_started_total", "Server processes started.", () => servers().spawned);
  metrics.count("mcpgate_agent_servers_ended_total", "Server processes that have ended.", () => servers().exited);
  metrics.gauge(
    "mcpgate_agent_servers_running",
    "Started and not ended, or something has leaked.",
    () => servers().running,
  );
}
