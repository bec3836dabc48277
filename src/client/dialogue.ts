/**
 * What an MCP client and its server say to each other, also when the server is another one in the middle of it: each message
 * as the other side gets it, and what has to be known of it for the next session.
 */
import type { Message, Notification, Response } from "../mcp/message.ts";
import { Handshake } from "./handshake.ts";
import { type Call, OpenCalls } from "./open-calls.ts";
import { OwnRequests } from "./own-requests.ts";
import { ServerRequests } from "./server-requests.ts";
import { ServerState } from "./server-state.ts";

const KEPT = (method: string): boolean => method === "initialize" || ServerState.keeps(method);

export class Dialogue {
  /** What the client waits for. */
  readonly calls: OpenCalls;
  /** What servers asked the client. */
  readonly asked = new ServerRequests();
  /** What mcpgate asked the server. */
  readonly own = new OwnRequests();
  readonly handshake = new Handshake();
  readonly kept = new ServerState();

  /** `now`: monotonic milliseconds. */
  constructor(now: () => number) {
    this.calls = new OpenCalls(KEPT, now);
  }

  /** The client begins anew, with whatever server there is. */
  forget(): void {
    this.handshake.forget();
    this.kept.forget();
  }

  /** A client's message that is no request, as the server gets it; undefined where it is not for this one. */
  toServer(message: Response | Notification): Uint8Array | undefined {
    if (message.kind === "response") return this.asked.answer(message);
    const { method, target, bytes } = message;
    if (target.kind === "cancelled" && target.id !== undefined) this.calls.remove(target.id);
    if (method === "notifications/initialized") this.handshake.initialized(bytes);
    return method === "notifications/progress" ? this.asked.progress(message) : bytes;
  }

  /** A server's message as the client gets it; undefined where it is not for it. */
  toClient(message: Exclude<Message, { kind: "invalid" }>): Uint8Array | undefined {
    if (message.kind === "request") return this.asked.ask(message);
    if (message.kind === "notification") {
      if (message.method === "notifications/cancelled") return this.#onCancelled(message);
      if (message.method === "notifications/progress" && !this.calls.passes(message)) return undefined;
      return message.bytes;
    }
    if (this.own.answered(message)) return undefined;
    const call = this.calls.remove(message.id);
    if (call !== undefined && message.ok && KEPT(call.method)) this.#learn(call, message);
    return message.bytes;
  }

  #learn(call: Call, response: Response): void {
    if (call.method === "initialize") this.handshake.answered(call, response);
    else this.kept.answered(call);
  }

  /** On stdio, a server without handshake ends a subscription so (2026-07-28): no answer follows. */
  #onCancelled(message: Notification): Uint8Array {
    const shown = this.asked.cancelled(message);
    if (shown !== undefined) return shown;
    const { target, bytes } = message;
    if (target.kind === "cancelled" && target.id !== undefined) this.calls.endListening(target.id);
    return bytes;
  }
}
