/** `mcpgate agent start`: joins the proxy, offers the configured apps, and runs a session for each grant. */
import { join } from "node:path";
import { Spool } from "../audit/spool.ts";
import { newUid } from "../audit/uid.ts";
import type { AppConfig, Config } from "../config/config.ts";
import { Failure } from "../errors.ts";
import { AUDIT_SCHEMA_VERSION, type AuditEvent, type EventDraft } from "../event.ts";
import { lockDirectory } from "../identity/directory-lock.ts";
import { type Grant, type ReceivedGrant, verifyGrant } from "../identity/grant.ts";
import { PeerClock } from "../identity/peer-clock.ts";
import { signProof } from "../identity/proof.ts";
import { publicUrl } from "../identity/url.ts";
import { Budget } from "../link/budget.ts";
import { dial } from "../link/dial.ts";
import { AGENT_SESSION_PATH, beforeLink, parseMessage, type ToAgent } from "../link/protocol.ts";
import type { Log } from "../log.ts";
import { Control } from "./control.ts";
import { type AgentIdentity, loadIdentity } from "./join.ts";
import { startServer } from "./process.ts";
import { Session } from "./session.ts";

export interface AgentOptions {
  config: Config;
  log: Log;
  /** The command that starts this program as the exec helper: `["/proc/self/exe", "__exec"]` for the binary. */
  self: string[];
}

export interface RunningAgent {
  /** The first time that the proxy took the apps. */
  ready: Promise<{ agent: string; apps: string[] }>;
  /** Ends the sessions, their servers and the connection; what the proxy did not store stays in the spool. */
  stop(): Promise<void>;
  /** Rejects when the agent can't go on: removed at the proxy, or a data directory of another one. */
  closed: Promise<void>;
}

const TICK_MS = 1_000;
const LAST_EVENTS_MS = 3_000;

