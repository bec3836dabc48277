/** Admin: the audit log. */
import type { Hono } from "hono";
import * as v from "valibot";
import { jktOf } from "../../audit/heads.ts";
import {
  type EventFilter,
  eventsAfter,
  lastCursor,
  linesOf,
  newestEvents,
  type TimeCursor,
} from "../../audit/store.ts";
import type { ChainRecord } from "../../audit/verify.ts";
import { Failure } from "../../errors.ts";
import { type Chain, findChain, listChains } from "../../store/chains.ts";
import { inTransaction } from "../../store/store.ts";
import { type ApiEnv, may } from "./actor.ts";
import { readQuery } from "./body.ts";
import type { ApiDeps } from "./deps.ts";
import { count, filterText, time } from "./schemas.ts";

/** Events of one page at the most, and unless told. */
export const MAX_PAGE = 1000;

const eventsQuery = v.strictObject({
  event: v.optional(filterText),
  user: v.optional(filterText),
  app: v.optional(filterText),
  agent: v.optional(filterText),
  sid: v.optional(filterText),
  since: v.optional(time),
  until: v.optional(time),
  limit: v.optional(count(1, MAX_PAGE)),
  before: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z~\d{1,15}$/, "must be the `before` of an earlier answer"),
    ),
  ),
  after: v.optional(count(0, Number.MAX_SAFE_INTEGER)),
});

/** Lines hold up to 256 KiB each, and most of them half a KiB. */
const MAX_LINES = 250;

const chainsQuery = v.strictObject({ before: v.optional(filterText), limit: v.optional(count(1, MAX_PAGE)) });
const linesQuery = v.strictObject({
  chain: filterText,
  after: v.optional(count(0, Number.MAX_SAFE_INTEGER)),
  since: v.optional(time),
  limit: v.optional(count(1, MAX_LINES)),
});

export function eventRoutes(app: Hono<ApiEnv>, { store, ...deps }: ApiDeps): void {
  app.get("/v1/api/events", may({ store, ...deps }, "event", "list"), async (c) => {
    const { limit = MAX_PAGE, before, after, event, ...rest } = readQuery(c, eventsQuery);
    if (before !== undefined && after !== undefined)
      throw new Failure("invalid", "before and after exclude each other");
    const filter: EventFilter = {
      ...Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined)),
      ...(event === undefined ? {} : { events: event.split(",") }),
    };
    if (after !== undefined) return c.json(await eventsAfter(store, filter, { after, limit }));
    const page = await inTransaction(store, async (tx) => ({
      ...(await newestEvents(tx, filter, { limit, before: parseCursor(before) })),
      cursor: await lastCursor(tx),
    }));
    const further = page.before === undefined ? {} : { before: `${page.before.time}~${page.before.seq}` };
    return c.json({ events: page.events, more: page.more, cursor: page.cursor, ...further });
  });

  app.get("/v1/api/audit/chains", may({ store, ...deps }, "event", "list"), async (c) => {
    const { before, limit = 250 } = readQuery(c, chainsQuery);
    const last = before === undefined ? undefined : await findChain(store, before);
    if (before !== undefined && last === undefined) throw new Failure("not_found", "there is no such chain any more");
    const rows = await listChains(store, { limit: limit + 1, before: last });
    const chains = await Promise.all(rows.slice(0, limit).map(toRecord));
    return c.json({ chains, more: rows.length > limit, signing_keys: deps.config.signingKeys });
  });

  app.get("/v1/api/audit/lines", may({ store, ...deps }, "event", "list"), async (c) => {
    const { chain, after = 0, since, limit = MAX_LINES } = readQuery(c, linesQuery);
    const rows = await linesOf(store, chain, { after, since, limit });
    const lines = rows.map(({ seq, n, uid, event, time: at, user, app: name, agent, sid, verdict, body }) => {
      return { seq, n, uid, event, time: at, user, app: name, agent, sid, verdict, line: body };
    });
    return c.json({ lines });
  });
}

async function toRecord(row: Chain): Promise<ChainRecord> {
  const { chain, owner, public_jwk, n, hash, head } = row;
  const kind = row.kind === "agent" ? "agent" : "proxy";
  const jkt = await jktOf(public_jwk);
  return { chain, kind, owner, public_jwk: jkt === null ? null : JSON.parse(public_jwk ?? "null"), jkt, n, hash, head };
}

function parseCursor(text: string | undefined): TimeCursor | undefined {
  const [at, seq] = text?.split("~") ?? [];
  return at === undefined || seq === undefined ? undefined : { time: at, seq: Number(seq) };
}
