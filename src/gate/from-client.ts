/** One line of the client: decided, recorded, and then forwarded, answered or dropped. */
import type { EventDraft } from "../event.ts";
import { decode } from "../mcp/codec.ts";
import { encodeError } from "../mcp/encode.ts";
import { INVALID_PARAMS, INVALID_REQUEST, SERVER_GONE, TOO_MANY_REQUESTS } from "../mcp/fault.ts";
import type { Id, Invalid, Notification, Request, Response } from "../mcp/message.ts";
import { isLookalike, isOtherKind } from "./methods.ts";
import type { OpenRequest } from "./open-requests.ts";
import type { Verdict } from "./pinning.ts";
import { pinnedText, type Refusal, refusalOf, targetAllowed } from "./refusal.ts";
import type { GateState } from "./state.ts";
import { emptyStep, type Step } from "./step.ts";
import { subject } from "./subject.ts";
import { deniedText, FULL_TEXT, TAKEN_TEXT } from "./texts.ts";

/** `inBatch`: the line is one message of a batch (2025-03-26). */
export function fromClient(state: GateState, line: Uint8Array, inBatch = false): Step {
  const message = decode(line, state.limits);
  switch (message.kind) {
    case "request":
      if (inBatch && message.method === "initialize") {
        return refuseInvalid(state, { ...BATCHED_HANDSHAKE, id: message.id }, line.length);
      }
      return request(state, message);
    case "notification":
      return notification(state, message);
    case "response":
      return response(state, message);
    case "invalid":
      return message.blank ? emptyStep() : refuseInvalid(state, message, line.length);
  }
}

/** The revision says that it must not be there: the batch would be over before it is known whether there are batches. */
const BATCHED_HANDSHAKE: Invalid = {
  kind: "invalid",
  code: INVALID_REQUEST,
  reason: "initialize in a batch",
  shape: "request",
  blank: false,
};

/** A line of the client that is not forwarded: an error to the client, and to the server if it waits for this answer. */
export function refuseInvalid(state: GateState, invalid: Invalid, size: number): Step {
  const step = emptyStep();
  const { id, shape } = invalid;
  step.events.push(state.invalid("client", invalid.reason, size));
  const answered = shape === "response" && id !== undefined ? state.ofServer.giveUp(id) : undefined;
  if (answered !== undefined) {
    step.events.push(state.ended(answered, "error", size, { from: "client", error: invalid.reason }));
    step.toServer.push(encodeError(answered.id, INVALID_REQUEST, `the client's answer was refused: ${invalid.reason}`));
  }
  // An id that is open belongs to another request: an error with it would be read as that one's answer.
  const own = id !== undefined && shape !== "response" && !state.ofClient.isTaken(id);
  step.toClient.push(encodeError(own ? id : null, invalid.code, `mcpgate: ${invalid.reason}`));
  return step;
}

function request(state: GateState, message: Request): Step {
  const { id, method, target } = message;
  if (state.closed) return emptyStep();
  if (state.ofClient.isTaken(id)) {
    return refuse(state, message, null, { code: INVALID_REQUEST, text: TAKEN_TEXT, outcome: "error" });
  }
  const refusal = refusalOf(state, message);
  if (refusal !== undefined) return refuse(state, message, id, { ...refusal, outcome: "denied" });
  if (state.ofClient.full) {
    return refuse(state, message, id, { code: TOO_MANY_REQUESTS, text: FULL_TEXT, outcome: "error" });
  }
  if (state.gone !== undefined) {
    return refuse(state, message, id, { code: SERVER_GONE, text: state.gone.text, outcome: "error" });
  }
  const { verdict, ask } = state.pinning?.judge(message, state.now()) ?? PASS;
  if (verdict === "refuse") {
    return refuse(state, message, id, { code: INVALID_PARAMS, text: pinnedText(state, message), outcome: "denied" });
  }
  const event = requestEvent(state, message, { success: true });
  state.ofClient.add({
    id,
    method,
    list: target.kind === "list" ? target.list : undefined,
    event: event.uid,
    at: state.now(),
    asks: target.kind === "listen" ? target.lists : [],
    listens: [],
  });
  const toServer = ask === undefined ? [] : [ask];
  if (verdict === "pass") toServer.push(message.bytes);
  return { toServer, toClient: [], events: [event] };
}

const PASS: Verdict = { verdict: "pass" };

function refuse(
  state: GateState,
  message: Request,
  answerTo: Id | null,
  { code, text, fault, outcome }: Refusal & { outcome: "denied" | "error" },
): Step {
  state.counts.denied += 1;
  const details = fault === undefined ? {} : { details: { condition: fault } };
  const event = requestEvent(state, message, { success: false, error: text, ...details });
  const ended: EventDraft = {
    event: "mcp.session.response",
    uid: state.newUid(),
    request: event.uid,
    method: message.method,
    outcome,
    success: false,
    duration_ms: 0,
    size: 0,
  };
  return { toServer: [], toClient: [encodeError(answerTo, code, text)], events: [event, ended] };
}

function notification(state: GateState, message: Notification): Step {
  const { method, target } = message;
  const allowed =
    !isLookalike(method) &&
    !isOtherKind(method, "notification") &&
    state.allows("method", method) &&
    targetAllowed(state, target);
  const event: EventDraft = { event: "mcp.session.notification", uid: state.newUid(), from: "client", method };
  if (!allowed) {
    state.counts.denied += 1;
    const error = deniedText(state.app, method, target);
    return { toServer: [], toClient: [], events: [{ ...event, success: false, error, ...subject(state, message) }] };
  }
  event.success = true;
  const step: Step = { toServer: [], toClient: [], events: [event] };
  if (target.kind === "cancelled") {
    // A call that waits for the gate's own list has not reached the server: nothing late will come.
    const waits = target.id !== undefined && state.pinning?.withdraw(target.id) === true;
    const cancelled = target.id === undefined ? undefined : cancel(state, target.id, waits);
    if (cancelled === undefined) {
      // Answered already, or never asked: there is nothing that the server could cancel.
      event.details = { dropped: "the request is not open" };
      return step;
    }
    event.request = cancelled.event;
    step.events.push(state.ended(cancelled, "cancelled", 0));
    if (waits) return step;
  }
  if (method === "notifications/initialized") state.initialized = true;
  if (state.gone === undefined) step.toServer.push(message.bytes);
  return step;
}

function cancel(state: GateState, id: Id, unsent: boolean): OpenRequest | undefined {
  if (!unsent) return state.ofClient.giveUp(id);
  const request = state.ofClient.answer(id);
  return request === "late" ? undefined : request;
}

/** The client's answer to a request of the server. */
function response(state: GateState, message: Response): Step {
  const step = emptyStep();
  const asked = state.ofServer.answer(message.id);
  if (asked === "late") return step;
  if (asked === undefined) {
    step.events.push(state.invalid("client", "an answer to a request that is not open", message.bytes.length));
    return step;
  }
  step.events.push(state.ended(asked, message.ok ? "ok" : "error", message.bytes.length, { from: "client" }));
  if (state.gone === undefined) step.toServer.push(message.bytes);
  return step;
}

function requestEvent(state: GateState, message: Request, outcome: Partial<EventDraft>) {
  const uid = state.newUid();
  const { method } = message;
  const event = {
    event: "mcp.session.request",
    uid,
    from: "client",
    method,
    ...subject(state, message),
    ...outcome,
  } satisfies EventDraft;
  state.observer?.onRequest(message, event);
  return event;
}
