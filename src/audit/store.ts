/** The audit log as the proxy keeps it: events go in once, and come out by time or in the order of their coming. */
import { CompiledQuery, type Selectable, type SelectQueryBuilder } from "kysely";
import { Failure } from "../errors.ts";
import { AUDIT_SCHEMA_VERSION, type AuditEvent, type EventDraft } from "../event.ts";
import { ownChain, updateChain } from "../store/chains.ts";
import { inTransaction, type Store } from "../store/store.ts";
import type { Tables } from "../store/tables.ts";
import { type Attribution, disputedEvent } from "./agent-event.ts";
import { chainLines } from "./chain.ts";
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

const COLUMNS = [
  ...["uid", "time", "event", "user", "app", "agent", "sid"],
  ...["body", "chain", "n", "verdict", "stored_at"],
] as const;

/**
 * Rows of one INSERT. Only these numbers, so that there are few statements, which stay prepared: to build and to compile one
 * takes longer than to run it.
 */
const ROWS_AT_ONCE = [64, 8, 1] as const;

/** A line of some chain, and whose the proxy says the event is. */
export interface EventRow extends Attribution {
  uid: string;
  time: string;
  event: string;
  /** The line. */
  body: string;
  chain: string;
  n: number;
}

/**
 * Stores lines, all or none; one whose `uid` or whose place in its chain is taken is left out. Answers with how many are new.
 * When it returns they are on the disk (`synchronous=FULL`), or will be with the transaction that `store` is.
 */
export function insertRows(store: Store, rows: readonly EventRow[], now: number): Promise<number> {
  return inTransaction(store, async (tx) => {
    let stored = 0;
    for (let at = 0; at < rows.length; ) {
      const count = ROWS_AT_ONCE.find((each) => at + each <= rows.length) ?? 1;
      const result = await tx.executeQuery(insertion(rows.slice(at, at + count), now));
      stored += Number(result.numAffectedRows ?? 0n);
      at += count;
    }
    return stored;
  });
}

const statements = new Map<number, CompiledQuery>();

function insertion(rows: readonly EventRow[], now: number): CompiledQuery {
  const statement = statements.get(rows.length) ?? insert(rows.length);
  statements.set(rows.length, statement);
  const parameters: unknown[] = [];
  for (const row of rows) {
    parameters.push(row.uid, row.time, row.event, row.user, row.app, row.agent, row.sid);
    parameters.push(row.body, row.chain, row.n, row.verdict, now);
  }
  // Not `CompiledQuery.raw(sql, parameters)`: it freezes the list, which takes as long as a third of the insertion.
  return { ...statement, parameters };
}

function insert(rows: number): CompiledQuery {
  const one = `(${COLUMNS.map(() => "?").join(", ")})`;
  const names = COLUMNS.map((column) => `"${column}"`).join(", ");
  const all = Array.from({ length: rows }, () => one).join(", ");
  return CompiledQuery.raw(`insert into "events" (${names}) values ${all} on conflict do nothing`);
}

/** Appends events to the proxy's own chain; answers with them as they stand there. */
export function appendOwn(store: Store, drafts: readonly AuditEvent[], now: number): Promise<AuditEvent[]> {
  return inTransaction(store, async (tx) => {
    if (drafts.length === 0) return [];
    const own = await ownChain(tx, now);
    const { lines, events, end } = chainLines(drafts, own);
    const rows = events.map(
      (event, i): EventRow => ({
        uid: event.uid,
        time: event.time,
        event: event.event,
        user: event.user ?? null,
        app: event.app ?? null,
        agent: event.agent ?? null,
        sid: event.sid ?? null,
        body: lines[i] ?? "",
        chain: own.chain,
        n: own.n + 1 + i,
        verdict: null,
      }),
    );
    const stored = await insertRows(tx, rows, now);
    if (stored !== rows.length) throw new Failure("conflict", "an event of this uid is there already");
    await updateChain(tx, own.chain, { n: end.n, hash: end.hash });
    return events;
  });
}

/** Stores events of the proxy's own: gives them `uid`, `time`, `v` and their place in its chain. */
export function recordEvents(store: Store, drafts: readonly EventDraft[], now: number): Promise<AuditEvent[]> {
  const time = new Date(now).toISOString();
  const events = drafts.map((draft): AuditEvent => {
    const { event, uid, ...rest } = draft;
    return { event, uid: uid ?? newUid(), time, v: AUDIT_SCHEMA_VERSION, ...rest };
  });
  return appendOwn(store, events, now);
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

/** The same without a filter and as text, one event a line with its line feed: for those that only pass it on. */
export async function textAfter(
  store: Store,
  o: { after: number; limit: number },
): Promise<{ events: StoredText[]; cursor: number }> {
  const rows = await filtered(store, {}).where("seq", ">", o.after).orderBy("seq").limit(o.limit).execute();
  const events = rows.map((row) => {
    const { seq, uid, time, event, verdict, body } = row;
    return { seq, uid, time, event, text: `${verdict === null ? body : JSON.stringify(toEvent(row))}\n` };
  });
  return { events, cursor: events.at(-1)?.seq ?? o.after };
}

/** The cursor of the newest event: what is behind a sink's is what it lacks. */
export async function newestCursor(store: Store): Promise<number> {
  const row = await store
    .selectFrom("events")
    .select(({ fn }) => fn.max("seq").as("newest"))
    .executeTakeFirst();
  return Number(row?.newest ?? 0);
}

export interface StoredText {
  seq: number;
  uid: string;
  time: string;
  event: string;
  text: string;
}

/** Lines of one chain behind place `after`, in order; not before `since`, which is only looked at for the first. */
export async function linesOf(
  store: Store,
  chain: string,
  o: { after: number; since?: string | undefined; limit: number },
): Promise<Row[]> {
  let { after } = o;
  const lines = store.selectFrom("events").selectAll().where("chain", "=", chain).orderBy("n");
  if (o.since !== undefined) {
    const first = await lines.where("n", ">", after).where("time", ">=", o.since).limit(1).executeTakeFirst();
    if (first === undefined) return [];
    after = first.n - 1;
  }
  return lines.where("n", ">", after).limit(o.limit).execute();
}

/** The cursor behind everything that is stored now. */
export async function lastCursor(store: Store): Promise<number> {
  const row = await store.selectFrom("events").select("seq").orderBy("seq", "desc").limit(1).executeTakeFirst();
  return row?.seq ?? 0;
}

type Row = Selectable<Tables["events"]>;

function filtered(store: Store, filter: EventFilter): SelectQueryBuilder<Tables, "events", Row> {
  let query = store.selectFrom("events").selectAll();
  if (filter.events !== undefined && filter.events.length > 0) query = query.where("event", "in", filter.events);
  for (const column of ["user", "app", "agent", "sid"] as const) {
    const wanted = filter[column];
    if (wanted !== undefined) query = query.where(column, "=", wanted);
  }
  if (filter.since !== undefined) query = query.where("time", ">=", filter.since);
  if (filter.until !== undefined) query = query.where("time", "<", filter.until);
  return query;
}

/** The line itself, unless the proxy knows better whose it is. */
function toEvent(row: Row): AuditEvent {
  return row.verdict === null ? (JSON.parse(row.body) as AuditEvent) : disputedEvent(row.body, row.uid, row);
}
