/** What people read when the gate says no. The same text whether or not the tool exists. */
import { printable } from "../log.ts";
import type { Target } from "../mcp/message.ts";

const HINT = 'ask your mcpgate admin for access; "mcpgate client ls" shows what is allowed';

const quoted = (name: string): string => `"${printable(name.length > 120 ? `${name.slice(0, 117)}...` : name)}"`;

export function deniedText(app: string, method: string, target: Target): string {
  return `${subject(method, target)} of app ${quoted(app)} does not exist or is not allowed for you; ${HINT}`;
}

/** For what is listed: its arguments are not what a rule wants. */
export const argumentsDeniedText = (app: string, kind: "tool" | "prompt", name: string): string =>
  `${kind} ${quoted(name)} of app ${quoted(app)} is not allowed for you with these arguments; ${HINT}`;

/** For what the rules allow and the app's `tool_pinning: enforce` holds back. */
export const unapprovedText = (app: string, tool: string): string =>
  `tool ${quoted(tool)} of app ${quoted(app)} is new or has changed, and waits for approval; ` +
  `your mcpgate admin can look at it: mcpgate apps pins ${app}`;

/** Where the server does not say which tools it has. */
export const unlistedText = (app: string, seconds: number): string =>
  `the server of app ${quoted(app)} did not answer mcpgate's own tools/list within ${seconds} s, and with ` +
  `tool_pinning: enforce only tools that it has shown are called; on the agent's host: mcpgate agent check ${app}`;

function subject(method: string, target: Target): string {
  switch (target.kind) {
    case "tool":
      return `tool ${quoted(target.name)}`;
    case "prompt":
      return `prompt ${quoted(target.name)}`;
    case "resource":
      return `resource ${quoted(target.uri)}`;
    case "completion":
      return `${target.of} ${quoted(target.name)}`;
    case "listen":
      return target.uris.length > 0 ? "one of these resources" : `method ${quoted(method)}`;
    default:
      return `method ${quoted(method)}`;
  }
}

export const serverDeniedText = (app: string, method: string): string =>
  `mcpgate: ${quoted(method)} from the server of app ${quoted(app)} is not allowed for this user`;

export const inputDeniedText = (app: string, method: string): string =>
  `the server of app ${quoted(app)} asked for ${quoted(method)}, which is not allowed for you; ask your mcpgate admin`;

export const TAKEN_TEXT = "a request with this id is still open: use another id for each request";

export const FULL_TEXT = "too many requests are open in this session: wait for answers, or connect again";

export const badAnswerText = (app: string, reason: string): string =>
  `the server of app ${quoted(app)} sent an answer that mcpgate does not forward: ${reason}`;
