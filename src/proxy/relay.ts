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
import { closeSessions, openSession } from "../audit/sessions.ts";
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
import { appAccess } from "../rbac/access.ts";
import { locked, lockOn } from "../rbac/lock.ts";
import type { AppRules } from "../rbac/rules.ts";
import type { Traits } from "../rbac/traits.ts";
import { findAgent } from "../store/agents.ts";
import { type App, findApps } from "../store/apps.ts";
import { activeLocks } from "../store/locks.ts";
import { checkLogin, type Login } from "../store/logins.ts";
import { policyRevision } from "../store/meta.ts";
import { loadSubject, type Subject } from "../store/roles.ts";
import { findSession, type Session, touchSession } from "../store/sessions.ts";
import type { Store } from "../store/store.ts";
import type { Agents } from "./agents.ts";
import type { Endpoint, Socket } from "./socket.ts";

export interface RelayOptions {
  store: Store;
  log: Log;
  publicAddr: HostPort;
  clusterName: string;
  signingKey: KeyPair;
  now(): number;
  agents: Pick<Agents, "send" | "online" | "arrival">;
}

/** How long an agent may take to dial for a session, milliseconds. */
const ACCEPT_MS = 5_000;
/** How long a client that comes back waits here for an agent that is away, milliseconds: less than its dial may take. */
const ARRIVAL_MS = 5_000;

/** A proof is 8 KiB at the most, and there is little else in an `attach` or an `accept`. Characters. */
const MAX_ANSWER = 32 * 1024;

/** What a session may do, as of a revision of the policy. */
interface Standing {
  rules: AppRules;
  traits: Traits;
  revision: number;
}

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
  joined: PromiseWithResolvers<Accepted>;
}

export class Relay {
  readonly #options: RelayOptions;
  readonly #waiting = new Map<string, Waiting>();
  /** The client's newest connection of each session; one that it replaces is closed. */
  readonly #clients = new Map<string, Socket>();

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  /** Where clients come in. */
  readonly clients: Endpoint = {
    maxAnswer: MAX_ANSWER,
    onAnswer: (socket, text) => this.#onAttach(socket, text),
    onText: () => {},
    onClose: (socket) => this.#onLost(socket),
  };

  /** Where agents dial in for one session each. */
  readonly agentSessions: Endpoint = {
    maxAnswer: MAX_ANSWER,
    onAnswer: (socket, text) => this.#onAccept(socket, text),
    onText: () => {},
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
    return this.#sign(session, crypto.randomUUID(), await this.#standing(session));
  }

  // --- clients ---

