/**
 * The relay: joins a client's connection to the agent's connection for the same session, and copies frames. It decides
 * whether the user may reach the app and signs the grant; what the user may do there is the agent's gate's.
 *
 *     client ──attach──▶ relay ──session.open, grant──▶ agent        (control connection)
 *                        relay ◀──accept──────────────── agent        (a connection of the session's own)
 *     client ◀═════════ frames, unread ═════════════════▶ agent
 *
 * Two connections that were joined live and die together: when one is lost the other is closed, and the client dials
 * again. So there is one way to begin and to go on, and it is authorised every time.
 */
import { closeSessions } from "../audit/sessions.ts";
import { recordEvents } from "../audit/store.ts";
import type { HostPort } from "../config/host-port.ts";
import { formatHostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { GRANT_LIFETIME_S, type Grant, signGrant } from "../identity/grant.ts";
import type { KeyPair } from "../identity/keys.ts";
import { verifyProof } from "../identity/proof.ts";
import { publicUrl } from "../identity/url.ts";
import {
  AGENT_SESSION_PATH,
  accept,
  attach as attachMessage,
  CLIENT_PATH,
  parseMessage,
  type ToAgent,
} from "../link/protocol.ts";
import type { Log } from "../log.ts";
import { findAgent } from "../store/agents.ts";
import type { App } from "../store/apps.ts";
import { policyRevision } from "../store/meta.ts";
import { findSession, type Session } from "../store/sessions.ts";
import type { Store } from "../store/store.ts";
import type { Arrival, Asked, Begun, Standing } from "./admission.ts";
import type { Agents } from "./agents.ts";
import { CallSpans } from "./call-spans.ts";
import { Placement } from "./placement.ts";
import type { Endpoint, Socket } from "./socket.ts";
import type { RunJob } from "./store-jobs.ts";
import { Tally } from "./tally.ts";

export interface RelayOptions {
  store: Store;
  run: RunJob;
  log: Log;
  publicAddr: HostPort;
  clusterName: string;
  signingKey: KeyPair;
  now(): number;
  agents: Pick<Agents, "send" | "online" | "arrival" | "failing">;
  spans?: CallSpans;
}

/** How long an agent may take to dial for a session, milliseconds. */
const ACCEPT_MS = 5_000;
/** How long a client that comes back waits here for an agent that is away, milliseconds: less than its dial may take. */
const ARRIVAL_MS = 5_000;

/** A proof is 8 KiB at the most, and there is little else in an `attach` or an `accept`. Characters. */
const MAX_ANSWER = 32 * 1024;

/** The agent's connection for a session, and for how many seconds it keeps the session without its client. */
interface Accepted {
  socket: Socket;
  resumeWindow: number | undefined;
  link: number;
}

/** A client that waits for the agent's connection. */
interface Waiting {
  sid: string;
  agent: string;
  /** Where this agent does not take it, another one is asked. */
  another: boolean;
  joined: PromiseWithResolvers<Accepted>;
}

export class Relay {
  readonly #options: RelayOptions;
  readonly #waiting = new Map<string, Waiting>();
  /** The client's newest connection of each session; one that it replaces is closed. */
  readonly #clients = new Map<string, Socket>();
  readonly #placement = new Placement();
  readonly #spans: CallSpans;
  /** Sessions since the start. */
  readonly counts = { opened: 0, resumed: 0 };

  constructor(options: RelayOptions) {
    this.#options = options;
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
    onAnswer: (socket, text) => this.#onAccept(socket, text),
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

  /** The agent's control connection is lost: clients that wait for it come again, instead of waiting in vain. */
  agentGone(agent: string): void {
    for (const waiting of this.#waiting.values()) {
      if (waiting.agent === agent)
        waiting.joined.reject(new Failure("agent_offline", "the agent's connection was lost"));
    }
  }

  /** The session that this is for is not over where its agent does not take it. */
  hasAnother(attach: string): boolean {
    return this.#waiting.get(attach)?.another ?? false;
  }

  /** The agent could not serve the grant. */
  refused(attach: string, failure: Failure): void {
    this.#waiting.get(attach)?.joined.reject(failure);
  }

  /** The agent has the session no more: whoever waits for it, or still believes in it, is told. */
  lost(sid: string, reason: string): void {
    const failure = new Failure("session_gone", `the session has ended: ${reason}`);
    for (const waiting of this.#waiting.values()) if (waiting.sid === sid) waiting.joined.reject(failure);
    this.#clients.get(sid)?.refuse(failure);
  }

  /**
   * The rules of a live session as they are now, signed. Throws `Failure("not_found")` when its user may not reach the
   * app any more, `session_gone` when its agent offers it no more, `locked` when the user, a role of theirs, the app or its agent is locked.
   */
  async currentGrant(session: Session): Promise<string> {
    const { run, now } = this.#options;
    return this.#sign(session, crypto.randomUUID(), await run("readStanding", { session, now: now() }));
  }

  // --- clients ---

  async #onAttach(socket: Socket, text: string): Promise<void> {
    const { store, run, publicAddr, now, log } = this.#options;
    const message = parseMessage(attachMessage, text);
    if (message === undefined) throw new Failure("invalid", "the client's request is not of this version");
    const { sid, app } = message;
    const proof = await verifyProof(message.proof, {
      method: "GET",
      url: publicUrl(publicAddr, CLIENT_PATH),
      nonce: socket.nonce,
    });
    if (proof.claims.sid !== sid || proof.claims.app !== app) {
      throw new Failure("bad_proof", "the proof is for another session");
    }
    const asked = { jkt: proof.jkt, sid, app };
    let arrival = await this.#readArrival(asked);
    const away = this.#agentAway(arrival);
    if (away !== undefined) {
      // A session that paused: it goes on in the moment that its agent is back, or its client hears that it is over.
      await away;
      if (socket.closed) return;
      arrival = await this.#readArrival(asked);
    }
    const { login, refusal } = arrival;
    if (refusal !== undefined) {
      const about = { user: login.user, app, sid, remote: socket.remote };
      const event = { event: "mcp.session.start" as const, ...about, success: false, error: refusal.message };
      await recordEvents(store, [event], now());
      throw Failure.fromJSON(refusal);
    }
    const { chosen, others } = this.#choose(arrival);
    const { agentId, agent } = chosen;
    const begun = await run("beginSession", {
      ...{ sid, user: login.user, app, agentId, agent },
      ...{ clientJkt: proof.jkt, remote: socket.remote, now: now() },
    });
    const { created } = begun;
    if (begun.loggedOut !== undefined)
      throw await this.#loggedOut(begun.session, created, Failure.fromJSON(begun.loggedOut));
    const open = () => !socket.closed;
    const { session, accepted } = await this.#callAgents(begun, created ? others : [], message.link, open);
    const { socket: agentSocket, resumeWindow, link } = accepted;

    if (socket.closed || agentSocket.closed) {
      agentSocket.close("the other end's connection is lost");
      throw new Failure("unavailable", "the connection was lost while the session opened");
    }
    this.#clients.get(sid)?.close("replaced by a newer connection");
    this.#clients.set(sid, socket);
    // The proof was good until now; at the login's end the client has to come again, and is told what it needs.
    socket.closeAfter(login.expiresAt - now(), "the login has expired");
    this.#sids.set(socket, sid);
    socket.peer = agentSocket;
    agentSocket.peer = socket;
    this.#spans.joined(socket, { sid, app, agent: session.agent });
    this.counts[created ? "opened" : "resumed"] += 1;
    agentSocket.sendText({ t: "joined", agent: session.agent, link });
    socket.sendText({ t: "joined", agent: session.agent, resume_window: resumeWindow, link });
    log.info(created ? "session.opened" : "session.resumed", { sid, app, user: login.user, agent: session.agent });
  }

  /** The login ended while the session was put on record: a logout from then on finds it. */
  async #loggedOut({ sid, agentId }: Session, created: boolean, failure: Failure): Promise<Failure> {
    const { store, agents, now } = this.#options;
    // One that is only paused goes on after the next login.
    if (created || failure.code === "not_logged_in") {
      await closeSessions(store, { sid }, "logged out", now(), { cause: "logout" });
      agents.send(agentId, { t: "session.end", sid, reason: "logged out" });
    }
    return this.#toLogIn(failure);
  }

  async #readArrival(asked: Omit<Asked, "now">): Promise<Arrival> {
    const { run, now } = this.#options;
    return run("readArrival", { ...asked, now: now() }).catch((error: unknown) => {
      throw this.#toLogIn(Failure.from(error));
    });
  }

  /** With the command that helps. */
  #toLogIn(failure: Failure): Failure {
    const { code, message } = failure;
    if (code !== "not_logged_in" && code !== "login_expired") return failure;
    return new Failure(code, message, {
      hint: `mcpgate client login --proxy=${formatHostPort(this.#options.publicAddr)}`,
    });
  }

  /** The offer of the agent that has the session; for a new one that of the best agent, and those of others that are there. */
  #choose({ known, offers, load }: Arrival): { chosen: App; others: App[] } {
    const { agents } = this.#options;
    const online = agents.online();
    const fits = (agentId: string) => (known === undefined ? online.has(agentId) : agentId === known.agentId);
    const [chosen, ...others] = this.#placement.order(
      offers.filter(({ agentId }) => fits(agentId)),
      { load: new Map(load), failing: (agentId) => agents.failing(agentId, offers[0]?.name ?? "") },
    );
    if (chosen !== undefined) return { chosen, others };
    if (known !== undefined) throw new Failure("session_gone", "the session's agent does not offer the app any more");
    throw offline(offers[0]?.name ?? "", offers[0]?.agent ?? "");
  }

  /** The user's live session whose agent is away: resolves when the agent is back, or it has been waited for long enough. */
  #agentAway({ known, login }: Arrival): Promise<void> | undefined {
    if (known === undefined || known.endedAt !== undefined || known.user !== login.user) return undefined;
    return this.#options.agents.arrival(known.agentId, ARRIVAL_MS);
  }

  /** Where its agent does not take a new session, it goes to the next. `open`: its client is still there. */
  async #callAgents(
    begun: Begun,
    others: readonly App[],
    link: number[],
    open: () => boolean,
  ): Promise<{ session: Session; accepted: Accepted }> {
    const { run, agents, log, now } = this.#options;
    let at = begun;
    for (const { agentId, agent } of others) {
      try {
        return { session: at.session, accepted: await this.#callAgent(at, link, true) };
      } catch (error) {
        const { session } = at;
        const { code, message: reason } = Failure.from(error);
        if (code === "timeout") this.#placement.silent(session.agentId);
        const moved = open() ? await run("moveSession", { session, agentId, agent, reason, now: now() }) : undefined;
        if (moved === undefined) throw error;
        // One that is only slow may have begun.
        agents.send(session.agentId, { t: "session.end", sid: session.sid, reason: "another agent has the session" });
        log.warn("session.moved", { sid: session.sid, app: session.app, from: session.agent, to: agent, reason });
        at = moved;
      }
    }
    return { session: at.session, accepted: await this.#callAgent(at, link, false) };
  }

  async #callAgent({ session, created, standing }: Begun, link: number[], another: boolean): Promise<Accepted> {
    if ("failure" in standing) {
      const { store, now } = this.#options;
      const { message } = standing.failure;
      await closeSessions(store, { sid: session.sid }, message, now(), { cause: "not_started" });
      throw Failure.fromJSON(standing.failure);
    }
    const attach = crypto.randomUUID();
    const { sid, agentId: agent } = session;
    const waiting: Waiting = { sid, agent, another, joined: Promise.withResolvers<Accepted>() };
    // Nobody listens yet while the grant is made.
    waiting.joined.promise.catch(() => {});
    this.#waiting.set(attach, waiting);
    const timer = setTimeout(
      () => waiting.joined.reject(new Failure("timeout", `the agent ${session.agent} did not answer`)),
      ACCEPT_MS,
    );
    try {
      const grant = await this.#sign(session, attach, standing);
      const open: ToAgent = { t: "session.open", attach, resume: !created, link, grant };
      if (!this.#options.agents.send(session.agentId, open)) throw offline(session.app, session.agent);
      await this.#overtaken(session, standing.revision);
      return await waiting.joined.promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(attach);
    }
  }

  /** What changed while the grant was on its way may have been sent ahead of it, to an agent that had no such session. */
  async #overtaken(session: Session, revision: number): Promise<void> {
    const { store, agents } = this.#options;
    const { sid, agentId } = session;
    try {
      const known = await findSession(store, sid);
      if (known?.endedAt !== undefined) throw new Failure("session_gone", known.endReason ?? "the session has ended");
      if ((await policyRevision(store)) === revision) return;
      agents.send(agentId, { t: "session.policy", grant: await this.currentGrant(session) });
    } catch (error) {
      agents.send(agentId, { t: "session.end", sid, reason: Failure.from(error).message });
      throw error;
    }
  }

  async #sign(session: Session, attach: string, { rules, traits, revision }: Standing): Promise<string> {
    const { now, signingKey, clusterName } = this.#options;
    const grant: Grant = {
      v: 1,
      sid: session.sid,
      attach,
      user: session.user,
      app: session.app,
      agent: session.agentId,
      client_jkt: session.clientJkt,
      traits,
      rules,
      revision,
      start_by: Math.floor(now() / 1000) + GRANT_LIFETIME_S,
    };
    return signGrant(grant, signingKey, clusterName, now() / 1000);
  }

  // --- agents' connections ---

  async #onAccept(socket: Socket, text: string): Promise<void> {
    const { store, publicAddr } = this.#options;
    const message = parseMessage(accept, text);
    const waiting = message === undefined ? undefined : this.#waiting.get(message.attach);
    if (message === undefined || waiting === undefined) throw new Failure("not_found", "nobody waits for this session");
    const agent = await findAgent(store, { id: waiting.agent });
    if (agent === undefined) throw new Failure("not_found", "this agent is not known here");
    const { claims } = await verifyProof(message.proof, {
      method: "GET",
      url: publicUrl(publicAddr, AGENT_SESSION_PATH),
      nonce: socket.nonce,
      jkt: agent.jkt,
    });
    if (claims.attach !== message.attach) throw new Failure("bad_proof", "the proof is for another session");
    waiting.joined.resolve({ socket, resumeWindow: message.resume_window, link: message.link });
  }

  readonly #sids = new Map<Socket, string>();

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

const offline = (app: string, agent: string): Failure =>
  new Failure("agent_offline", `the agent ${agent} that serves "${app}" is not connected`, {
    hint: "on the agent's host: mcpgate agent start",
  });
