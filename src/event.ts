/**
 * Audit events, schema version 1. Every event has `event`, `uid` and `time`; the other fields where they apply, under
 * the same name in every format and store.
 *
 * An event becomes one line of JSON where it happened, and that line is never written anew: its bytes (UTF-8, without the
 * line feed) are what is hashed, shipped, stored and verified. `chain`, `n` and `prev` are in the line, so its SHA-256 (hex)
 * covers its place too; the next line of the chain has it as `prev`. The first line's `prev` is 64 zeros. An agent has a
 * chain for each of its boots, a proxy has one (`audit/chain.ts`, `audit/head.ts`).
 */

export const AUDIT_SCHEMA_VERSION = 1;

export type EventName =
  | "agent.join"
  | "agent.remove"
  | "user.login"
  | "user.logout"
  | "user.create"
  | "user.update"
  | "user.delete"
  | "user.invite.accept"
  | "token.create"
  | "token.delete"
  | "role.create"
  | "role.update"
  | "role.delete"
  | "lock.create"
  | "lock.delete"
  | "session.kill"
  | "app.approve"
  | "app.create"
  | "app.update"
  | "app.delete"
  | "app.refuse"
  | "mcp.session.start"
  | "mcp.session.end"
  | "mcp.session.request"
  | "mcp.session.response"
  | "mcp.session.notification"
  | "mcp.session.invalid"
  | "mcp.tool.new"
  | "mcp.tool.changed"
  | "audit.chain.start"
  | "audit.gap"
  | "audit.disputed"
  | "audit.checkpoint";

/** How a request ended. `unknown`: the server may or may not have acted on it. */
export type Outcome = "ok" | "error" | "denied" | "cancelled" | "unknown";

export interface AuditEvent {
  event: EventName;
  /** UUIDv7, minted where the event happened: a retry of the same event is no duplicate. */
  uid: string;
  /** RFC 3339, UTC, milliseconds: `2026-11-23T05:24:00.000Z`. */
  time: string;
  /** Schema version. */
  v: typeof AUDIT_SCHEMA_VERSION;
  user?: string;
  app?: string;
  /** The agent's name. */
  agent?: string;
  /** The session's id. */
  sid?: string;
  /** JSON-RPC method. */
  method?: string;
  tool?: string;
  prompt?: string;
  /** Resource URI. */
  resource?: string;
  /** Tool arguments after redaction (`redactArguments`). */
  arguments?: Record<string, unknown>;
  success?: boolean;
  error?: string;
  /** `mcp.session.response`: the `uid` of the request's event. */
  request?: string;
  outcome?: Outcome;
  /** Milliseconds, one decimal. */
  duration_ms?: number;
  /** Bytes of the response line. */
  size?: number;
  /** `client` or `server`: which side sent the message of this event. */
  from?: "client" | "server";
  /** Whoever did it, where that is not `user`: `uid:0` on the admin socket, or a user's name. */
  actor?: string;
  /** Remote address as the proxy saw it. */
  remote?: string;
  /** Anything else that one kind of event needs; documented in docs/audit.md's table. */
  details?: Record<string, unknown>;
  /** The chain that the event is in: the id of an agent's boot, or of a proxy. */
  chain?: string;
  /** Its place there, from 1. */
  n?: number;
  /** SHA-256 of the line before it, hex. */
  prev?: string;
}

/** What a producer fills in; `time`, `v` and the session's fields are added where the event is recorded. */
export type EventDraft = Omit<AuditEvent, "time" | "v" | "uid"> & { uid?: string };

/** The fields of `AuditEvent` that `audit ls` filters by have columns of their own in the store. */
export const INDEXED_FIELDS = ["event", "user", "app", "agent", "sid"] as const;
