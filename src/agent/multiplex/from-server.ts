/** One line of a shared server on its way to whom it is for. */
import { isBatch, splitBatch } from "../../mcp/batch.ts";
import { decode } from "../../mcp/codec.ts";
import { encodeError, encodeNotification, encodeResult } from "../../mcp/encode.ts";
import { BAD_SERVER_ANSWER, METHOD_NOT_FOUND } from "../../mcp/fault.ts";
import { guessAtEdges } from "../../mcp/id.ts";
import type { Line } from "../../mcp/lines.ts";
import { memberAt, textAt, withText } from "../../mcp/members.ts";
import { DEFAULT_CODEC_LIMITS, type Invalid, type Notification, type Response } from "../../mcp/message.ts";
import { LEVEL, PROGRESS_TOKEN, REQUEST_ID, SUBSCRIPTION } from "./places.ts";
import type { Port } from "./port.ts";
import { type MultiplexState, nothing, type Routed } from "./state.ts";

/** A server of 2026-07-28 that speaks another revision of that era. */
const UNSUPPORTED_VERSION = -32022;
const LIST_CHANGES = new Set(["tools", "prompts", "resources"].map((list) => `notifications/${list}/list_changed`));

export function fromServer(state: MultiplexState, line: Line): Routed {
  const step = nothing();
  if (!("bytes" in line)) {
    const reason = line.crowded
      ? `no room for a line of ${line.overflow} bytes: too many large messages are under way, try again later`
      : `the line is longer than ${DEFAULT_CODEC_LIMITS.maxBytes} bytes`;
    const guess = guessAtEdges(line.head, line.tail);
    refuse(state, { kind: "invalid", code: BAD_SERVER_ANSWER, reason, ...guess, blank: false }, step);
  } else if (state.handshake.revision === "2025-03-26" && isBatch(line.bytes)) {
    const lines = splitBatch(line.bytes, DEFAULT_CODEC_LIMITS);
    if (Array.isArray(lines)) for (const own of lines) read(state, own, step);
    else refuse(state, lines, step);
  } else {
    read(state, line.bytes, step);
  }
  return step;
}

function read(state: MultiplexState, bytes: Uint8Array, step: Routed): void {
  const message = decode(bytes);
  switch (message.kind) {
    case "response":
      response(state, message, step);
      break;
    case "notification":
      notification(state, message, step);
      break;
    case "request":
      step.toServer.push(
        message.method === "ping"
          ? encodeResult(textAt(message.bytes, ["id"]) ?? "null", "{}")
          : encodeError(message.id, METHOD_NOT_FOUND, "mcpgate: the server is shared, so there is nobody to ask"),
      );
      break;
    case "invalid":
      refuse(state, message, step);
  }
}

/** Whoever waits for the answer that it may have been gets an error. */
function refuse(state: MultiplexState, { id, shape, code, reason, blank }: Invalid, step: Routed): void {
  if (blank) return;
  step.junk.push(reason);
  if (id === undefined) return;
  if (shape === "request") step.toServer.push(encodeError(id, code, `mcpgate: ${reason}`));
  const open = shape === "response" ? state.requests.take(id) : undefined;
  if (open === undefined) return;
  const text = `the server's answer can't be forwarded: ${reason}`;
  const to = open.method === "initialize" ? state.handshake.takeWaiting() : [open];
  for (const each of to) {
    if (each.port === undefined) continue;
    step.toPorts.push({ port: each.port, bytes: encodeError(each.id, BAD_SERVER_ANSWER, text) });
  }
}

function response(state: MultiplexState, message: Response, step: Routed): void {
  const { id, ok, bytes } = message;
  state.answered = true;
  const open = state.requests.take(id);
  if (open === undefined) return;
  const { port, idText, method, uri } = open;
  if (method === "initialize" && port === undefined) {
    introduced(state, message, step);
    return;
  }
  if (port === undefined) return;
  if (!ok && uri !== undefined) port.unsubscribe(uri);
  if (!ok && method === "server/discover" && memberAt(bytes, ["error", "code"]) !== UNSUPPORTED_VERSION) {
    step.unknown = bytes;
  }
  if (ok) noteTask(state, port, message);
  step.toPorts.push({ port, bytes: withText(bytes, ["id"], idText) });
}

function introduced({ handshake }: MultiplexState, message: Response, step: Routed): void {
  handshake.answered(message);
  if (message.ok) step.toServer.push(encodeNotification("notifications/initialized"));
  else step.refused = true;
  for (const { port, idText } of handshake.takeWaiting()) {
    step.toPorts.push({ port, bytes: withText(message.bytes, ["id"], idText) });
  }
}

/** A task belongs to the session whose request became one. */
function noteTask({ tasks }: MultiplexState, port: Port, { body, bytes }: Response): void {
  const nested = body.find("task") !== -1;
  if (!nested && body.find("taskId") === -1) return;
  const task = memberAt(bytes, nested ? ["result", "task", "taskId"] : ["result", "taskId"]);
  if (typeof task === "string" && !tasks.has(task)) tasks.set(task, port);
}

function notification(state: MultiplexState, { method, target, params, bytes }: Notification, step: Routed): void {
  const { ports, requests, handshake } = state;
  const to = (port: Port, line = bytes): void => void step.toPorts.push({ port, bytes: line });
  const subscription = params === undefined ? undefined : memberAt(bytes, SUBSCRIPTION);
  if (subscription !== undefined) {
    const open = requests.find(subscription);
    if (open?.port !== undefined) to(open.port, withText(bytes, SUBSCRIPTION, open.idText));
    return;
  }
  if (LIST_CHANGES.has(method)) {
    for (const port of ports) if (port.initialized || !handshake.done) to(port);
    return;
  }
  if (target.kind === "resource") {
    for (const port of ports) if (port.hearsOf(target.uri)) to(port);
    return;
  }
  switch (method) {
    case "notifications/progress": {
      const owner = requests.findToken(memberAt(bytes, PROGRESS_TOKEN));
      if (owner !== undefined) to(owner.port, withText(bytes, PROGRESS_TOKEN, owner.text));
      return;
    }
    case "notifications/cancelled": {
      // A server ends a subscription so (2026-07-28).
      const fresh = target.kind === "cancelled" ? target.id : undefined;
      if (requests.find(fresh)?.method !== "subscriptions/listen") return;
      const open = requests.take(fresh);
      if (open?.port !== undefined) to(open.port, withText(bytes, REQUEST_ID, open.idText));
      return;
    }
    case "notifications/tasks/status": {
      const task = memberAt(bytes, ["params", "taskId"]);
      const owner = typeof task === "string" ? state.tasks.get(task) : undefined;
      if (owner !== undefined) to(owner);
      return;
    }
    case "notifications/message": {
      if (!state.onePerson) return;
      const level = memberAt(bytes, LEVEL);
      for (const port of ports) if (port.wants(level, handshake.done)) to(port);
    }
  }
}
