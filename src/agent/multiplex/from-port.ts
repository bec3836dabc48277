/** What a session's client said, and its gate let through, on its way to a shared server. */
import { encodeError, encodeResult } from "../../mcp/encode.ts";
import { Fault, INVALID_PARAMS } from "../../mcp/fault.ts";
import { memberAt, textAt, withText } from "../../mcp/members.ts";
import type { Message, Notification, Request } from "../../mcp/message.ts";
import { Lookalikes } from "../../mcp/view.ts";
import { LEVEL, REQUEST_ID } from "./places.ts";
import { type Port, wantedLevel } from "./port.ts";
import { type MultiplexState, nothing, type Routed } from "./state.ts";

const TASK_KEYS = new Lookalikes(["taskId"]);
/** About what a server of several clients is not told. */
const NOT_FOR_SHARED = new Set([
  "notifications/initialized",
  "notifications/progress",
  "notifications/roots/list_changed",
  "notifications/tasks/status",
]);

export function fromPort(state: MultiplexState, port: Port, message: Message): Routed {
  const step = nothing();
  if (!state.ports.has(port)) return step;
  if (message.kind === "request") request(state, port, message, step);
  else if (message.kind === "notification") notification(port, message, step);
  return step;
}

function request(state: MultiplexState, port: Port, message: Request, step: Routed): void {
  const { method, target, bytes } = message;
  port.noteLevel(message);
  switch (method) {
    case "initialize":
      initialize(state, port, message, step);
      return;
    case "logging/setLevel": {
      const known = port.setLevel(memberAt(bytes, LEVEL));
      const wanted = JSON.stringify(wantedLevel(state.ports));
      step.toServer.push(state.requests.forward(port, message, known ? withText(bytes, LEVEL, wanted) : bytes));
      return;
    }
    case "resources/subscribe":
      if (target.kind === "resource") port.subscribe(target.uri);
      break;
    case "resources/unsubscribe":
      if (target.kind === "resource") {
        port.unsubscribe(target.uri);
        // Somebody else still wants to hear of it.
        if (state.isSubscribed(target.uri)) {
          step.toPorts.push({ port, bytes: encodeResult(textAt(bytes, ["id"]) ?? "null", "{}") });
          return;
        }
      }
      break;
    default:
      if (method.startsWith("tasks/") && !isOwnTask(state, port, message)) {
        const text = "no such task of this session, and the server is shared";
        step.toPorts.push({ port, bytes: encodeError(message.id, INVALID_PARAMS, text) });
        return;
      }
  }
  step.toServer.push(state.requests.forward(port, message));
}

function initialize({ handshake, requests }: MultiplexState, port: Port, message: Request, step: Routed): void {
  port.initialized = false;
  const { answer, ask } = handshake.join(port, message);
  if (answer !== undefined) step.toPorts.push({ port, bytes: answer });
  if (ask !== undefined) step.toServer.push(requests.ask("initialize", ask));
}

function notification(port: Port, { method, target, bytes }: Notification, step: Routed): void {
  if (method === "notifications/initialized") port.initialized = true;
  if (NOT_FOR_SHARED.has(method)) return;
  if (target.kind !== "cancelled") {
    step.toServer.push(bytes);
    return;
  }
  // The request stays open: its answer may be under way, and the gate knows what to do with it.
  const fresh = target.id === undefined ? undefined : port.open.get(target.id);
  if (fresh !== undefined) step.toServer.push(withText(bytes, REQUEST_ID, String(fresh)));
}

function isOwnTask(state: MultiplexState, port: Port, { bytes, params }: Request): boolean {
  try {
    params?.refuseLookalikes(TASK_KEYS);
  } catch (fault) {
    if (fault instanceof Fault) return false;
    throw fault;
  }
  const task = memberAt(bytes, ["params", "taskId"]);
  return typeof task === "string" && state.tasks.get(task) === port;
}