export async function startAgent({ config, log, self }: AgentOptions): Promise<RunningAgent> {
  const service = config.app;
  if (service === undefined) {
    throw new Failure("config", `${config.file ?? "configuration"}: app_service is not enabled`, {
      hint: "add `app_service: {enabled: true, apps: […]}` to the file",
    });
  }
  const dir = join(config.dataDir, "agent");
  const lock = lockDirectory(dir);
  try {
    const identity = await loadIdentity(config, dir, log);
    const spool = Spool.open(join(dir, "spool"), { log });
    return new Agent(identity, service.apps, service.resumeWindowSeconds * 1000, spool, log, self, lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}

class Agent implements RunningAgent {
  readonly #identity: AgentIdentity;
  readonly #apps: AppConfig[];
  readonly #resumeWindowMs: number;
  readonly #spool: Spool;
  readonly #log: Log;
  readonly #self: string[];
  readonly #lock: { release(): void };
  readonly #boot = crypto.randomUUID();
  readonly #sessions = new Map<string, Session>();
  readonly #budget = new Budget({ total: 512 * 1024 * 1024, user: 128 * 1024 * 1024 });
  /** Grants are dated by the proxy's clock; this host's own may be wrong. */
  readonly #clock = new PeerClock();
  /** Attachments whose grant was used, until it would be too old anyway: a grant works once. */
  readonly #used = new Map<string, number>();
  readonly #control: Control;
  readonly #ready = Promise.withResolvers<{ agent: string; apps: string[] }>();
  readonly #closed = Promise.withResolvers<void>();
  readonly #tick: ReturnType<typeof setInterval>;
  #stopping: Promise<void> | undefined;

  constructor(
    identity: AgentIdentity,
    apps: AppConfig[],
    resumeWindowMs: number,
    spool: Spool,
    log: Log,
    self: string[],
    lock: { release(): void },
  ) {
    this.#identity = identity;
    this.#apps = apps;
    this.#resumeWindowMs = resumeWindowMs;
    this.#spool = spool;
    this.#log = log;
    this.#self = self;
    this.#lock = lock;
    this.#control = new Control({
      trust: identity.trust,
      agent: identity.agent,
      key: identity.key,
      spool,
      log,
      offer: () => ({
        boot: this.#boot,
        apps: apps.map(({ name, description, labels, shared }) => ({ name, description, labels, shared })),
        sessions: [...this.#sessions.keys()],
      }),
      onMessage: (message) => this.#onMessage(message),
      onClock: (now) => this.#clock.learn(now),
      onRejected: (failure) => {
        this.#ready.reject(failure);
        this.#closed.reject(failure);
      },
    });
    // Both may reject before anybody listens.
    this.#ready.promise.catch(() => {});
    this.#closed.promise.catch(() => {});
    this.#tick = setInterval(() => this.#onTick(), TICK_MS);
    void this.#control.run();
  }

  get ready(): Promise<{ agent: string; apps: string[] }> {
    return this.#ready.promise;
  }

  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    clearInterval(this.#tick);
    await Promise.all([...this.#sessions.values()].map((session) => session.end("the agent stops")));
    await this.#control.flush(LAST_EVENTS_MS);
    this.#control.stop();
    this.#spool.close();
    this.#lock.release();
    this.#ready.reject(new Failure("unavailable", "the agent was stopped"));
    this.#closed.resolve();
  }

  /** The clock of detached sessions runs only while clients could come: a proxy that was down for an hour kills none. */
  #onTick(): void {
    if (!this.#control.up) return;
    for (const session of this.#sessions.values()) session.tick(TICK_MS, this.#resumeWindowMs);
  }

  #onMessage(message: Parameters<ConstructorParameters<typeof Control>[0]["onMessage"]>[0]): void {
    switch (message.t) {
      case "welcome":
        this.#onWelcome(message);
        break;
      case "session.open":
        void this.#onOpen(message);
        break;
      case "session.policy":
        void this.#onPolicy(message.grant);
        break;
      case "session.end":
        void this.#sessions.get(message.sid)?.end(message.reason);
        break;
    }
  }

  #onWelcome(message: Extract<ToAgent, { t: "welcome" }>): void {
    this.#clock.learn(message.now);
    for (const { name, reason } of message.refused) this.#log.error("app.refused", { app: name, reason });
    const refused = new Set(message.refused.map(({ name }) => name));
    const apps = this.#apps.map(({ name }) => name).filter((name) => !refused.has(name));
    this.#log.info("control.connected", { apps: apps.join(","), sessions: this.#sessions.size });
    this.#ready.resolve({ agent: this.#identity.name, apps });
  }

  // --- sessions ---

  #verify(grant: string): Promise<ReceivedGrant> {
    return verifyGrant(grant, this.#identity.signingKeys, {
      agent: this.#identity.agent,
      proxyNow: () => this.#clock.now(),
    });
  }

  /** False: this grant was used before. */
  #take({ attach, startWithinMs }: ReceivedGrant): boolean {
    const now = performance.now();
    for (const [used, until] of this.#used) if (until < now) this.#used.delete(used);
    if (this.#used.has(attach)) return false;
    this.#used.set(attach, now + startWithinMs);
    return true;
  }

  /** A grant came: a new session, or a new connection of one that lives. */
  async #onOpen({ attach, resume, grant: text }: Extract<ToAgent, { t: "session.open" }>): Promise<void> {
    let grant: ReceivedGrant;
    try {
      grant = await this.#verify(text);
      if (grant.attach !== attach) throw new Failure("bad_proof", "the grant is for another connection");
      if (!this.#take(grant)) throw new Failure("bad_proof", "the grant was used before");
    } catch (error) {
      this.#log.error("grant.refused", { error: Failure.from(error).message });
      return;
    }
    try {
      const session = this.#openSession(grant, resume);
      await this.#dialSession(session, attach);
    } catch (error) {
      const failure = Failure.from(error);
      this.#log.warn("session.refused", { sid: grant.sid, error: failure.message });
      this.#control.send({ t: "session.refused", attach, sid: grant.sid, ...failure.toJSON() });
    }
  }

  /** Opening twice is opening once: the session's id says which it is, and only its own user's key comes back to it. */
  #openSession(grant: Grant, resume: boolean): Session {
    const known = this.#sessions.get(grant.sid);
    if (known !== undefined) {
      const { user, app, client_jkt } = known.grant;
      if (user !== grant.user || app !== grant.app || client_jkt !== grant.client_jkt) {
        throw new Failure("access_denied", "the session belongs to somebody else");
      }
      known.update(grant);
      return known;
    }
    if (this.#stopping !== undefined) throw new Failure("agent_offline", "the agent stops");
    if (resume) throw new Failure("session_gone", "the session ended on the agent");
    const app = this.#apps.find(({ name }) => name === grant.app);
    if (app === undefined) throw new Failure("not_found", `this agent has no app "${grant.app}"`);
    const log = this.#log.child({ sid: grant.sid, app: grant.app, user: grant.user });
    const session = new Session({
      grant,
      app,
      log,
      start: (options) => startServer({ ...options, self: this.#self, log }),
      record: (events) => this.#record(events),
      budget: this.#budget.of(grant.user),
      onEnded: (reason, ok) => {
        this.#sessions.delete(grant.sid);
        this.#control.send({ t: "session.ended", sid: grant.sid, reason, ok });
      },
    });
    this.#sessions.set(grant.sid, session);
    return session;
  }

  /** Each session has a connection of its own, dialled out as everything is. */
  async #dialSession(session: Session, attach: string): Promise<void> {
    const { trust, key } = this.#identity;
    await dial({
      trust,
      path: AGENT_SESSION_PATH,
      answer: async (nonce) => ({
        t: "accept",
        attach,
        proof: await signProof({
          key,
          method: "GET",
          url: publicUrl(trust.proxy, AGENT_SESSION_PATH),
          nonce,
          claims: { attach },
        }),
      }),
      onText: (from, text) => {
        if (parseMessage(beforeLink, text)?.t !== "joined") return false;
        session.attach(from);
        return true;
      },
      onFrame: (from, bytes) => session.link.receive(from, bytes),
      onClose: (from, reason) => session.link.detach(from, reason),
    });
  }

  async #onPolicy(text: string): Promise<void> {
    try {
      const grant = await this.#verify(text);
      if (!this.#take(grant)) throw new Failure("bad_proof", "the grant was used before");
      this.#sessions.get(grant.sid)?.update(grant);
    } catch (error) {
      this.#log.error("grant.refused", { error: Failure.from(error).message });
    }
  }

  #record(drafts: EventDraft[]): void {
    const time = new Date().toISOString();
    const agent = this.#identity.name;
    this.#spool.append(
      drafts.map(
        (draft): AuditEvent => ({ ...draft, uid: draft.uid ?? newUid(), time, v: AUDIT_SCHEMA_VERSION, agent }),
      ),
    );
  }
}
