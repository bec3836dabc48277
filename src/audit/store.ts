/** The audit log as the proxy keeps it: events go in once, and come out by time or in the order of their coming. */
import type { SelectQueryBuilder } from "kysely";
import { AUDIT_SCHEMA_VERSION, type AuditEvent, type EventDraft } from "../event.ts";
import { inTransaction, type Store } from "../store/store.ts";
import type { Tables } from "../store/tables.ts";
import { newUid } from "./uid.ts";

/** Fields that are given must all hold. */
export interface EventFilter {
  /** Any of these. */
  events?: readonly string[];
  user?: string;
  app?: string;
  /** The agent's name. */
  agent?: string;
  sid?: string;
  /** `toISOString()`'s form; from here, inclusive. */
  since?: string;
  /** `toISOString()`'s form; up to here, exclusive. */
  until?: string;
}

export interface EventPage {
  /** Oldest first. */
  events: AuditEvent[];
  /** There are more beyond this page. */
  more: boolean;
}

/** A place in the log by time: what `newestEvents` continues before. */
export interface TimeCursor {
  time: string;
  seq: number;
}

/** Rows of one INSERT: ten columns each, and SQLite takes 32 766 parameters at the most. */
const ROWS_AT_ONCE = 500;

/**
 * Stores events, all or none; those whose `uid` is there already are left out. Answers with how many are new. When it
 * returns they are on the disk (`synchronous=FULL`), or will be with the transaction that `store` is.
 */
export function insertEvents(store: Store, events: readonly AuditEvent[], now: number): Promise<number> {
  return inTransaction(store, async (tx) => {
    let stored = 0;
    for (let i = 0; i < events.length; i += ROWS_AT_ONCE) {
      const rows = events.slice(i, i + ROWS_AT_ONCE).map((event) => ({
        uid: event.uid,
        time: event.time,
        event: event.event,
        user: event.user ?? null,
        app: event.app ?? null,
        agent: event.agent ?? null,
        sid: event.sid ?? null,
        body: JSON.stringify(event),
        stored_at: now,
      }));
      const result = await tx
        .insertInto("events")
        .values(rows)
        .onConflict((oc) => oc.column("uid").doNothing())
        .executeTakeFirst();
      stored += Number(result.numInsertedOrUpdatedRows ?? 0n);
    }
    return stored;
  });
}

/** Stores events of the proxy's own: gives them `uid`, `time` and `v`. */
export async function recordEvents(store: Store, drafts: readonly EventDraft[], now: number): Promise<AuditEvent[]> {
  const time = new Date(now).toISOString();
  const events = drafts.map((draft): AuditEvent => {
    const { event, uid, ...rest } = draft;
    return { event, uid: uid ?? newUid(), time, v: AUDIT_SCHEMA_VERSION, ...rest };
  });
  await insertEvents(store, events, now);
  return events;
}

/**
 * The newest `limit` events by time (those of one instant in the order of their coming), or the newest before a cursor;
 * `before` is the cursor of the page further back.
 */
export async function newestEvents(
  store: Store,
  filter: EventFilter,
  o: { limit: number; before?: TimeCursor | undefined },
): Promise<EventPage & { before: TimeCursor | undefined }> {
  let query = filtered(store, filter);
  const { before } = o;
  if (before !== undefined) {
    query = query.where((eb) =>
      eb.or([eb("time", "<", before.time), eb.and([eb("time", "=", before.time), eb("seq", "<", before.seq)])]),
    );
  }
  const rows = await query
    .orderBy("time", "desc")
    .orderBy("seq", "desc")
    .limit(o.limit + 1)
    .execute();
  const more = rows.length > o.limit;
  const page = rows.slice(0, o.limit).reverse();
  const oldest = page[0];
  return {
    events: page.map(toEvent),
    more,
    before: more && oldest !== undefined ? { time: oldest.time, seq: oldest.seq } : undefined,
  };
}

/**
 * Events stored after the cursor `after` (0: from the first), in the order of their coming; `cursor` is where to go on.
 * An event that an agent sends late comes late here, so nothing is missed.
 */
export async function eventsAfter(
  store: Store,
  filter: EventFilter,
  o: { after: number; limit: number },
): Promise<EventPage & { cursor: number }> {
  const rows = await filtered(store, filter)
    .where("seq", ">", o.after)
    .orderBy("seq")
    .limit(o.limit + 1)
    .execute();
  const page = rows.slice(0, o.limit);
  return { events: page.map(toEvent), more: rows.length > o.limit, cursor: page.at(-1)?.seq ?? o.after };
}

/** The cursor behind everything that is stored now. */
export async function lastCursor(store: Store): Promise<number> {
  const row = await store.selectFrom("events").select("seq").orderBy("seq", "desc").limit(1).executeTakeFirst();
  return row?.seq ?? 0;
}

type Row = { seq: number; time: string; body: string };

function filtered(store: Store, filter: EventFilter): SelectQueryBuilder<Tables, "events", Row> {
  let query = store.selectFrom("events").select(["seq", "time", "body"]);
  if (filter.events !== undefined && filter.events.length > 0) query = query.where("event", "in", filter.events);
  for (const column of ["user", "app", "agent", "sid"] as const) {
    const wanted = filter[column];
    if (wanted !== undefined) query = query.where(column, "=", wanted);
  }
  if (filter.since !== undefined) query = query.where("time", ">=", filter.since);
  if (filter.until !== undefined) query = query.where("time", "<", filter.until);
  return query;
}

function toEvent(row: Row): AuditEvent {
  return JSON.parse(row.body) as AuditEvent;
}
