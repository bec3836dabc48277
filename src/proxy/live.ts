/** What the admin operations do to connections and sessions that are running right now. */
import { closeSessions } from "../audit/sessions.ts";
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";
import { liveSessions, type Session, type SessionFilter } from "../store/sessions.ts";
import type { Store } from "../store/store.ts";
import type { Agents } from "./agents.ts";
import type { Live, SessionMatch } from "./api/deps.ts";
import type { Relay } from "./relay.ts";

/** How long an agent has to end a session with a word to its client, before the relay is cut, milliseconds. */
const LAST_WORDS_MS = 1_000;

export interface LiveOptions {
  store: Store;
  log: Log;
  agents: Agents;
  relay: Relay;
  now(): number;
}

export function createLive({ store, log, agents, relay, now }: LiveOptions): Live {
  const report = (error: unknown) => log.error("live.failed", { error: Failure.from(error).message });

  const end = async (filter: SessionFilter, reason: string): Promise<void> => {
    for (const { sid, agentId } of await liveSessions(store, filter)) {
      await closeSessions(store, { sid }, reason, now());
      agents.send(agentId, { t: "session.end", sid, reason });
      setTimeout(() => relay.cut(sid, reason), LAST_WORDS_MS).unref();
    }
  };

  const refresh = async (session: Session): Promise<void> => {
    // A user or an app that is gone is access that is gone.
    const grant = await relay.currentGrant(session).catch((error: unknown) => {
      if (Failure.from(error).code !== "not_found") report(error);
      return undefined;
    });
    if (grant === undefined) await end({ sid: session.sid }, "you may not reach this app any more");
    else agents.send(session.agentId, { t: "session.policy", grant });
  };

  return {
    onlineAgents: () => agents.online(),
    endSessions: (match, reason) => void end(toFilter(match), reason).catch(report),
    disconnectAgent(agentId, reason) {
      agents.disconnect(agentId, reason);
      void end({ agentId }, reason).catch(report);
    },
    policyChanged() {
      const all = async () => {
        for (const session of await liveSessions(store)) await refresh(session).catch(report);
      };
      void all().catch(report);
    },
  };
}

function toFilter({ user, app, agent, sid }: SessionMatch): SessionFilter {
  return {
    ...(user === undefined ? {} : { user }),
    ...(app === undefined ? {} : { app }),
    ...(agent === undefined ? {} : { agentId: agent }),
    ...(sid === undefined ? {} : { sid }),
  };
}
