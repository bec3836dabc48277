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
import { openSession } from "../audit/sessions.ts";
import { recordEvents } from "../audit/store.ts";
import type { HostPort } from "../config/host-port.ts";
import { formatHostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { GRANT_LIFETIME_S, type Grant, signGrant } from "../identity/grant.ts";
import type { KeyPair } from "../identity/keys.ts";
import { verifyProof } from "../identity/proof.ts";
import { publicUrl } from "../identity/url.ts";
import { LINK_VERSION } from "../link/frame.ts";
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
import type { AppRules } from "../rbac/rules.ts";
import { findAgent } from "../store/agents.ts";
import { type App, findApps } from "../store/apps.ts";
import { checkLogin, type Login } from "../store/logins.ts";
import { policyRevision } from "../store/meta.ts";
import { effectiveRoles } from "../store/roles.ts";
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
  agents: Pick<Agents, "send" | "online">;
}

/** How long an agent may take to dial for a session, milliseconds. */
const ACCEPT_MS = 15_000;

interface Offer {
  app: App;
  rules: AppRules;
}

/** A client that waits for the agent's connection. */
interface Waiting {
  sid: string;
  agent: string;
  joined: PromiseWithResolvers<Socket>;
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
    onAnswer: (socket, text) => this.#onAttach(socket, text),
    onText: () => {},
    onClose: (socket) => this.#onLost(socket),
  };

  /** Where agents dial in for one session each. */
  readonly agentSessions: Endpoint = {
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

  closeAll(reason: string): void {
    for (const socket of [...this.#clients.values()]) socket.close(reason);
  }

  /** The agent could not serve the grant. */
  refused(attach: string, failure: Failure): void {
    this.#waiting.get(attach)?.joined.reject(failure);
  }

  /** The rules of a live session as they are now, signed; `undefined` when its user may not reach the app any more. */
  async currentGrant(session: Session): Promise<string | undefined> {
    const offers = await this.#offers(session.user, session.app);
    const offer = offers.find(({ app }) => app.agentId === session.agentId);
    return offer === undefined ? undefined : this.#sign(session, crypto.randomUUID(), offer.rules);
  }

  // --- clients ---

  async #onAttach(socket: Socket, text: string): Promise<void> {
    const { store, publicAddr, now, agents, log } = this.#options;
    const message = parseMessage(attachMessage, text);
    if (message === undefined) throw new Failure("invalid", "the client's request is not of this version");
    if (!message.link.includes(LINK_VERSION)) {
      throw new Failure("version_skew", `this proxy speaks link version ${LINK_VERSION}`, { hint: "update mcpgate" });
    }
    const { sid, app } = message;
    const proof = await verifyProof(message.proof, {
      method: "GET",
      url: publicUrl(publicAddr, CLIENT_PATH),
      nonce: socket.nonce,
    });
    if (proof.claims.sid !== sid || proof.claims.app !== app) {
      throw new Failure("bad_proof", "the proof is for another session");
    }
    const login = await this.#checkLogin(proof.jkt);
    const offers = await this.#offers(login.user, app);
    if (offers.length === 0) {
      const failure = new Failure("not_found", `no such app "${app}", or you may not reach it`, {
        hint: "mcpgate client ls",
      });
      await recordEvents(
        store,
        [
          {
            event: "mcp.session.start",
            user: login.user,
            app,
            sid,
            remote: socket.remote,
            success: false,
            error: failure.message,
          },
        ],
        now(),
      );
      throw failure;
    }
    const { app: chosen, rules } = await this.#choose(sid, offers);
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
    if (!agents.online().has(session.agentId)) throw offline(app, session.agent);
    if (!created) await touchSession(store, sid, { remote: socket.remote, now: now() });
    const agentSocket = await this.#callAgent(session, rules, !created);

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
    agentSocket.sendText({ t: "joined", agent: session.agent });
    socket.sendText({ t: "joined", agent: session.agent });
    log.info(created ? "session.opened" : "session.resumed", { sid, app, user: login.user, agent: session.agent });
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
   * Who offers the app, and the user's rules at each: the offers of a shared app may carry labels of their own. None: no
   * such app, or the user may not reach it, which look the same from outside.
   */
  async #offers(user: string, name: string): Promise<Offer[]> {
    const { store } = this.#options;
    const roles = await effectiveRoles(store, user);
    return (await findApps(store, name)).flatMap((app) => {
      const access = appAccess(roles, app);
      return access.allowed ? [{ app, rules: access.rules }] : [];
    });
  }

  /** The offer of the agent that has the session, or for a new one the first whose agent is there. */
  async #choose(sid: string, offers: Offer[]): Promise<Offer> {
    const known = await findSession(this.#options.store, sid);
    const online = this.#options.agents.online();
    const fits = (agentId: string) => (known === undefined ? online.has(agentId) : agentId === known.agentId);
    const chosen = offers.find(({ app }) => fits(app.agentId));
    if (chosen !== undefined) return chosen;
    if (known !== undefined) throw new Failure("session_gone", "the session's agent does not offer the app any more");
    throw offline(offers[0]?.app.name ?? "", offers[0]?.app.agent ?? "");
  }

  async #callAgent(session: Session, rules: AppRules, resume: boolean): Promise<Socket> {
    const attach = crypto.randomUUID();
    const waiting: Waiting = { sid: session.sid, agent: session.agentId, joined: Promise.withResolvers<Socket>() };
    this.#waiting.set(attach, waiting);
    const timer = setTimeout(
      () => waiting.joined.reject(new Failure("timeout", `the agent ${session.agent} did not answer`)),
      ACCEPT_MS,
    );
    try {
      const grant = await this.#sign(session, attach, rules);
      const open: ToAgent = { t: "session.open", attach, resume, grant };
      if (!this.#options.agents.send(session.agentId, open)) throw offline(session.app, session.agent);
      return await waiting.joined.promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(attach);
    }
  }

  async #sign(session: Session, attach: string, rules: AppRules): Promise<string> {
    const { store, now, signingKey, clusterName } = this.#options;
    const grant: Grant = {
      v: 1,
      sid: session.sid,
      attach,
      user: session.user,
      app: session.app,
      agent: session.agentId,
      client_jkt: session.clientJkt,
      rules,
      revision: await policyRevision(store),
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
    waiting.joined.resolve(socket);
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

const offline = (app: string, agent: string): Failure =>
  new Failure("agent_offline", `the agent ${agent} that serves "${app}" is not connected`, {
    hint: "on the agent's host: mcpgate agent start",
  });
