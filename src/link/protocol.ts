/**
 * The text messages around the link: what client, proxy and agent say to each other before and beside the relayed
 * frames. Every WebSocket opens with the proxy's `challenge`; nothing else is accepted from the other side until it
 * answered with a proof of its key over that nonce. Everything that arrives is parsed against these schemas.
 */
import * as v from "valibot";

export const CLIENT_PATH = "/v1/session";
export const AGENT_CONTROL_PATH = "/v1/agent/control";
export const AGENT_SESSION_PATH = "/v1/agent/session";

/** Milliseconds for the handshake of one WebSocket, either side. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;
/** Milliseconds between the control connection's heartbeats, and after how much silence it is given up. */
export const HEARTBEAT_MS = 3_000;
export const HEARTBEAT_LOST_MS = 15_000;
/** Milliseconds without a heartbeat after which an agent lets no new message through until it has caught up. */
export const HOLD_AFTER_MS = 10_000;
/** A text message at the most, bytes. A grant carries a user's rules; a batch of events is the largest. */
export const MAX_TEXT = 4 * 1024 * 1024;
/** Of one agent. */
export const MAX_APPS = 1000;
/** Bytes of events in one batch, but for its first. */
export const MAX_BATCH = 512 * 1024;
/** Events in one batch. */
export const MAX_BATCH_EVENTS = 1000;

const short = v.pipe(v.string(), v.maxLength(512));
const text = v.pipe(v.string(), v.maxLength(4096));
const proof = v.pipe(v.string(), v.maxLength(8192));
/** Minted by the client: 128 random bits, hexadecimal, with dashes or without. */
export const sessionId = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/),
);
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

// --- proxy → whoever dialled ---

export const challenge = v.object({
  t: v.literal("challenge"),
  nonce: v.pipe(v.string(), v.maxLength(256)),
  version: short,
});
export const refused = v.object({ t: v.literal("refused"), code: short, message: text, hint: v.optional(text) });
/** Of the link's frames (`frame.ts`): the client offers some, the agent chooses, and the proxy passes on. */
const linkVersion = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(255));
const linkVersions = v.pipe(v.array(linkVersion), v.minLength(1), v.maxLength(32));
/** Seconds that an agent keeps a session whose client is gone. */
const resumeWindow = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(86_400));
/** From here on binary messages are the link's frames. `resume_window`: the agent's. */
export const joined = v.object({
  t: v.literal("joined"),
  agent: short,
  resume_window: v.optional(resumeWindow),
  /** The version of the link's frames that the agent chose of the client's. */
  link: v.optional(linkVersion, 1),
});

/** What the proxy says to a client or to an agent's session connection before the link runs. */
export const beforeLink = v.variant("t", [challenge, refused, joined]);

// --- client → proxy ---

/** Opens the session, or goes on with it: the two are the same, so that opening twice is opening once. */
export const attach = v.object({
  t: v.literal("attach"),
  proof,
  sid: sessionId,
  app: short,
  /** The versions of the link's frames that the client speaks. */
  link: linkVersions,
  version: short,
});

// --- agent's session connection → proxy ---

export const accept = v.object({
  t: v.literal("accept"),
  proof,
  attach: short,
  resume_window: v.optional(resumeWindow),
  link: v.optional(linkVersion, 1),
});

// --- on a session's connections, beside its frames, and only where the client traces its calls ---

/** Characters of a message about a trace. */
export const MAX_TRACE = 4096;
const callId = v.union([v.pipe(v.string(), v.maxLength(256)), v.pipe(v.number(), v.safeInteger())]);

/** client → proxy → agent: the call with this id, which comes next, is part of that trace (W3C Trace Context). */
export const trace = v.object({
  t: v.literal("trace"),
  id: callId,
  traceparent: v.pipe(v.string(), v.regex(/^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/)),
  tracestate: v.optional(v.pipe(v.string(), v.regex(/^[\x20-\x7e]{0,512}$/))),
});
/** agent → proxy, client → proxy: the call is answered. */
export const traced = v.object({ t: v.literal("traced"), id: callId });
export type TraceHint = v.InferOutput<typeof trace>;

// --- agent → proxy, on the control connection ---

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
export const sessionRefused = v.object({
  t: v.literal("session.refused"),
  /** There is no such session on the agent; otherwise only this connection for it could not be made. */
  gone: v.boolean(),
  attach: short,
  sid: sessionId,
  code: short,
  message: text,
  hint: v.optional(text),
});
export const sessionEnded = v.object({
  t: v.literal("session.ended"),
  sid: sessionId,
  reason: text,
  ok: v.boolean(),
});
const eventBatch = v.object({
  t: v.literal("events"),
  /** Spool sequence of the last event. */
  last: v.number(),
});
/**
 * Events as they stand in the agent's spool: their lines come behind the message itself. They are the bulk of what an agent
 * says, and neither end takes them apart where it relays.
 */
