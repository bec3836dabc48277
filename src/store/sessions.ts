/** Sessions: whose they are. What an event says about its user and app is taken from here, never from the agent. */
import type { Selectable } from "kysely";
import { Failure } from "../errors.ts";
import { inTransaction, type Store } from "./store.ts";
import type { Tables } from "./tables.ts";

export interface Session {
  sid: string;
  user: string;
  app: string;
  agentId: string;
  /** The agent's name when the session began. */
  agent: string;
  /** Thumbprint of the login's key that a client last attached with: the session ends with that login. */
  clientJkt: string;
  remote: string;
  /** Milliseconds since the epoch. */
  startedAt: number;
  /** When a client was last attached to it. */
  lastSeenAt: number;
  endedAt: number | undefined;
  endReason: string | undefined;
}

export type NewSession = Pick<Session, "sid" | "user" | "app" | "agentId" | "agent" | "clientJkt" | "remote">;

/** Fields that are given must all be equal. */
export interface SessionFilter {
  sid?: string;
  user?: string;
  app?: string;
  agentId?: string;
  clientJkt?: string;
}

/**
 * Opens the session, or finds it: the client mints the id, so that opening twice is opening once. The first opening's
 * agent stands. Throws `Failure("conflict")` when the id belongs to another user or app, `session_gone` when the session
 * has ended.
 *
 * The key may be another than before: a session is its user's, and a login that expired is followed by one with a new
 * key. Whoever calls has checked that the key's login is a live one of `session.user`, who could open a session of their
 * own as well; the id, 122 random bits, is known to the client, and to those who may see every session anyway. The
 * session is then bound to the new key, so that logging out ends it, and one that a logout ended stays ended.
 */
export function createSession(
  store: Store,
  session: NewSession,
  now: number,
): Promise<{ session: Session; created: boolean }> {
  return inTransaction(store, async (tx) => {
    const known = await findSession(tx, session.sid);
    if (known !== undefined) {
      if (known.user !== session.user || known.app !== session.app) {
        throw new Failure("conflict", "the session id is taken");
      }
      if (known.endedAt !== undefined) throw new Failure("session_gone", `the session has ended: ${known.endReason}`);
      const { sid, clientJkt } = session;
      if (known.clientJkt === clientJkt) return { session: known, created: false };
      await tx.updateTable("sessions").set({ client_jkt: clientJkt }).where("sid", "=", sid).execute();
      return { session: { ...known, clientJkt }, created: false };
    }
    const row = {
      sid: session.sid,
      user: session.user,
      app: session.app,
      agent_id: session.agentId,
      agent: session.agent,
      client_jkt: session.clientJkt,
      remote: session.remote,
      started_at: now,
      last_seen_at: now,
      ended_at: null,
      end_reason: null,
    };
    await tx.insertInto("sessions").values(row).execute();
    return { session: toSession(row), created: true };
  });
}

/** The session, live or ended. */
export async function findSession(store: Store, sid: string): Promise<Session | undefined> {
  const row = await store.selectFrom("sessions").selectAll().where("sid", "=", sid).executeTakeFirst();
  return row === undefined ? undefined : toSession(row);
}

/** The sessions with these ids, live or ended. */
export async function findSessions(store: Store, sids: readonly string[]): Promise<Session[]> {
  if (sids.length === 0) return [];
  const rows = await store.selectFrom("sessions").selectAll().where("sid", "in", sids).execute();
  return rows.map(toSession);
}

/** Sessions that have not ended, the oldest first. */
export async function liveSessions(store: Store, filter: SessionFilter = {}): Promise<Session[]> {
  const rows = await store
    .selectFrom("sessions")
    .selectAll()
    .where("ended_at", "is", null)
    .where((eb) => eb.and(columnsOf(filter)))
    .orderBy("started_at")
    .orderBy("sid")
    .execute();
  return rows.map(toSession);
}

/** How many have not ended, by app. */
export async function countSessions(store: Store): Promise<[app: string, count: number][]> {
  const rows = await store
    .selectFrom("sessions")
    .select(({ fn }) => ["app", fn.countAll<number>().as("count")])
    .where("ended_at", "is", null)
    .groupBy("app")
    .execute();
  return rows.map(({ app, count }) => [app, Number(count)]);
}

/** How many live sessions an agent has. */
export interface Load {
  /** Of one app. */
  app: number;
  all: number;
}

/** By agent's id; those without any are left out. */
export async function sessionLoad(store: Store, app: string): Promise<[agentId: string, load: Load][]> {
  const rows = await store
    .selectFrom("sessions")
    .select(({ fn }) => ["agent_id", "app", fn.countAll<number>().as("count")])
    .where("ended_at", "is", null)
    .groupBy(["agent_id", "app"])
    .execute();
  const load = new Map<string, Load>();
  for (const row of rows) {
    const of = load.get(row.agent_id) ?? { app: 0, all: 0 };
    of.all += Number(row.count);
    if (row.app === app) of.app += Number(row.count);
    load.set(row.agent_id, of);
  }
  return [...load];
}

/** Gives a live session to another agent. `undefined`: it has ended, or is not that agent's any more. */
export async function reassignSession(
  store: Store,
  { sid, from, agentId, agent }: { sid: string; from: string; agentId: string; agent: string },
  now: number,
): Promise<Session | undefined> {
  const row = await store
    .updateTable("sessions")
    .set({ agent_id: agentId, agent, started_at: now, last_seen_at: now })
    .where("sid", "=", sid)
    .where("agent_id", "=", from)
    .where("ended_at", "is", null)
    .returningAll()
    .executeTakeFirst();
  return row === undefined ? undefined : toSession(row);
}

/** Notes that a client is attached, and from where. */
export async function touchSession(store: Store, sid: string, o: { remote?: string; now: number }): Promise<void> {
  await store
    .updateTable("sessions")
    .set({ last_seen_at: o.now, ...(o.remote === undefined ? {} : { remote: o.remote }) })
    .where("sid", "=", sid)
    .execute();
}

/** Marks live sessions as ended, and answers with those that were live until now. An ended session stays as it is. */
export async function endSessions(
  store: Store,
  filter: SessionFilter,
  reason: string,
  now: number,
): Promise<Session[]> {
  const rows = await store
    .updateTable("sessions")
    .set({ ended_at: now, end_reason: reason })
    .where("ended_at", "is", null)
    .where((eb) => eb.and(columnsOf(filter)))
    .returningAll()
    .execute();
  return rows.map(toSession);
}

function columnsOf(filter: SessionFilter): Record<string, string> {
  const columns: [string, string | undefined][] = [
    ["sid", filter.sid],
    ["user", filter.user],
    ["app", filter.app],
    ["agent_id", filter.agentId],
    ["client_jkt", filter.clientJkt],
  ];
  return Object.fromEntries(columns.filter((entry): entry is [string, string] => entry[1] !== undefined));
}

type Row = Selectable<Tables["sessions"]>;

function toSession(row: Row): Session {
  return {
    sid: row.sid,
    user: row.user,
    app: row.app,
    agentId: row.agent_id,
    agent: row.agent,
    clientJkt: row.client_jkt,
    remote: row.remote,
    startedAt: row.started_at,
    lastSeenAt: row.last_seen_at,
    endedAt: row.ended_at ?? undefined,
    endReason: row.end_reason ?? undefined,
  };
}
