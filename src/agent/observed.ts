/** What can be seen of an agent from outside: metrics, whether it can do its work, and its part of traces. */
import type { HostPort } from "../config/host-port.ts";
import type { Grant } from "../identity/grant.ts";
import type { Log } from "../log.ts";
import { type Diagnostics, openDiagnostics } from "../observe/diagnostics.ts";
import { Metrics } from "../observe/metrics.ts";
import { addProcessMetrics } from "../observe/process-metrics.ts";
import { LAST_SPANS_MS, openTracer } from "../observe/tracing.ts";
import { CallSpans } from "./call-spans.ts";
import type { GuardLink } from "./guard.ts";
import { type AgentNumbers, addAgentMetrics, agentCounts } from "./metrics.ts";
import { SessionWatch } from "./session-watch.ts";

export interface Observed {
  session(grant: Pick<Grant, "sid" | "app">): SessionWatch;
  /** From here on others can look. */
  open(numbers: Omit<AgentNumbers, "isGuarded">): void;
  close(): Promise<void>;
}

export interface ObserveOptions {
  /** Undefined where nobody is to look. */
  at: HostPort | undefined;
  guard: Pick<GuardLink, "lost"> | undefined;
  log: Log;
  env?: Record<string, string | undefined>;
}

export async function observeAgent({ at, guard, log, env = process.env }: ObserveOptions): Promise<Observed> {
  const metrics = new Metrics();
  const stopLooking = addProcessMetrics(metrics, "agent");
  const counts = agentCounts(metrics);
  const tracer = await openTracer("agent", env, log);
  let diagnostics: Diagnostics | undefined;
  let guardLost = false;
  void guard?.lost.then(() => {
    guardLost = true;
  });
  return {
    session: ({ sid, app }) => new SessionWatch(app, counts, tracer && new CallSpans({ tracer, sid, app })),
    open(numbers) {
      addAgentMetrics(metrics, { ...numbers, isGuarded: () => guard !== undefined && !guardLost });
      if (at === undefined) return;
      const { control, spool } = numbers;
      const checks = {
        proxy: () => (control.up ? undefined : "not connected to the proxy"),
        spool: () => spool.blocked,
        guard: () => (guardLost ? "the process that watches the agent is gone" : undefined),
      };
      diagnostics = openDiagnostics({ at, metrics, checks, log });
    },
    async close() {
      stopLooking();
      await tracer?.close(LAST_SPANS_MS);
      diagnostics?.close();
    },
  };
}
