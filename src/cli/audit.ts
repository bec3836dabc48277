/** `mcpgate audit ls | export | tail` */
import type { ApiClient } from "../client/api.ts";
import { parseDuration } from "../config/duration.ts";
import { Failure } from "../errors.ts";
import type { AuditEvent } from "../event.ts";
import { withAdminApi } from "./admin.ts";
import { eventLine, HEADERS, jsonLine, row } from "./audit-text.ts";
import { command, configFlag } from "./command.ts";
import { json, table } from "./output.ts";

interface Page {
  events: AuditEvent[];
  more: boolean;
  cursor: number;
  before?: string;
}

const PAGE = 1000;
const TAIL_MS = 500;

const filterFlags = {
  user: { type: "string", valueHint: "NAME", description: "events of this user" },
  app: { type: "string", valueHint: "NAME", description: "events of this app" },
  event: { type: "string", valueHint: "EVENT,…", description: "these events, like mcp.session.request" },
} as const;
const sinceFlag = {
  since: { type: "string", valueHint: "TIME", description: "from there on: 1h for the last hour, a date, or RFC 3339" },
} as const;

export const ls = command({
  args: {
    ...filterFlags,
    ...sinceFlag,
    limit: { type: "string", valueHint: "N", description: "the newest N only" },
    format: {
      type: "enum",
      options: ["text", "json"],
      default: "text",
      description: "text for people, json: an array",
    },
    ...configFlag,
  },
  about: "Oldest first; all of them unless --limit is given.",
  examples: ["mcpgate audit ls --user=alice --since=1h", "mcpgate audit ls --event=mcp.session.request --format=json"],
  async run(context, args) {
    const limit = args.limit === undefined ? Number.POSITIVE_INFINITY : wholeNumber("limit", args.limit);
    const filter = query(args);
    const events = await withAdminApi(context, args.config, (api) => newest(api, filter, limit));
    await context.out.print(args.format === "json" ? json(events) : table(HEADERS, events.map(row)));
    if (args.format === "text" && events.length === 0) context.out.notice("no events");
  },
});

export const exportAll = command({
  args: {
    ...filterFlags,
    ...sinceFlag,
    format: { type: "enum", options: ["jsonl"], default: "jsonl", description: "one JSON object a line" },
    ...configFlag,
  },
  about: "In the order in which the proxy stored them.",
  examples: ["mcpgate audit export --format=jsonl >audit.jsonl"],
  async run(context, args) {
    const filter = query(args);
    await withAdminApi(context, args.config, async (api) => {
      for (let after = 0; ; ) {
        const page = await fetchPage(api, { ...filter, after: String(after) });
        await context.out.print(page.events.map(jsonLine).join(""));
        if (!page.more) return;
        after = page.cursor;
      }
    });
  },
});

export const tail = command({
  args: {
    ...filterFlags,
    format: { type: "enum", options: ["text", "json"], default: "text", description: "json: one object a line" },
    ...configFlag,
  },
  about: "Events that the proxy stores from now on, until Ctrl-C.",
  examples: ["mcpgate audit tail --app=everything"],
  async run(context, args) {
    const filter = query(args);
    const stopped = context.untilStopped().then(() => true);
    await withAdminApi(context, args.config, async (api) => {
      let { cursor } = await fetchPage(api, { ...filter, limit: "1" });
      for (;;) {
        const page = await fetchPage(api, { ...filter, after: String(cursor) });
        cursor = page.cursor;
        const lines = page.events.map(args.format === "json" ? jsonLine : eventLine);
        if (lines.length > 0) await context.out.print(lines.join(""));
        if (await Promise.race([stopped, page.more ? false : pause(TAIL_MS)])) return;
      }
    });
  },
});

/** Pages come from the newest backwards. */
async function newest(api: ApiClient, filter: Record<string, string>, limit: number): Promise<AuditEvent[]> {
  const pages: AuditEvent[][] = [];
  let before: string | undefined;
  for (let left = limit; left > 0; ) {
    const cursor: Record<string, string> = before === undefined ? {} : { before };
    const page = await fetchPage(api, { ...filter, ...cursor, limit: String(Math.min(left, PAGE)) });
    pages.push(page.events);
    left -= page.events.length;
    before = page.before;
    if (!page.more || before === undefined) break;
  }
  return pages.reverse().flat();
}

const fetchPage = (api: ApiClient, parameters: Record<string, string>): Promise<Page> =>
  api.call<Page>("GET", `/v1/api/events?${new URLSearchParams(parameters)}`);

function query(args: {
  user?: string | undefined;
  app?: string | undefined;
  event?: string | undefined;
  since?: string | undefined;
}): Record<string, string> {
  const { user, app, event, since } = args;
  const given = { user, app, event, since: since === undefined ? undefined : instant(since) };
  return Object.fromEntries(Object.entries(given).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** `1h` ago, a date (its beginning in UTC) or RFC 3339 → RFC 3339. */
export function instant(text: string): string {
  const seconds = parseDuration(text);
  if (seconds !== undefined) return new Date(Date.now() - seconds * 1000).toISOString();
  const shape = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d))?$/i;
  const time = shape.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(time)) return new Date(time).toISOString();
  throw new Failure("usage", `--since=${text} is no time`, {
    hint: "like --since=1h, --since=2026-11-23 or --since=2026-11-23T05:24:00Z",
  });
}

function wholeNumber(flag: string, text: string): number {
  const value = Number(text);
  if (/^\d{1,12}$/.test(text) && value > 0) return value;
  throw new Failure("usage", `--${flag}=${text} is no whole number over 0`, { hint: `like --${flag}=100` });
}

function pause(ms: number): Promise<false> {
  return new Promise((resolve) => setTimeout(() => resolve(false), ms));
}
