/** Methods as a whole: which of them no rule can let through. */
import { fold } from "../fold.ts";
import { CLIENT_NOTIFICATIONS, CLIENT_REQUESTS, SERVER_NOTIFICATIONS, SERVER_REQUESTS } from "../rbac/defaults.ts";

const KNOWN = new Set([...CLIENT_REQUESTS, ...CLIENT_NOTIFICATIONS, ...SERVER_REQUESTS, ...SERVER_NOTIFICATIONS]);
/** The letters alone: what is left of `Tools/Call`, `//tools.call/` and `tools/call?x` for a reader that routes by path. */
const letters = (method: string): string => fold(method.replace(/[?#;].*$/s, "")).replace(/[^a-z]/g, "");
const LETTERS = new Set([...KNOWN].map(letters));
const REQUESTS = new Set([...CLIENT_REQUESTS, ...SERVER_REQUESTS]);
const NOTIFICATIONS = new Set([...CLIENT_NOTIFICATIONS, ...SERVER_NOTIFICATIONS]);

/** A method that a lax reader may take for a known one. No rule lets it through, not even `methods: ["*"]`. */
export const isLookalike = (method: string): boolean => !KNOWN.has(method) && LETTERS.has(letters(method));

/** A notification sent with an id, or a request sent without one: no server has to agree what that means. */
export const isOtherKind = (method: string, kind: "request" | "notification"): boolean =>
  (kind === "request" ? NOTIFICATIONS : REQUESTS).has(method);
