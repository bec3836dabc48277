/** Sessions begin and end in the store and in the audit log at once: one transaction, and each end told only once. */
import type { EventDraft } from "../event.ts";
import { createSession, endSessions, type NewSession, type Session, type SessionFilter } from "../store/sessions.ts";
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

/** `endSessions`, and `mcp.session.end` for each that was live until now. `success`: false where its server failed. */
export function closeSessions(
  store: Store,
  filter: SessionFilter,
  reason: string,
  now: number,
  success?: boolean,
): Promise<Session[]> {
  return inTransaction(store, async (tx) => {
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
}

function about(session: Session): Omit<EventDraft, "event"> {
  const { user, app, agent, sid, remote } = session;
  return { user, app, agent, sid, remote };
}
