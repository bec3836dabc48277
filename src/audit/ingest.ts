/**
 * Events that agents send. The proxy, not the agent, says which user, app and agent an event belongs to: it looks the
 * session up. What does not fit is kept all the same, marked, and belongs to nobody but its agent.
 */
import { createHash } from "node:crypto";
import * as v from "valibot";
import { AUDIT_SCHEMA_VERSION, type AuditEvent } from "../event.ts";
import { findAgent } from "../store/agents.ts";
import { findSessions, type Session } from "../store/sessions.ts";
import type { Store } from "../store/store.ts";
import { insertEvents } from "./store.ts";

/** UTF-16 units of one item. An event of the gate has 16 KiB of arguments, and a few names and addresses. */
export const MAX_ITEM = 256 * 1024;
/** How much of an item that does not fit is kept. */
const KEPT = 16 * 1024;

const name = v.pipe(v.string(), v.maxLength(8192));
const uuid = v.pipe(v.string(), v.regex(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/));
const object = v.record(v.string(), v.unknown());
const time = v.pipe(
  v.string(),
  v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/),
  v.check((text) => !Number.isNaN(Date.parse(text)), "no such time"),
  v.transform((text) => new Date(text).toISOString()),
);

/** What an agent may say. Fields beyond these (user, app, agent, actor, remote, …) are not its to say, and dropped. */
const agentEvent = v.object({
  event: v.picklist([
    "mcp.session.start",
    "mcp.session.end",
    "mcp.session.request",
    "mcp.session.response",
    "mcp.session.notification",
    "mcp.session.invalid",
  ]),
  uid: uuid,
  time,
  sid: v.pipe(v.string(), v.maxLength(128)),
  method: v.optional(name),
  tool: v.optional(name),
  prompt: v.optional(name),
  resource: v.optional(name),
  arguments: v.optional(object),
  success: v.optional(v.boolean()),
  error: v.optional(name),
  request: v.optional(uuid),
  outcome: v.optional(v.picklist(["ok", "error", "denied", "cancelled", "unknown"])),
  duration_ms: v.optional(v.pipe(v.number(), v.finite(), v.minValue(0))),
  size: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
  from: v.optional(v.picklist(["client", "server"])),
  details: v.optional(object),
});
type AgentEvent = v.InferOutput<typeof agentEvent>;

export interface Ingested {
  /** New in the store; the others were there already. */
  stored: number;
  /** Of the items: those that did not fit and were marked (`details.invalid`). */
  invalid: number;
}

/**
 * Stores what an agent's spool holds: `items`, one event each as JSON. Everything is durable when it returns, so all
 * items may be acknowledged; it throws only when the store does, and then nothing was stored.
 */
export async function ingest(store: Store, agentId: string, items: readonly string[], now: number): Promise<Ingested> {
  const parsed = items.map(parseItem);
  const sids = new Set(parsed.flatMap((p) => (typeof p === "string" ? [] : [p.sid])));
  const sessions = new Map((await findSessions(store, [...sids])).map((session) => [session.sid, session]));
  const agent = (await findAgent(store, { id: agentId }))?.name ?? agentId;

  let invalid = 0;
  const events = items.map((item, i) => {
    const p = parsed[i] ?? "missing";
    const session = typeof p === "string" ? undefined : sessions.get(p.sid);
    if (typeof p !== "string" && session?.agentId === agentId) return attributed(p, session);
    invalid += 1;
    if (typeof p === "string") return unreadable(item, p, agent, now);
    // it may say what it likes about the message, but not whose it was
    const { sid, ...rest } = p;
    const details = { ...p.details, invalid: "the session is not one of this agent's", claimed_sid: sid };
    return { ...rest, v: AUDIT_SCHEMA_VERSION, agent, details } as AuditEvent;
  });
  return { stored: await insertEvents(store, events, now), invalid };
}

/** The event, or what is wrong with it. */
function parseItem(item: string): AgentEvent | string {
  if (item.length > MAX_ITEM) return "too large";
  let value: unknown;
  try {
    value = JSON.parse(item);
  } catch {
    return "not JSON";
  }
  const parsed = v.safeParse(agentEvent, value);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  return `${v.getDotPath(issue) ?? "event"}: ${issue.type}`;
}

function attributed(event: AgentEvent, session: Session): AuditEvent {
  const { event: kind, uid, time: at, sid, ...rest } = event;
  const { user, app, agent } = session;
  return { event: kind, uid, time: at, v: AUDIT_SCHEMA_VERSION, user, app, agent, sid, ...rest } as AuditEvent;
}

/** Its id comes from its bytes, so that a retry is no duplicate. */
function unreadable(item: string, reason: string, agent: string, now: number): AuditEvent {
  const sha256 = createHash("sha256").update(agent).update("\0").update(item).digest("hex");
  const hex = `${sha256.slice(0, 12)}8${sha256.slice(13, 16)}8${sha256.slice(17, 32)}`; // UUIDv8, RFC 9562
  return {
    event: "mcp.session.invalid",
    uid: hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"),
    time: new Date(now).toISOString(),
    v: AUDIT_SCHEMA_VERSION,
    agent,
    details: { invalid: reason, length: item.length, raw: item.slice(0, KEPT).toWellFormed() },
  };
}
