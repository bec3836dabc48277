/** Asks agents to dial for a session, and waits until one has. */
import { closeSessions } from "../audit/sessions.ts";
import type { HostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { verifyProof } from "../identity/proof.ts";
import { publicUrl } from "../identity/url.ts";
import { AGENT_SESSION_PATH, parseMessage } from "../link/protocol.ts";
import { accept as acceptMessage } from "../link/session-messages.ts";
import type { ToAgent } from "../link/to-agent.ts";
import type { Log } from "../log.ts";
import { findAgent } from "../store/agents.ts";
import type { App } from "../store/apps.ts";
import { policyRevision } from "../store/meta.ts";
import { findSession, type Session } from "../store/sessions.ts";
import type { Store } from "../store/store.ts";
import type { Begun } from "./admission.ts";
import type { Agents } from "./agents.ts";
import type { Placement } from "./placement.ts";
import type { SessionGrants } from "./session-grants.ts";
import type { Socket } from "./socket.ts";
import type { RunJob } from "./store-jobs.ts";

export interface AgentCallsOptions {
  store: Store;
  run: RunJob;
  log: Log;
  publicAddr: HostPort;
  /** Milliseconds since the epoch. */
  now(): number;
  agents: Pick<Agents, "send">;
  placement: Placement;
  grants: SessionGrants;
}

/** How long an agent may take to dial for a session, milliseconds. */
const ACCEPT_MS = 5_000;

/** The agent's connection for a session, and for how many seconds it keeps the session without its client. */
export interface Accepted {
  socket: Socket;
  resumeWindow: number | undefined;
  /** The version of the link's frames that it chose. */
  link: number;
}

/** A client that waits for the agent's connection. */
interface Waiting {
  sid: string;
  agent: string;
  /** Where this agent does not take it now, another one is asked. */
  another(): boolean;
  joined: PromiseWithResolvers<Accepted>;
}

export class AgentCalls {
  readonly #options: AgentCallsOptions;
  /** By what the agent's connection says that it is for. */
  readonly #waiting = new Map<string, Waiting>();

  constructor(options: AgentCallsOptions) {
    this.#options = options;
  }

  /** Where its agent does not take a new session, it goes to the next. `open`: its client is still there. */
  async call(
    begun: Begun,
    others: readonly App[],
    link: number[],
    open: () => boolean,
  ): Promise<{ session: Session; accepted: Accepted }> {
    const { run, agents, placement, log, now } = this.#options;
    let at = begun;
    for (const { agentId, agent } of others) {
      try {
        return { session: at.session, accepted: await this.#call(at, link, open) };
      } catch (error) {
        const { session } = at;
        const { code, message: reason } = Failure.from(error);
        if (code === "timeout") placement.silent(session.agentId);
        const moved = open() ? await run("moveSession", { session, agentId, agent, reason, now: now() }) : undefined;
        if (moved === undefined) throw error;
        // One that is only slow may have begun.
        agents.send(session.agentId, { t: "session.end", sid: session.sid, reason: "another agent has the session" });
        log.warn("session.moved", { sid: session.sid, app: session.app, from: session.agent, to: agent, reason });
        at = moved;
      }
    }
    return { session: at.session, accepted: await this.#call(at, link, () => false) };
  }

  /** An agent's connection, by its first message. Throws whatever the agent is to be told. */
  async accept(socket: Socket, text: string): Promise<void> {
    const { store, publicAddr } = this.#options;
    const message = parseMessage(acceptMessage, text);
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

  /** The agent's control connection is lost: clients that wait for it come again, instead of waiting in vain. */
  agentGone(agent: string): void {
    const failure = new Failure("agent_offline", "the agent's connection was lost");
    for (const waiting of this.#waiting.values()) if (waiting.agent === agent) waiting.joined.reject(failure);
  }

  /** The session that this is for is not over where its agent does not take it. */
  hasAnother(attach: string): boolean {
    return this.#waiting.get(attach)?.another() ?? false;
  }

  /** The agent could not serve the grant. */
  refused(attach: string, failure: Failure): void {
    this.#waiting.get(attach)?.joined.reject(failure);
  }

  /** The agent has the session no more. */
  lost(sid: string, failure: Failure): void {
    for (const waiting of this.#waiting.values()) if (waiting.sid === sid) waiting.joined.reject(failure);
  }

  async #call({ session, created, standing }: Begun, link: number[], another: () => boolean): Promise<Accepted> {
    const { store, agents, grants, now } = this.#options;
    if ("failure" in standing) {
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
      const grant = await grants.sign(session, attach, standing);
      const open: ToAgent = { t: "session.open", attach, resume: !created, link, grant };
      if (!agents.send(session.agentId, open)) throw offline(session.app, session.agent);
      await this.#overtaken(session, standing.revision);
      return await waiting.joined.promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(attach);
    }
  }

  /** What changed while the grant was on its way may have been sent ahead of it, to an agent that had no such session. */
  async #overtaken(session: Session, revision: number): Promise<void> {
    const { store, agents, grants } = this.#options;
    const { sid, agentId } = session;
    try {
      const known = await findSession(store, sid);
      if (known?.endedAt !== undefined) throw new Failure("session_gone", known.endReason ?? "the session has ended");
      if ((await policyRevision(store)) === revision) return;
      agents.send(agentId, { t: "session.policy", grant: await grants.current(session) });
    } catch (error) {
      agents.send(agentId, { t: "session.end", sid, reason: Failure.from(error).message });
      throw error;
    }
  }
}

export const offline = (app: string, agent: string): Failure =>
  new Failure("agent_offline", `the agent ${agent} that serves "${app}" is not connected`, {
    hint: "on the agent's host: mcpgate agent start",
  });