  async #onAttach(socket: Socket, text: string): Promise<void> {
    const { store, publicAddr, now, agents, log } = this.#options;
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
    let login = await this.#checkLogin(proof.jkt);
    const arrival = await this.#arrival(sid, login.user);
    if (arrival !== undefined) {
      // A session that paused: it goes on in the moment that its agent is back, or its client hears that it is over.
      await arrival.agent;
      if (socket.closed) return;
      login = await this.#checkLogin(proof.jkt);
    }
    const chosen = await this.#admit(login.user, app, sid).catch(async (error: unknown) => {
      const failure = Failure.from(error);
      if (failure.code === "not_found" || failure.code === "locked") {
        const about = { user: login.user, app, sid, remote: socket.remote };
        const refusal = { event: "mcp.session.start" as const, ...about, success: false, error: failure.message };
        await recordEvents(store, [refusal], now());
      }
      throw failure;
    });
    const { session, created } = await openSession(
      store,
      {
        sid,
        user: login.user,
        app,
        agentId: chosen.agentId,
        agent: chosen.agent,
        clientJkt: proof.jkt,
        remote: socket.remote,
      },
      now(),
    );
    await this.#stillLoggedIn(session, created);
    if (!agents.online().has(session.agentId)) throw offline(app, session.agent);
    if (!created) await touchSession(store, sid, { remote: socket.remote, now: now() });
    const { socket: agentSocket, resumeWindow, link } = await this.#callAgent(session, !created, message.link);

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
    agentSocket.sendText({ t: "joined", agent: session.agent, link });
    socket.sendText({ t: "joined", agent: session.agent, resume_window: resumeWindow, link });
    log.info(created ? "session.opened" : "session.resumed", { sid, app, user: login.user, agent: session.agent });
  }

  /** Now that the session is on record under this key: a logout from here on finds it, one before is found here. */
  async #stillLoggedIn({ sid, agentId, clientJkt }: Session, created: boolean): Promise<void> {
    const { store, agents, now } = this.#options;
    try {
      await this.#checkLogin(clientJkt);
    } catch (error) {
      // One that is only paused goes on after the next login.
      if (created || Failure.from(error).code === "not_logged_in") {
        await closeSessions(store, { sid }, "logged out", now());
        agents.send(agentId, { t: "session.end", sid, reason: "logged out" });
      }
      throw error;
    }
  }

  async #checkLogin(jkt: string): Promise<Login> {
    const { store, publicAddr, now } = this.#options;
    try {
      return await checkLogin(store, jkt, now());
    } catch (error) {
      const { code, message } = Failure.from(error);
      throw new Failure(code, message, { hint: `mcpgate client login --proxy=${formatHostPort(publicAddr)}` });
    }
  }

  /**
   * Whose offer of the app this session is for; the offers of a shared app may carry labels of their own. Throws
   * `Failure("not_found")` when there is no such app, or the user may not reach it, which look the same from outside.
   */
  async #admit(user: string, name: string, sid: string): Promise<App> {
    const { store, now } = this.#options;
    const subject = await loadSubject(store, user);
    const offers = (await findApps(store, name)).filter((app) => appAccess(subject.roles, app, subject).allowed);
    const [first] = offers;
    if (first === undefined) {
      throw new Failure("not_found", `no such app "${name}", or you may not reach it`, { hint: "mcpgate client ls" });
    }
    const locks = await activeLocks(store, now());
    const open = offers.filter((app) => lockOn(locks, lockable(subject, app)) === undefined);
    const lock = open.length === 0 ? lockOn(locks, lockable(subject, first)) : undefined;
    if (lock !== undefined) throw locked(lock);
    return this.#choose(sid, open);
  }

  /** The offer of the agent that has the session, or for a new one the first whose agent is there. */
  async #choose(sid: string, offers: App[]): Promise<App> {
    const known = await findSession(this.#options.store, sid);
    const online = this.#options.agents.online();
    const fits = (agentId: string) => (known === undefined ? online.has(agentId) : agentId === known.agentId);
    const chosen = offers.find(({ agentId }) => fits(agentId));
    if (chosen !== undefined) return chosen;
    if (known !== undefined) throw new Failure("session_gone", "the session's agent does not offer the app any more");
    throw offline(offers[0]?.name ?? "", offers[0]?.agent ?? "");
  }

  async #standing({ user, app: name, agentId }: Session): Promise<Standing> {
    const { store, now } = this.#options;
    // Read first: rules are never older than the revision that they go under.
    const revision = await policyRevision(store);
    const subject = await loadSubject(store, user);
    const app = (await findApps(store, name)).find((offer) => offer.agentId === agentId);
    if (app === undefined) throw new Failure("session_gone", "the agent does not offer the app any more");
    const access = appAccess(subject.roles, app, subject);
    if (!access.allowed) {
      throw new Failure("not_found", "you may not reach this app any more");
    }
    const lock = lockOn(await activeLocks(store, now()), lockable(subject, app));
    if (lock !== undefined) throw locked(lock);
    return { rules: access.rules, traits: subject.traits, revision };
  }

  /** The user's live session whose agent is away: when the agent is back, or it has been waited for long enough. */
  async #arrival(sid: string, user: string): Promise<{ agent: Promise<void> } | undefined> {
    const known = await findSession(this.#options.store, sid);
    if (known === undefined || known.endedAt !== undefined || known.user !== user) return undefined;
    const agent = this.#options.agents.arrival(known.agentId, ARRIVAL_MS);
    return agent === undefined ? undefined : { agent };
  }

  async #callAgent(session: Session, resume: boolean, link: number[]): Promise<Accepted> {
    // Again, now that the session is on record: what changes from here on finds it there.
    const standing = await this.#standing(session).catch(async (error: unknown) => {
      const failure = Failure.from(error);
      await closeSessions(this.#options.store, { sid: session.sid }, failure.message, this.#options.now());
      throw failure;
    });
    const attach = crypto.randomUUID();
    const waiting: Waiting = { sid: session.sid, agent: session.agentId, joined: Promise.withResolvers<Accepted>() };
    // Nobody listens yet while the grant is made.
    waiting.joined.promise.catch(() => {});
    this.#waiting.set(attach, waiting);
    const timer = setTimeout(
      () => waiting.joined.reject(new Failure("timeout", `the agent ${session.agent} did not answer`)),
      ACCEPT_MS,
    );
    try {
      const grant = await this.#sign(session, attach, standing);
      const open: ToAgent = { t: "session.open", attach, resume, link, grant };
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
      this.#sids.delete(socket);
      if (this.#clients.get(sid) === socket) this.#clients.delete(sid);
    }
    if (peer !== undefined) {
      peer.peer = undefined;
      peer.close("the other end's connection is lost");
    }
  }
}

const lockable = ({ name, roles }: Subject, app: App) => ({
  user: name,
  roles: roles.map(({ metadata }) => metadata.name),
  app: app.name,
  agent: app.agent,
});

const offline = (app: string, agent: string): Failure =>
  new Failure("agent_offline", `the agent ${agent} that serves "${app}" is not connected`, {
    hint: "on the agent's host: mcpgate agent start",
  });
