/** Why a request is not forwarded: what the rules say of it, its target and its arguments. */
import { INVALID_PARAMS, METHOD_NOT_FOUND } from "../mcp/fault.ts";
import type { Request, Target } from "../mcp/message.ts";
import { isLookalike, isOtherKind } from "./methods.ts";
import type { GateState } from "./state.ts";
import { argumentsDeniedText, deniedText, unapprovedText } from "./texts.ts";

export interface Refusal {
  code: number;
  text: string;
  /** For the event alone: why a condition on the arguments could not be judged. */
  fault?: string | undefined;
}

/** Why this request is not forwarded; undefined when it is. */
export function refusalOf(state: GateState, request: Request): Refusal | undefined {
  const { method, target, bytes } = request;
  if (isLookalike(method) || isOtherKind(method, "request")) return denied(state, request, METHOD_NOT_FOUND);
  const named = target.kind !== "none" && target.kind !== "list";
  if (!state.allows("method", method)) return denied(state, request, named ? INVALID_PARAMS : METHOD_NOT_FOUND);
  if (!targetAllowed(state, target)) return denied(state, request, INVALID_PARAMS);
  return target.kind === "tool" || target.kind === "prompt" ? argumentsRefusal(state, target, bytes) : undefined;
}

const denied = ({ app }: GateState, { method, target }: Request, code: number): Refusal => ({
  code,
  text: deniedText(app, method, target),
});

/** What may be called at all may still be refused by a condition on the arguments. */
function argumentsRefusal(
  state: GateState,
  { kind, name, arguments: place }: Extract<Target, { kind: "tool" | "prompt" }>,
  bytes: Uint8Array,
): Refusal | undefined {
  if (!state.policy.compiled[kind].conditional) return undefined;
  const call = { arguments: place && bytes.subarray(place.start, place.end) };
  const { allowed, fault } = state.decide({ kind, name, call });
  return allowed ? undefined : { code: INVALID_PARAMS, text: argumentsDeniedText(state.app, kind, name), fault };
}

/** Whether what the message names may be named. */
export function targetAllowed(state: GateState, target: Target): boolean {
  switch (target.kind) {
    case "tool":
      return state.allows("tool", target.name);
    case "prompt":
      return state.allows("prompt", target.name);
    case "resource":
      return state.allows("resource", target.uri);
    case "completion":
      if (target.of === "prompt") return state.allows("prompt", target.name);
      return state.allows(target.name.includes("{") ? "template" : "resource", target.name);
    case "listen":
      // What a revision with `resources/subscribe` would ask by that.
      if (target.uris.length > 0 && !state.allows("method", "resources/subscribe")) return false;
      return target.uris.every((uri) => state.allows("resource", uri));
    default:
      return true;
  }
}

/** Why a call was refused whose tool's definition nobody approved. One that is not there at all reads as ever. */
export function pinnedText(state: GateState, { method, target }: Request): string {
  const known = target.kind === "tool" && state.pinning?.hasSeen(target.name) === true;
  return known ? unapprovedText(state.app, target.name) : deniedText(state.app, method, target);
}
