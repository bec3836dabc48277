/** What the gate knows about one message. The bytes themselves stay as they came. */
import type { ObjectView, Span } from "./view.ts";

/**
 * JSON-RPC id, as decoded: as the key of a map `1` and `"1"` differ, `"a"` and `"\u0061"` don't. A number is an integer within
 * ±(2^53−1), and never -0.
 */
export type Id = string | number;

export type ListKind = "tools" | "prompts" | "resources" | "templates";

/** What a request or notification is about, as far as a rule may care. */
export type Target =
  | { kind: "tool"; name: string; arguments: Span | undefined }
  | { kind: "prompt"; name: string; arguments: Span | undefined }
  /** `resources/read`, `resources/subscribe`, `resources/unsubscribe`, `notifications/resources/updated`. */
  | { kind: "resource"; uri: string }
  /** `completion/complete`: what it completes. `name` is a prompt's name, a URI or a URI template. */
  | { kind: "completion"; of: "prompt" | "resource"; name: string }
  | { kind: "list"; list: ListKind }
  /** `subscriptions/listen`, and what the server acknowledged of it (`id` is the request's id there). */
  | { kind: "listen"; id: Id | undefined; uris: string[]; lists: ListKind[] }
  /** `notifications/cancelled`: the request that it cancels. */
  | { kind: "cancelled"; id: Id | undefined }
  | { kind: "none" };

export interface Request {
  kind: "request";
  id: Id;
  method: string;
  params: ObjectView | undefined;
  target: Target;
  /** The line, with its line feed. */
  bytes: Uint8Array;
}

export interface Notification {
  kind: "notification";
  method: string;
  params: ObjectView | undefined;
  target: Target;
  bytes: Uint8Array;
}

export interface Response {
  kind: "response";
  id: Id;
  /** A result, or an error. */
  ok: boolean;
  /** The members of `result` or of `error`. */
  body: ObjectView;
  bytes: Uint8Array;
}

/** A line that is not forwarded. */
export interface Invalid {
  kind: "invalid";
  /** JSON-RPC error code for its sender. */
  code: number;
  /** Lower case, no full stop; holds nothing of the line. */
  reason: string;
  /** The line's id where one can be made out: only good for addressing an error. */
  id?: Id;
  /** What the line with this id looks like. */
  shape?: "request" | "response";
  /** Nothing but white space: not even worth an error. */
  blank: boolean;
}

export type Message = Request | Notification | Response;

export interface CodecLimits {
  /** Longest line in bytes, with its line feed. */
  maxBytes: number;
  /** How many arrays and objects may lie in each other; the message itself is the first. */
  maxDepth: number;
  /** Longest id in characters. */
  maxIdChars: number;
  /** Longest tool name, prompt name, method or URI in characters. */
  maxNameChars: number;
}

export const DEFAULT_CODEC_LIMITS: CodecLimits = {
  maxBytes: 80 * 1024 * 1024,
  maxDepth: 256,
  maxIdChars: 256,
  maxNameChars: 4096,
};
