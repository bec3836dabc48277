/** What a proxy says to an agent on its control connection, whose heartbeats are the proxy's pings. */
import * as v from "valibot";
import { MAX_APPS } from "./from-agent.ts";
import { challenge, linkVersions, MAX_TEXT, refused, sessionId, short, text } from "./protocol.ts";

/** Milliseconds between the control connection's heartbeats, and after how much silence it is given up. */
export const HEARTBEAT_MS = 3_000;
export const HEARTBEAT_LOST_MS = 15_000;
/** Milliseconds without a heartbeat after which an agent lets no new message through until it has caught up. */
export const HOLD_AFTER_MS = 10_000;

const refusedApps = v.array(v.object({ name: short, reason: text }));
const welcome = v.object({
  t: v.literal("welcome"),
  /** Apps of the hello that were not taken, and why. */
  refused: refusedApps,
  now: v.number(),
});
/** Answers `apps`. */
const appsTaken = v.object({ t: v.literal("apps.taken"), refused: refusedApps });
/** The app resources that the agent asked for: all of them, whenever one has changed. */
const appResources = v.object({
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
const sessionOpen = v.object({
  t: v.literal("session.open"),
  attach: short,
  /** The session ran before: where the agent has it no more, it is gone, and must not begin anew in mid-stream. */
  resume: v.boolean(),
  /** What the client offers. */
  link: v.optional(linkVersions, [1]),
  grant: v.pipe(v.string(), v.maxLength(MAX_TEXT)),
});
/** The user's rules changed: a fresh grant for a live session. */
const sessionPolicy = v.object({
  t: v.literal("session.policy"),
  grant: v.pipe(v.string(), v.maxLength(MAX_TEXT)),
});
const sessionEnd = v.object({ t: v.literal("session.end"), sid: sessionId, reason: text });
/** Follows `welcome`, after a `session.policy` or `session.end` for each session that the agent runs: it is up to date. */
const synced = v.object({ t: v.literal("synced") });
/** The batch under way is: its bytes, all of them. */
const eventsStored = v.object({ t: v.literal("events.stored"), bytes: v.number() });
/** Definitions that an admin has approved. */
const toolsApproved = v.object({
  t: v.literal("tools.approved"),
  app: short,
  tools: v.pipe(v.array(v.object({ tool: text, hash: short })), v.maxLength(1000)),
});
/** `now`: the proxy's clock, milliseconds since the epoch. */
const ping = v.object({ t: v.literal("ping"), now: v.number() });

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
