/** What an agent may say in a line of its chain, and what is made of a line that says more. */
import * as v from "valibot";
import type { AuditEvent } from "../event.ts";

/** UTF-16 units of one line. An event of the gate has 16 KiB of arguments, and a few names and addresses. */
export const MAX_ITEM = 256 * 1024;

const name = v.pipe(v.string(), v.maxLength(8192));
const uuid = v.pipe(v.string(), v.regex(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/));
const object = v.record(v.string(), v.unknown());
const time = v.pipe(
  v.string(),
  v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
  v.check((text) => !Number.isNaN(Date.parse(text)), "no such time"),
);
const place = {
  chain: uuid,
  n: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  prev: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
};
/** Whose it is: the agent says it as the grant told it, and the proxy's own record decides. */
const whose = { user: v.optional(name), app: v.optional(name), agent: v.optional(name) };

const common = { uid: uuid, time, v: v.literal(1), ...whose, details: v.optional(object), ...place };

const inSession = v.strictObject({
  ...common,
  event: v.picklist([
    "mcp.session.start",
    "mcp.session.end",
    "mcp.session.request",
    "mcp.session.response",
    "mcp.session.notification",
    "mcp.session.invalid",
    "mcp.tool.new",
    "mcp.tool.changed",
  ]),
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
});
/** Of the chain itself. */
const ofChain = v.strictObject({ ...common, event: v.picklist(["audit.chain.start", "audit.gap"]) });

export const isOfChain = (event: string): boolean => event === "audit.chain.start" || event === "audit.gap";

export type AgentEvent = AuditEvent & { chain: string; n: number; prev: string };

/** Less than that, and a line has no place at all. */
const placed = v.object({ event: v.string(), uid: uuid, time, ...place });

export interface ParsedLine {
  event: AgentEvent;
  /** What else it holds is not an agent's to say: `undefined` when all is well. */
  fault: string | undefined;
}

/** A line that has a place in a chain, or what is wrong with it. */
export function parseAgentLine(line: string): ParsedLine | string {
  if (line.length > MAX_ITEM) return "too large";
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return "not JSON";
  }
  const said = (value as { event?: unknown } | null)?.event;
  const parsed = v.safeParse(typeof said === "string" && isOfChain(said) ? ofChain : inSession, value);
  if (parsed.success) return { event: value as AgentEvent, fault: undefined };
  const has = v.safeParse(placed, value);
  if (!has.success) return issueText(has.issues[0]);
  return { event: value as AgentEvent, fault: issueText(parsed.issues[0]) };
}

const issueText = (issue: v.BaseIssue<unknown>): string => `${v.getDotPath(issue) ?? "event"}: ${issue.type}`;

/** What the proxy says about a line that it does not take at its word. */
export interface Attribution {
  user: string | null;
  app: string | null;
  agent: string | null;
  sid: string | null;
  verdict: string | null;
}

const SAID = Object.keys(inSession.entries).filter((key) => !["user", "app", "agent", "sid", "details"].includes(key));

/** A disputed line as an event: what it says about the message stands, whose it was is the proxy's word. */
export function disputedEvent(line: string, uid: string, by: Attribution): AuditEvent {
  const said = JSON.parse(line) as Record<string, unknown>;
  const kept = Object.fromEntries(SAID.filter((key) => Object.hasOwn(said, key)).map((key) => [key, said[key]]));
  const whose = Object.entries({ user: by.user, app: by.app, agent: by.agent, sid: by.sid });
  const details = typeof said.details === "object" && said.details !== null ? said.details : {};
  const claimed = said.sid === (by.sid ?? undefined) ? {} : { claimed_sid: said.sid };
  return {
    ...kept,
    uid,
    ...Object.fromEntries(whose.filter(([, value]) => value !== null)),
    details: { ...details, invalid: by.verdict, ...claimed },
  } as unknown as AuditEvent;
}