export type EventBatch = v.InferOutput<typeof eventBatch> & { lines: string };
/** The agent's signature over a chain as far as the proxy has stored it (`audit/head.ts`). */
export const chainHead = v.object({ t: v.literal("events.head"), head: v.pipe(v.string(), v.maxLength(2048)) });
/** How the apps' servers do: all of them, whenever one has changed. */
export const appsHealth = v.object({
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
export const appsOffer = v.object({
  t: v.literal("apps"),
  apps: offeredApps,
  resources: v.optional(selectors, []),
});
/** Answers `app.resources`, or follows a reload: what became of each. `offered` is also in `apps`, which comes first. */
export const appResourcesTaken = v.object({
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
export const toolPins = v.object({
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
export const pong = v.object({ t: v.literal("pong") });

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
export type FromAgent = v.InferOutput<typeof fromAgent> | EventBatch;

export function encodeFromAgent(message: FromAgent): string {
  if (message.t !== "events") return JSON.stringify(message);
  const { lines, ...head } = message;
  return `${JSON.stringify(head)}\n${lines}`;
}

export function parseFromAgent(message: string): FromAgent | undefined {
  const end = message.startsWith('{"t":"events",') ? message.indexOf("\n") : -1;
  if (end === -1) return parseMessage(fromAgent, message);
  const head = message.length > MAX_TEXT ? undefined : parseMessage(eventBatch, message.slice(0, end));
  return head && { ...head, lines: message.slice(end + 1) };
}

// --- proxy → agent, on the control connection ---

const refusedApps = v.array(v.object({ name: short, reason: text }));
export const welcome = v.object({
  t: v.literal("welcome"),
  /** Apps of the hello that were not taken, and why. */
  refused: refusedApps,
  now: v.number(),
});
/** Answers `apps`. */
export const appsTaken = v.object({ t: v.literal("apps.taken"), refused: refusedApps });
/** The app resources that the agent asked for: all of them, whenever one has changed. */
export const appResources = v.object({
  t: v.literal("app.resources"),
  resources: v.pipe(
    v.array(
      v.object({
        name: short,
        /** Another one for each version of the document. */
        revision: short,
        /** As an admin wrote it; whoever runs it reads it strictly (`config/app-resource.ts`). */
        document: v.unknown(),
      }),
    ),
    v.maxLength(MAX_APPS),
  ),
});
export type AppResourceMessage = v.InferOutput<typeof appResources>["resources"][number];
/** Dial a session connection for this grant. */
export const sessionOpen = v.object({
  t: v.literal("session.open"),
  attach: short,
  /** The session ran before: where the agent has it no more, it is gone, and must not begin anew in mid-stream. */
  resume: v.boolean(),
  /** What the client offers. */
  link: v.optional(linkVersions, [1]),
  grant: v.pipe(v.string(), v.maxLength(MAX_TEXT)),
});
/** The user's rules changed: a fresh grant for a live session. */
export const sessionPolicy = v.object({
  t: v.literal("session.policy"),
  grant: v.pipe(v.string(), v.maxLength(MAX_TEXT)),
});
export const sessionEnd = v.object({ t: v.literal("session.end"), sid: sessionId, reason: text });
/** Follows `welcome`, after a `session.policy` or `session.end` for each session that the agent runs: it is up to date. */
export const synced = v.object({ t: v.literal("synced") });
export const eventsStored = v.object({ t: v.literal("events.stored"), last: v.number() });
/** Definitions that an admin has approved. */
export const toolsApproved = v.object({
  t: v.literal("tools.approved"),
  app: short,
  tools: v.pipe(v.array(v.object({ tool: text, hash: short })), v.maxLength(1000)),
});
/** `now`: the proxy's clock, milliseconds since the epoch. */
export const ping = v.object({ t: v.literal("ping"), now: v.number() });

export const toAgent = v.variant("t", [
  challenge,
  refused,
  welcome,
  appsTaken,
  appResources,
  sessionOpen,
  sessionPolicy,
  sessionEnd,
  synced,
  toolsApproved,
  eventsStored,
  ping,
]);
export type ToAgent = v.InferOutput<typeof toAgent>;

/** One text message as one of `schema`'s, or `undefined` when it is none. */
export function parseMessage<S extends v.GenericSchema>(schema: S, message: string): v.InferOutput<S> | undefined {
  if (message.length > MAX_TEXT) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(message);
  } catch {
    return undefined;
  }
  const parsed = v.safeParse(schema, value);
  return parsed.success ? parsed.output : undefined;
}
