/** Admin: the audit log. */
import type { Hono } from "hono";
import * as v from "valibot";
import { type EventFilter, eventsAfter, lastCursor, newestEvents, type TimeCursor } from "../../audit/store.ts";
import { Failure } from "../../errors.ts";
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
}

function parseCursor(text: string | undefined): TimeCursor | undefined {
  const [at, seq] = text?.split("~") ?? [];
  return at === undefined || seq === undefined ? undefined : { time: at, seq: Number(seq) };
}
