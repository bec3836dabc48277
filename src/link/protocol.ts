/**
 * What all conversations with the proxy share, before and beside the relayed frames: text messages, each parsed against a
 * schema. Every WebSocket opens with the proxy's `challenge`; nothing else is accepted from the other side until it
 * answered with a proof of its key over that nonce.
 */
import * as v from "valibot";

export const CLIENT_PATH = "/v1/session";
export const AGENT_CONTROL_PATH = "/v1/agent/control";
export const AGENT_SESSION_PATH = "/v1/agent/session";

/** Milliseconds for the handshake of one WebSocket, either side. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;
/** A text message at the most, bytes. A grant carries a user's rules; a batch of events is the largest. */
export const MAX_TEXT = 4 * 1024 * 1024;

// --- values ---

export const short = v.pipe(v.string(), v.maxLength(512));
export const text = v.pipe(v.string(), v.maxLength(4096));
export const proof = v.pipe(v.string(), v.maxLength(8192));
/** Minted by the client: 128 random bits, hexadecimal, with dashes or without. */
export const sessionId = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/),
);
/** Of the link's frames (`frame.ts`): the client offers some, the agent chooses, and the proxy passes on. */
export const linkVersion = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(255));
export const linkVersions = v.pipe(v.array(linkVersion), v.minLength(1), v.maxLength(32));

// --- proxy → whoever dialled ---

export const challenge = v.object({
  t: v.literal("challenge"),
  nonce: v.pipe(v.string(), v.maxLength(256)),
  version: short,
});
export const refused = v.object({ t: v.literal("refused"), code: short, message: text, hint: v.optional(text) });

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
