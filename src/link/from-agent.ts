/**
 * What an agent says to its proxy on its control connection. A binary message is audit events as they stand in the agent's spool
 * (UTF-8, with line feeds between them), answered by `events.stored`: they are the bulk of what an agent says, and neither end
 * takes them apart, or makes characters of them, where it relays.
 */
import * as v from "valibot";
import { parseMessage, proof, sessionId, short, text } from "./protocol.ts";

/** Of one agent. */
export const MAX_APPS = 1000;
/** Bytes of events in one batch, but for its first. */
export const MAX_BATCH = 512 * 1024;
/** Events in one batch. */
export const MAX_BATCH_EVENTS = 1000;

const labels = v.record(v.pipe(v.string(), v.maxLength(256)), v.pipe(v.string(), v.maxLength(1024)));

const offeredApp = v.object({
  name: v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9_-]{0,62}$/)),
  description: v.pipe(v.string(), v.maxLength(1024)),
  labels,
  shared: v.boolean(),
  /** It is one of the proxy's app resources. */
  resource: v.optional(v.boolean(), false),
});

const offeredApps = v.pipe(v.array(offeredApp), v.maxLength(MAX_APPS));

/** Which app resources an agent takes: label → value or values. An agent that says none is sent none. */
const selectors = v.pipe(v.array(v.record(short, v.union([text, v.array(text)]))), v.maxLength(100));

/** `ok`: the client ended it; not a crash, a failed start or a cut. */
const endedSession = v.strictObject({ sid: sessionId, reason: text, ok: v.boolean() });

export const agentHello = v.object({
  t: v.literal("hello"),
  proof,
  agent: short,
  /** New at every start of the agent: sessions of another boot are gone. */
  boot: short,
  version: short,
  apps: offeredApps,
  resources: v.optional(selectors, []),
  /** Sessions that live on this agent. */
  sessions: v.pipe(v.array(sessionId), v.maxLength(100_000)),
  /** Sessions that ended while the control connection was down. */
  ended: v.pipe(v.array(endedSession), v.maxLength(100_000)),
});
/** Who says hello: looked at before the rest is worth reading. */
export const agentClaim = v.pick(agentHello, ["t", "proof", "agent"]);
const sessionRefused = v.object({
  t: v.literal("session.refused"),
  /** There is no such session on the agent; otherwise only this connection for it could not be made. */
  gone: v.boolean(),
  attach: short,
  sid: sessionId,
  code: short,
  message: text,
  hint: v.optional(text),
});
const sessionEnded = v.object({
  t: v.literal("session.ended"),
  sid: sessionId,
  reason: text,
  ok: v.boolean(),
});
/** The agent's signature over a chain as far as the proxy has stored it (`audit/head.ts`). */
const chainHead = v.object({ t: v.literal("events.head"), head: v.pipe(v.string(), v.maxLength(2048)) });
/** How the apps' servers do: all of them, whenever one has changed. */
const appsHealth = v.object({
  t: v.literal("apps.health"),
  apps: v.pipe(
    v.array(
      v.object({
        app: short,
        state: v.picklist(["unknown", "ok", "failing"]),
        at: v.optional(short),
        error: v.optional(text),
      }),
    ),
    v.maxLength(1000),
  ),
});
/** The apps have changed: all of them, as in the hello. */
const appsOffer = v.object({
  t: v.literal("apps"),
  apps: offeredApps,
  resources: v.optional(selectors, []),
});
/** Answers `app.resources`, or follows a reload: what became of each. `offered` is also in `apps`, which comes first. */
const appResourcesTaken = v.object({
  t: v.literal("app.resources.taken"),
  resources: v.pipe(
    v.array(
      v.object({
        name: short,
        revision: short,
        state: v.picklist(["offered", "refused"]),
        reason: v.optional(text),
      }),
    ),
    v.maxLength(MAX_APPS),
  ),
});
export type AppResourceReport = v.InferOutput<typeof appResourcesTaken>["resources"][number];
export type AppHealthReport = v.InferOutput<typeof appsHealth>["apps"][number];
/** How the tools of one app stand (`tool_pinning`); all of them, each time. */
const toolPins = v.object({
  t: v.literal("tools.pins"),
  app: short,
  enforce: v.boolean(),
  tools: v.pipe(
    v.array(
      v.object({
        tool: text,
        pinned: v.nullable(short),
        /** The definition that waits for approval. */
        pending: v.nullable(short),
        diff: v.pipe(v.array(text), v.maxLength(100)),
      }),
    ),
    v.maxLength(1000),
  ),
});
const pong = v.object({ t: v.literal("pong") });

const fromAgent = v.variant("t", [
  agentHello,
  sessionRefused,
  sessionEnded,
  chainHead,
  appsOffer,
  appsHealth,
  appResourcesTaken,
  toolPins,
  pong,
]);
export type FromAgent = v.InferOutput<typeof fromAgent>;

export const parseFromAgent = (message: string): FromAgent | undefined => parseMessage(fromAgent, message);
