/**
 * The relay: joins a client's connection to the agent's connection for the same session, and copies frames. The proxy decides
 * whether the user may reach the app (`client-attach.ts`) and signs the grant; what the user may do there is the agent's gate's.
 *
 *     client ──attach──▶ relay ──session.open, grant──▶ agent        (control connection)
 *                        relay ◀──accept──────────────── agent        (a connection of the session's own)
 *     client ◀═════════ frames, unread ═════════════════▶ agent
 *
 * Two connections that were joined live and die together: when one is lost the other is closed, and the client dials
 * again. So there is one way to begin and to go on, and it is authorised every time.
 */
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Session } from "../store/sessions.ts";
import { AgentCalls } from "./agent-calls.ts";
import { CallSpans } from "./call-spans.ts";
import { type AttachOptions, takeAttach } from "./client-attach.ts";
import { Placement } from "./placement.ts";
import { SessionGrants, type SessionGrantsOptions } from "./session-grants.ts";
import type { Endpoint, Socket } from "./socket.ts";
import { Tally } from "./tally.ts";

export interface RelayOptions extends Omit<AttachOptions, "placement">, SessionGrantsOptions {
  log: Log;
  spans?: CallSpans;
}

/** A proof is 8 KiB at the most, and there is little else in an `attach` or an `accept`. Characters. */
const MAX_ANSWER = 32 * 1024;

export class Relay {
  readonly #log: Log;
  readonly #now: () => number;
  readonly #attaching: AttachOptions;
  readonly #grants: SessionGrants;
  readonly #calls: AgentCalls;
  readonly #spans: CallSpans;
  /** The client's newest connection of each session; one that it replaces is closed. */
  readonly #clients = new Map<string, Socket>();
  /** Of each client's connection that was joined: its session. */
  readonly #sids = new Map<Socket, string>();
  /** Sessions since the start. */
  readonly counts = { opened: 0, resumed: 0 };

  constructor(options: RelayOptions) {
    const placement = new Placement();
    this.#log = options.log;
    this.#now = options.now;
    this.#attaching = { ...options, placement };
    this.#grants = new SessionGrants(options);
    this.#calls = new AgentCalls({ ...options, placement, grants: this.#grants });
    this.#spans = options.spans ?? new CallSpans(undefined);
  }

  /** Where clients come in. */
  readonly clients: Endpoint = {
    maxAnswer: MAX_ANSWER,
    tally: new Tally(),
    onAnswer: (socket, text) => this.#onAttach(socket, text),
    onText: (socket, text) => this.#spans.fromClient(socket, text),
    onClose: (socket) => this.#onLost(socket),
  };

  /** Where agents dial in for one session each. */
  readonly agentSessions: Endpoint = {
    maxAnswer: MAX_ANSWER,
    tally: new Tally(),
    onAnswer: (socket, text) => this.#calls.accept(socket, text),
    onText: (socket, text) => this.#spans.fromAgent(socket, text),
    onClose: (socket) => this.#onLost(socket),
  };

  get joinedSessions(): ReadonlySet<string> {
    return new Set(this.#clients.keys());
  }

  /** Cuts the session's connections, if there are any. */
  cut(sid: string, reason: string): void {
    this.#clients.get(sid)?.refuse(new Failure("session_gone", reason));
  }

  /** The agent's control connection is lost. */
  agentGone(agent: string): void {
    this.#calls.agentGone(agent);
  }

  /** The session that this is for is not over where its agent does not take it. */
  hasAnother(attach: string): boolean {
    return this.#calls.hasAnother(attach);
  }

  /** The agent could not serve the grant. */
  refused(attach: string, failure: Failure): void {
    this.#calls.refused(attach, failure);
  }

  /** The agent has the session no more: whoever waits for it, or still believes in it, is told. */
  lost(sid: string, reason: string): void {
    const failure = new Failure("session_gone", `the session has ended: ${reason}`);
    this.#calls.lost(sid, failure);
    this.#clients.get(sid)?.refuse(failure);
  }

  /** The rules of a live session as they are now, signed. Throws as `SessionGrants.current` does. */
  currentGrant(session: Session): Promise<string> {
    return this.#grants.current(session);
  }

  async #onAttach(socket: Socket, text: string): Promise<void> {
    const attached = await takeAttach(this.#attaching, socket, text);
    if (attached === undefined) return;
    const { login, begun, others } = attached;
    const { session, accepted } = await this.#calls.call(begun, others, attached.link, () => !socket.closed);
    const { socket: agentSocket, resumeWindow, link } = accepted;
    const { sid, app, agent } = session;

    if (socket.closed || agentSocket.closed) {
      agentSocket.close("the other end's connection is lost");
      throw new Failure("unavailable", "the connection was lost while the session opened");
    }
    this.#clients.get(sid)?.close("replaced by a newer connection");
    this.#clients.set(sid, socket);
    // The proof was good until now; at the login's end the client has to come again, and is told what it needs.
    socket.closeAfter(login.expiresAt - this.#now(), "the login has expired");
    this.#sids.set(socket, sid);
    socket.peer = agentSocket;
    agentSocket.peer = socket;
    this.#spans.joined(socket, { sid, app, agent });
    this.counts[begun.created ? "opened" : "resumed"] += 1;
    agentSocket.sendText({ t: "joined", agent, link });
    socket.sendText({ t: "joined", agent, resume_window: resumeWindow, link });
    this.#log.info(begun.created ? "session.opened" : "session.resumed", { sid, app, user: login.user, agent });
  }

  #onLost(socket: Socket): void {
    const peer = socket.peer;
    socket.peer = undefined;
    const sid = this.#sids.get(socket);
    if (sid !== undefined) {
      this.#spans.lost(socket);
      this.#sids.delete(socket);
      if (this.#clients.get(sid) === socket) this.#clients.delete(sid);
    }
    if (peer !== undefined) {
      peer.peer = undefined;
      peer.close("the other end's connection is lost");
    }
  }
}
