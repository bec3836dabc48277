/** What the agent says of itself when it is asked on its host (`status.ts`). */
import { VERSION } from "../version.ts";
import type { Apps } from "./apps.ts";
import type { AppHealth } from "./health.ts";
import { serverLedger } from "./ledger.ts";
import { packagesDirectory, pinnedTo } from "./package-pins.ts";
import type { ServerPool } from "./server-pool.ts";
import type { Sessions } from "./sessions.ts";
import type { AgentStatus } from "./status.ts";

export interface DescribedAgent {
  name: string;
  dataDir: string;
  guard: boolean;
  containment: string;
  connected: boolean;
  /** Audit events that the proxy has not stored yet. */
  pendingEvents: number;
  health: AppHealth;
  apps: Pick<Apps, "refusal">;
  sessions: Sessions;
  pool: ServerPool;
}

export function describeAgent(agent: DescribedAgent): AgentStatus {
  const packages = packagesDirectory(agent.dataDir);
  return {
    agent: agent.name,
    version: VERSION,
    pid: process.pid,
    guard: agent.guard,
    containment: agent.containment,
    connected: agent.connected,
    servers: serverLedger.counts(),
    pending_events: agent.pendingEvents,
    apps: agent.health.list().map((health) => {
      const pinned = pinnedTo(packages, health.app);
      const spares = agent.pool.spares(health.app);
      const refused = agent.apps.refusal(health.app);
      return {
        ...health,
        sessions: agent.sessions.of(health.app).length,
        ...(pinned === undefined ? {} : { pinned }),
        ...(spares === 0 ? {} : { spares }),
        ...(refused === undefined ? {} : { refused }),
      };
    }),
    sessions: agent.sessions.all.map(({ sid, user, grant, serverPid }) => ({
      sid,
      user,
      app: grant.app,
      ...(serverPid === undefined ? {} : { pid: serverPid }),
    })),
  };
}
