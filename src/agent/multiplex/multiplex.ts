/**
 * Several sessions and one server, which believes that it has one client. Ids, progress tokens, cancellations,
 * subscriptions and tasks are kept apart; every other byte stays as it came. Pure: lines in, lines out.
 *
 * The server is told of no client capabilities, so that it has nothing to ask; what it asks nevertheless gets an error.
 * What it tells unasked goes to whom it is about. That a list has changed is about all. Log messages (below 2026-07-28 they
 * name no request) go to all sessions of one person, each with its own level; where several people share the server, and
 * for whatever else can't be attributed, they go to nobody.
 */
import { encodeNotification } from "../../mcp/encode.ts";
import type { Line } from "../../mcp/lines.ts";
import type { Message } from "../../mcp/message.ts";
import { fromPort } from "./from-port.ts";
import { fromServer } from "./from-server.ts";
import { STATELESS } from "./handshake.ts";
import { Port, wantedLevel } from "./port.ts";
import { MultiplexState, nothing, type Routed } from "./state.ts";

export interface MultiplexOptions {
  /** Whether all sessions are one person's. */
  onePerson: boolean;
  /** Makes what no session can guess. */
  random?: () => string;
}

export class Multiplex {
  readonly #state: MultiplexState;

  constructor({ onePerson, random = () => crypto.randomUUID() }: MultiplexOptions) {
    this.#state = new MultiplexState(onePerson, random);
  }

  /** Sessions that are there. */
  get size(): number {
    return this.#state.ports.size;
  }

  /** Whether the server has answered anything yet. */
  get answered(): boolean {
    return this.#state.answered;
  }

  /** Whether the session waits for the server, be it for the handshake. */
  waits(port: Port): boolean {
    return port.open.size > 0 || this.#state.handshake.waits(port);
  }

  open(): Port {
    const port = new Port();
    this.#state.ports.add(port);
    return port;
  }

  /** The session is gone: what it asked is cancelled, and what only it had the server do is taken back. */
  close(port: Port): Routed {
    const { ports, requests, handshake, tasks } = this.#state;
    const step = nothing();
    if (!ports.has(port)) return step;
    const before = wantedLevel(ports);
    ports.delete(port);
    handshake.leave(port);
    for (const requestId of requests.leave(port)) {
      step.toServer.push(encodeNotification("notifications/cancelled", { requestId, reason: "the session ended" }));
    }
    for (const [task, owner] of tasks) if (owner === port) tasks.delete(task);
    for (const uri of port.subscriptions.keys()) {
      if (!this.#state.isSubscribed(uri)) step.toServer.push(requests.ask("resources/unsubscribe", { uri }));
    }
    const after = wantedLevel(ports);
    if (handshake.done && after !== undefined && after !== before) {
      step.toServer.push(requests.ask("logging/setLevel", { level: after }));
    }
    return step;
  }

  /** A request that any server answers, if only with an error, and that changes nothing; undefined where there is none. */
  probe(modern: boolean): Uint8Array | undefined {
    const { requests, handshake } = this.#state;
    if (handshake.done) return requests.ask("ping", {});
    // The one that leaves open which era a server is in: a ping would decide it for some.
    return modern ? requests.ask("server/discover", { _meta: STATELESS }) : undefined;
  }

  /** What a session's client said, and its gate let through. */
  fromPort(port: Port, message: Message): Routed {
    return fromPort(this.#state, port, message);
  }

  fromServer(line: Line): Routed {
    return fromServer(this.#state, line);
  }
}
