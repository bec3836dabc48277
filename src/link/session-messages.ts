/** The text messages by which a client and an agent come together for one session, before its frames. */
import * as v from "valibot";
import { challenge, linkVersion, linkVersions, proof, refused, sessionId, short } from "./protocol.ts";

/** Seconds that an agent keeps a session whose client is gone. */
const resumeWindow = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(86_400));

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

// --- agent → proxy ---

export const accept = v.object({
  t: v.literal("accept"),
  proof,
  attach: short,
  resume_window: v.optional(resumeWindow),
  link: v.optional(linkVersion, 1),
});

// --- proxy → both ---

/** From here on binary messages are the link's frames. `resume_window`: the agent's. */
const joined = v.object({
  t: v.literal("joined"),
  agent: short,
  resume_window: v.optional(resumeWindow),
  /** The version of the link's frames that the agent chose of the client's. */
  link: v.optional(linkVersion, 1),
});

/** What the proxy says to a client or to an agent's session connection before the link runs. */
export const beforeLink = v.variant("t", [challenge, refused, joined]);
