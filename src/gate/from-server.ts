/** One line of the server: tied to the request that it answers, filtered, or dropped. */
import type { EventDraft } from "../event.ts";
import { decode } from "../mcp/codec.ts";
import { encodeError } from "../mcp/encode.ts";
import {
  BAD_SERVER_ANSWER,
  Fault,
  INVALID_PARAMS,
  METHOD_NOT_FOUND,
  SERVER_METHOD_DENIED,
  TOO_MANY_REQUESTS,
} from "../mcp/fault.ts";
import { acknowledgeLists, readIntroduction } from "../mcp/handshake.ts";
import { filterList, readInputMethods } from "../mcp/lists.ts";
import type { Invalid, Notification, Request, Response } from "../mcp/message.ts";
import { isLookalike, isOtherKind } from "./methods.ts";
import type { OpenRequest } from "./open-requests.ts";
import type { Pinning } from "./pinning.ts";
import { pinnedText, refusalOf } from "./refusal.ts";
import type { GateState } from "./state.ts";
import { emptyStep, type Step } from "./step.ts";
import { badAnswerText, FULL_TEXT, inputDeniedText, serverDeniedText } from "./texts.ts";

export function fromServer(state: GateState, line: Uint8Array): Step {
  const message = decode(line, state.limits);
  switch (message.kind) {
    case "response":
      return response(state, message);
    case "notification":
      return notification(state, message);
    case "request":
      return request(state, message);
    case "invalid":
      return message.blank ? emptyStep() : refuseInvalid(state, message, line.length);
  }
}

/** A line of the server that is not forwarded. Whoever waits for the answer that it may have been gets an error now. */
export function refuseInvalid(state: GateState, invalid: Invalid, size: number): Step {
  const step = emptyStep();
  state.junk(step, invalid.reason, size);
  if (invalid.id === undefined) return step;
  if (state.pinning?.isOwn(invalid.id)) return ownAnswer(state, state.pinning, undefined, step);
  if (invalid.shape === "response") {
    // The id is a guess, so the real answer may yet come: the id stays taken.
    const request = state.ofClient.giveUp(invalid.id);
    if (request !== undefined) fail(state, step, request, invalid.reason, size);
  } else if (invalid.shape === "request" && !state.ofServer.isTaken(invalid.id)) {
    step.toServer.push(encodeError(invalid.id, invalid.code, `mcpgate: ${invalid.reason}`));
  }
  return step;
}

function fail(state: GateState, step: Step, request: OpenRequest, reason: string, size: number): void {
  const text = badAnswerText(state.app, reason);
  step.events.push(state.ended(request, "error", size, { error: text }));
  step.toClient.push(encodeError(request.id, BAD_SERVER_ANSWER, text));
}

function response(state: GateState, message: Response): Step {
  const step = emptyStep();
  const size = message.bytes.length;
  state.answered = true;
  if (state.pinning?.isOwn(message.id)) return ownAnswer(state, state.pinning, message, step);
  const request = state.ofClient.answer(message.id);
  if (request === "late") return step;
  if (request === undefined) {
    state.counts.strayAnswers += 1;
    state.junk(step, "an answer to a request that is not open", size);
    return step;
  }
  state.observer?.onAnswer(message, request.event);
  try {
    if (message.ok) return result(state, message, request);
  } catch (fault) {
    if (!(fault instanceof Fault)) throw fault;
    fail(state, step, request, fault.reason, size);
    return step;
  }
  step.events.push(state.ended(request, "error", size));
  step.toClient.push(message.bytes);
  return step;
}

function result(state: GateState, message: Response, request: OpenRequest): Step {
  const size = message.bytes.length;
  const { list, method } = request;
  if (list !== undefined) {
    const kind = LISTED[list];
    const changes: EventDraft[] = [];
    const pinning = list === "tools" ? state.pinning : undefined;
    const filtered = filterList(message, list, state.limits, (name, definition) => {
      const shown = pinning === undefined || pinning.shows(name, definition, changes);
      return shown && state.allows(kind, name);
    });
    const details = { listed: filtered.kept, hidden: filtered.hidden + filtered.unreadable };
    const events = [...changes, state.ended(request, "ok", size, { details })];
    return { toServer: [], toClient: [filtered.line], events };
  }
  for (const asked of readInputMethods(message, state.limits)) {
    if (isLookalike(asked) || !state.allows("server_method", asked)) {
      const text = inputDeniedText(state.app, asked);
      const event = state.ended(request, "denied", size, { error: text });
      return { toServer: [], toClient: [encodeError(request.id, SERVER_METHOD_DENIED, text)], events: [event] };
    }
  }
  if (method === "initialize" || method === "server/discover") {
    const { line, lists, revision } = readIntroduction(message, state.limits);
    state.lists = lists;
    if (method === "initialize") state.revision = revision;
    return { toServer: [], toClient: [line], events: [state.ended(request, "ok", size)] };
  }
  const failed = method === "tools/call" && message.body.is("isError", "true");
  return { toServer: [], toClient: [message.bytes], events: [state.ended(request, failed ? "error" : "ok", size)] };
}

