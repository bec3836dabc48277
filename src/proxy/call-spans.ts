/**
 * The proxy's part of the traces of calls. It reads no frames: where a client traces, it says beside them which call belongs to
 * which trace, and the agent says when the call was answered. Between the two is the proxy's span, if it traces itself; if
 * not, what it was told goes on as it came.
 */
import { parseMessage } from "../link/protocol.ts";
import { MAX_TRACE, type TraceHint, trace, traced } from "../link/trace-messages.ts";
import type { Span, Tracer } from "../observe/span.ts";
import type { Socket } from "./socket.ts";

/** Of one connection, calls that are not answered; what comes beyond goes untraced. */
const MAX_OPEN = 1024;
/** Calls of one connection that are announced to its agent in a second: no window holds these messages back. */
const MAX_A_SECOND = 1000;

export class CallSpans {
  readonly #tracer: Tracer | undefined;
  readonly #now: () => number;
  readonly #bySocket = new WeakMap<Socket, State>();

  /** `now`: monotonic milliseconds. */
  constructor(tracer: Tracer | undefined, now = () => performance.now()) {
    this.#tracer = tracer;
    this.#now = now;
  }

  /** The client's connection has its other end now. */
  joined(client: Socket, about: Joined): void {
    this.#bySocket.set(client, { about, open: new Map(), since: this.#now(), count: 0 });
  }

  /** A text message of a client whose session runs. */
  fromClient(client: Socket, text: string): void {
    const state = this.#bySocket.get(client);
    if (state === undefined || text.length > MAX_TRACE) return;
    const hint = parseMessage(trace, text);
    if (hint === undefined) {
      this.#onTraced(client, text);
      return;
    }
    const { about, open } = state;
    const { t, id, traceparent, tracestate } = hint;
    if (open.has(id) || open.size >= MAX_OPEN || this.#isFlood(state)) return;
    const { sid, app, agent } = about;
    const span = this.#tracer?.start({
      name: "relay",
      kind: "internal",
      parent: { traceparent, tracestate },
      attributes: { "mcp.session.id": sid, "mcpgate.app": app, "mcpgate.agent": agent },
    });
    open.set(id, span);
    client.peer?.sendText({ t, id, ...(span?.context ?? { traceparent, tracestate }) } satisfies TraceHint);
  }

  /** A text message of the agent, on the session's connection. */
  fromAgent(agent: Socket, text: string): void {
    if (agent.peer !== undefined && text.length <= MAX_TRACE) this.#onTraced(agent.peer, text);
  }

  /** The connection is gone. Its calls may go on over the next one, without a span here. */
  lost(client: Socket): void {
    for (const span of this.#bySocket.get(client)?.open.values() ?? []) span?.end("connection_lost");
    this.#bySocket.delete(client);
  }

  #isFlood(state: State): boolean {
    const now = this.#now();
    if (now - state.since >= 1000) Object.assign(state, { since: now, count: 0 });
    state.count += 1;
    return state.count > MAX_A_SECOND;
  }

  #onTraced(client: Socket, text: string): void {
    const done = parseMessage(traced, text);
    const open = this.#bySocket.get(client)?.open;
    if (done === undefined || open === undefined) return;
    open.get(done.id)?.end();
    open.delete(done.id);
  }
}

interface State {
  about: Joined;
  open: Map<TraceHint["id"], Span | undefined>;
  /** When the second began in which so many calls were announced. */
  since: number;
  count: number;
}

/** Which session a connection is for. */
export interface Joined {
  sid: string;
  app: string;
  agent: string;
}
