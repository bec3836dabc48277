/** What the admin operations do to connections and sessions that are running right now. */
import { closeSessions } from "../audit/sessions.ts";
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";
import { lockedText, lockOn } from "../rbac/lock.ts";
import { activeLocks } from "../store/locks.ts";
import { findSession, liveSessions, type Session, type SessionFilter } from "../store/sessions.ts";
import type { Store } from "../store/store.ts";
import { listUsers } from "../store/users.ts";
import type { Agents } from "./agents.ts";
import type { Live, SessionMatch } from "./api/deps.ts";
import type { Relay } from "./relay.ts";

/** How long an agent has to end a session with a word to its client, before the relay is cut, milliseconds. */
const LAST_WORDS_MS = 1_000;
const NO_ACCESS = "you may not reach this app any more";

export interface LiveOptions {
  store: Store;
  log: Log;
  agents: Agents;
  relay: Relay;
  now(): number;
}

export interface LiveProxy extends Live {
  /**
   * An agent has connected, with these sessions: it hears which of them have ended, and gets the rules of the others as
   * they are now.
   */
  catchUp(agentId: string, sids: readonly string[]): Promise<void>;
  /** What an agent offers has changed: its sessions get their rules anew, or end. */
  offerChanged(agentId: string): Promise<void>;
}

export function createLive({ store, log, agents, relay, now }: LiveOptions): LiveProxy {
  const report = (error: unknown) => log.error("live.failed", { error: Failure.from(error).message });

  const end = async (filter: SessionFilter, reason: string): Promise<void> => {
    for (const { sid, agentId } of await liveSessions(store, filter)) {
      await closeSessions(store, { sid }, reason, now());
      agents.send(agentId, { t: "session.end", sid, reason });
      setTimeout(() => relay.cut(sid, reason), LAST_WORDS_MS).unref();
    }
  };

  const refresh = async (session: Session): Promise<void> => {
    let grant: string;
    try {
      grant = await relay.currentGrant(session);
    } catch (error) {
      const { code, message } = Failure.from(error);
      // A user or an app that is gone is access that is gone; so is one that can't be judged.
      if (!["not_found", "locked", "session_gone"].includes(code)) report(error);
      await end({ sid: session.sid }, code === "locked" || code === "session_gone" ? message : NO_ACCESS);
      return;
    }
    agents.send(session.agentId, { t: "session.policy", grant });
  };

  /** Ends what is locked: first the sessions, with a word to their clients, then the agents' own connections. */
  const enforceLocks = async (): Promise<void> => {
    const locks = await activeLocks(store, now());
    if (locks.length === 0) return;
    const roles = new Map((await listUsers(store)).map((user) => [user.name, user.roles]));
    for (const { sid, user, app, agent } of await liveSessions(store)) {
      const lock = lockOn(locks, { user, roles: roles.get(user) ?? [], app, agent });
      if (lock !== undefined) await end({ sid }, lockedText(lock));
    }
    agents.shutOut(locks);
  };

  return {
    onlineAgents: () => agents.online(),
    appHealth: (agentId, app) => agents.health(agentId, app),
    endSessions: (match, reason) => void end(toFilter(match), reason).catch(report),
    disconnectAgent(agentId, reason) {
      agents.disconnect(agentId, reason);
      void end({ agentId }, reason).catch(report);
    },
    policyChanged() {
      const all = async () => {
        await enforceLocks();
        for (const session of await liveSessions(store)) await refresh(session).catch(report);
      };
      void all().catch(report);
    },
    toolsApproved: (agentId, app, tools) => void agents.send(agentId, { t: "tools.approved", app, tools }),
    appResourcesChanged: () => void agents.resources.changed(),
    appTakers: (labels) => agents.takers().filter(({ takes }) => takes(labels)),
    locksChanged: () => void enforceLocks().catch(report),
    async catchUp(agentId, sids) {
      const live = await liveSessions(store, { agentId });
      const known = new Set(live.map(({ sid }) => sid));
      for (const sid of sids) {
        if (known.has(sid)) continue;
        const session = await findSession(store, sid);
        const reason = session?.endReason ?? "the proxy does not know this session";
        agents.send(agentId, { t: "session.end", sid, reason });
      }
      for (const session of live) await refresh(session);
    },
    async offerChanged(agentId) {
      for (const session of await liveSessions(store, { agentId })) await refresh(session);
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
