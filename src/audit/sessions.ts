/** Sessions begin and end in the store and in the audit log at once: one transaction, and each end told only once. */
import type { EventDraft } from "../event.ts";
import {
  createSession,
  endSessions,
  type NewSession,
  reassignSession,
  type Session,
  type SessionFilter,
} from "../store/sessions.ts";
import { inTransaction, type Store } from "../store/store.ts";
import { recordEvents } from "./store.ts";

/** `createSession`, and `mcp.session.start` where the session is new. */
export function openSession(
  store: Store,
  session: NewSession,
  now: number,
): Promise<{ session: Session; created: boolean }> {
  return inTransaction(store, async (tx) => {
    const opened = await createSession(tx, session, now);
    if (opened.created) {
      await recordEvents(tx, [{ event: "mcp.session.start", ...about(opened.session), success: true }], now);
    }
    return opened;
  });
}

/**
 * A session that its agent did not take goes to another one: its end there and its start here. `undefined` where it has
 * ended, or has been moved already; then nothing is told.
 */
export function moveSession(
  store: Store,
  { session, agentId, agent, reason }: { session: Session; agentId: string; agent: string; reason: string },
  now: number,
): Promise<Session | undefined> {
  return inTransaction(store, async (tx) => {
    const moved = await reassignSession(tx, { sid: session.sid, from: session.agentId, agentId, agent }, now);
    if (moved === undefined) return undefined;
    const failed = { success: false, error: reason, duration_ms: now - session.startedAt };
    const details = { reason: `${reason}; it goes to the agent ${agent}` };
    await recordEvents(
      tx,
      [
        { event: "mcp.session.end", ...about(session), ...failed, details },
        { event: "mcp.session.start", ...about(moved), success: true },
      ],
      now,
    );
    return moved;
  });
}

/** Why sessions end, in few words; what people read is the reason. */
const CAUSES = ["client", "server", "agent_lost", "not_started", "logout", "revoked"] as const;
export type EndCause = (typeof CAUSES)[number];

/** Sessions that this process has ended since its start, by cause. */
export const sessionEnds = new Map<EndCause, number>(CAUSES.map((cause) => [cause, 0]));

/** `success`: the agent told, and false is a server that failed. */
interface EndDetails {
  success?: boolean;
  cause?: EndCause;
}

/** `endSessions`, and `mcp.session.end` for each that was live until now. */
export async function closeSessions(
  store: Store,
  filter: SessionFilter,
  reason: string,
  now: number,
  { success, cause = success === undefined ? "revoked" : success ? "client" : "server" }: EndDetails = {},
): Promise<Session[]> {
  const closed = await inTransaction(store, async (tx) => {
    const ended = await endSessions(tx, filter, reason, now);
    await recordEvents(
      tx,
      ended.map((session) => ({
        event: "mcp.session.end" as const,
        ...about(session),
        duration_ms: now - session.startedAt,
        ...(success === undefined ? {} : { success }),
        ...(success === false ? { error: reason } : {}),
        details: { reason },
      })),
      now,
    );
    return ended;
  });
  sessionEnds.set(cause, (sessionEnds.get(cause) ?? 0) + closed.length);
  return closed;
}

function about(session: Session): Omit<EventDraft, "event"> {
  const { user, app, agent, sid, remote } = session;
  return { user, app, agent, sid, remote };
}