/** The list that the gate asked for itself: what waited for it goes on. */
function ownAnswer(state: GateState, pinning: Pinning, answer: Response | undefined, step: Step): Step {
  const next = pinning.answer(answer, step.events);
  if ("ask" in next) {
    step.toServer.push(next.ask);
    return step;
  }
  for (const { call, allowed } of next.released) {
    if (state.ofClient.get(call.id) === undefined) continue;
    // The rules may have changed while it waited.
    const refusal = allowed ? refusalOf(state, call) : { text: pinnedText(state, call) };
    if (refusal === undefined) {
      step.toServer.push(call.bytes);
      continue;
    }
    const request = state.ofClient.answer(call.id);
    if (request === undefined || request === "late") continue;
    const { text } = refusal;
    state.counts.denied += 1;
    step.events.push(state.ended(request, "denied", 0, { error: text }));
    step.toClient.push(encodeError(call.id, INVALID_PARAMS, text));
  }
  return step;
}

const LISTED = { tools: "tool", prompts: "prompt", resources: "resource", templates: "template" } as const;

/** Sampling, elicitation, roots, ping and whatever a rule allows. */
function request(state: GateState, message: Request): Step {
  const { id, method } = message;
  const step = emptyStep();
  if (state.ofServer.isTaken(id)) {
    // No answer: an error with this id would end the request that is open.
    state.junk(step, "a request with the id of an open one", message.bytes.length);
    return step;
  }
  const event = { event: "mcp.session.request", uid: state.newUid(), from: "server", method } as const;
  const allowed = !isLookalike(method) && !isOtherKind(method, "request") && state.allows("server_method", method);
  if (!allowed || state.ofServer.full) {
    const text = allowed ? FULL_TEXT : serverDeniedText(state.app, method);
    const ended: EventDraft = {
      event: "mcp.session.response",
      uid: state.newUid(),
      from: "client",
      request: event.uid,
      method,
      outcome: allowed ? "error" : "denied",
      success: false,
      duration_ms: 0,
      size: 0,
    };
    step.events.push({ ...event, success: false, error: text }, ended);
    step.toServer.push(encodeError(id, allowed ? TOO_MANY_REQUESTS : METHOD_NOT_FOUND, text));
    return step;
  }
  state.ofServer.add({ id, method, list: undefined, event: event.uid, at: state.now(), asks: [], listens: [] });
  step.events.push({ ...event, success: true });
  step.toClient.push(message.bytes);
  return step;
}

/** A server may send progress hundreds of times a second: beyond a rate, whoever records the events counts them instead. */
function notification(state: GateState, message: Notification): Step {
  const step = emptyStep();
  const { method, target } = message;
  const size = message.bytes.length;
  let line = message.bytes;
  if (isLookalike(method) || isOtherKind(method, "notification") || !state.allows("server_method", method)) {
    state.junk(step, "a notification that is not allowed", size);
    return step;
  }
  if (target.kind === "resource" && !state.allows("resource", target.uri)) return step;
  if (method === "notifications/tools/list_changed") state.pinning?.forget();
  if (target.kind === "cancelled") {
    const cancelled = target.id === undefined ? undefined : state.ofServer.giveUp(target.id);
    if (cancelled !== undefined) step.events.push(state.ended(cancelled, "cancelled", 0, { from: "server" }));
    else if (target.id === undefined || !endListening(state, step, target.id)) return step;
  }
  if (target.kind === "listen" && target.id !== undefined) {
    const listening = state.ofClient.get(target.id);
    if (listening?.method === "subscriptions/listen") {
      const ours = listening.asks.filter((list) => state.lists.includes(list));
      listening.listens = [...new Set([...target.lists, ...ours])];
      line = acknowledgeLists(message, ours, state.limits);
    }
  }
  step.events.push({ event: "mcp.session.notification", from: "server", method });
  step.toClient.push(line);
  return step;
}

/** On stdio a server ends a subscription by cancelling the client's request (2026-07-28). */
function endListening(state: GateState, step: Step, id: Request["id"]): boolean {
  if (state.ofClient.get(id)?.method !== "subscriptions/listen") return false;
  const request = state.ofClient.giveUp(id);
  if (request !== undefined) step.events.push(state.ended(request, "ok", 0, { from: "server" }));
  return true;
}
