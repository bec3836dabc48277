/** The agent's sessions: opened by grants, each with a connection of its own, and told about when they have ended. */
import type { Spool } from "../audit/spool.ts";
import { newUid } from "../audit/uid.ts";
import type { AppConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import { AUDIT_SCHEMA_VERSION, type AuditEvent, type EventDraft } from "../event.ts";
import type { Grant, ReceivedGrant } from "../identity/grant.ts";
import { Budget } from "../link/budget.ts";
import { chooseVersion, LINK_VERSIONS } from "../link/frame.ts";
import type { FromAgent } from "../link/from-agent.ts";
import type { ToAgent } from "../link/to-agent.ts";
import type { Log } from "../log.ts";
import { EndedSessions } from "./ended-sessions.ts";
import { Grants } from "./grants.ts";
import type { AppHealth } from "./health.ts";
import type { AgentIdentity } from "./join.ts";
import type { Observed } from "./observed.ts";
import type { OnStdout, ServerProcess } from "./process.ts";
import type { ServerPool } from "./server-pool.ts";
import { Session } from "./session.ts";
import { dialSession } from "./session-dial.ts";
import type { AppPins } from "./tool-pins.ts";

export interface SessionsOptions {
  identity: AgentIdentity;
  spool: Pick<Spool, "append">;
  log: Log;
  pool: Pick<ServerPool, "open">;
  health: AppHealth;
  /** The control connection, as it is when it is asked for. */
  control(): { readonly up: boolean; readonly held: Promise<void> | undefined; send(message: FromAgent): void };
  /** What is offered under this name now. */
  app(name: string): AppConfig | undefined;
  pins(app: string): AppPins | undefined;
  /** Seconds that a session is kept without its client. */
  resumeWindow(): number;
  /** Absent: nobody counts or traces. */
  observed?: Pick<Observed, "session">;
}

type SessionOpen = Extract<ToAgent, { t: "session.open" }>;

/** Bytes that sessions may hold beyond the smallest windows and ordinary lines: two of the largest lines for each user. */
const BUDGET = { total: 1024 * 1024 * 1024, user: 192 * 1024 * 1024 };

export class Sessions {
  readonly #o: SessionsOptions;
  readonly #live = new Map<string, Session>();
  readonly #ended: EndedSessions;
  readonly #budget = new Budget(BUDGET);
  readonly #grants: Grants;
  #closed = false;
  #inOrder: Promise<void> = Promise.resolve();

  constructor(options: SessionsOptions) {
    this.#o = options;
    this.#ended = new EndedSessions(options.control);
    this.#grants = new Grants(options.identity.agent, options.identity.signingKeys);
  }

  get all(): readonly Session[] {
    return [...this.#live.values()];
  }

  get budget(): Budget {
    return this.#budget;
  }

  of(app: string): readonly Session[] {
    return this.all.filter(({ grant }) => grant.app === app);
  }

  /** For the hello. */
  get report(): Pick<Extract<FromAgent, { t: "hello" }>, "sessions" | "ended"> {
    return { sessions: [...this.#live.keys()], ended: this.#ended.report() };
  }

  /** The proxy took the hello. */
  reported(): void {
    this.#ended.reported();
  }

  /** The proxy's clock shows `now`, milliseconds since the epoch. */
  learnClock(now: number): void {
    this.#grants.learnClock(now);
  }

  /** Resolves when all that was taken so far is in force. */
  get settled(): Promise<void> {
    return this.#inOrder;
  }

  open(message: SessionOpen): void {
    this.#next(() => this.#onOpen(message));
  }

  /** The rules of a session have changed. */
  update(grant: string): void {
    this.#next(() => this.#onPolicy(grant));
  }

  end(sid: string, reason: string): void {
    this.#next(async () => void this.#live.get(sid)?.end(reason));
  }

  /** Takes no new sessions; those that are there may still be come back to. */
  close(): void {
    this.#closed = true;
  }

  /** Until every call is answered, or `seconds` are over. Sessions that wait for nothing end at once. */
  async drain(seconds: number, reason: string): Promise<void> {
    const sessions = this.all;
    const calls = sessions.reduce((sum, session) => sum + session.openCalls, 0);
    if (calls > 0) this.#o.log.info("agent.draining", { calls, limit_s: seconds });
    const over = Promise.withResolvers<void>();
    const timer = setTimeout(over.resolve, seconds * 1000);
    await Promise.all(
      sessions.map(async (session) => {
        await Promise.race([session.drain(), over.promise]);
        await session.end(reason);
      }),
    );
    clearTimeout(timer);
  }

  /** The clock of detached sessions runs only while clients could come: a proxy that was down for an hour kills none. */
  tick(elapsedMs: number): void {
    const now = performance.now();
    for (const session of this.#live.values()) session.checkLimits(now);
    if (!this.#o.control().up) return;
    for (const session of this.#live.values()) session.tick(elapsedMs, this.#o.resumeWindow() * 1000);
  }

  /** A grant takes a moment to check; nothing that came after it overtakes it. */
  #next(work: () => Promise<void>): void {
    this.#inOrder = this.#inOrder.then(work);
  }

  /** A grant came: a new session, or a new connection of one that lives. */
  async #onOpen({ attach, resume, link: offered, grant: text }: SessionOpen): Promise<void> {
    const { log, identity } = this.#o;
    let grant: ReceivedGrant;
    try {
      grant = await this.#grants.take(text);
      if (grant.attach !== attach) throw new Failure("bad_proof", "the grant is for another connection");
    } catch (error) {
      log.error("grant.refused", { error: Failure.from(error).message });
      return;
    }
    // Where only the connection failed, the session is there for the next one.
    const refuse = (error: unknown, gone: boolean) => {
      const failure = Failure.from(error);
      log.warn("session.refused", { sid: grant.sid, error: failure.message });
      this.#o.control().send({ t: "session.refused", attach, sid: grant.sid, gone, ...failure.toJSON() });
    };
    try {
      const link = chooseVersion(offered);
      if (link === undefined) {
        throw new Failure("version_skew", `the agent speaks link version ${LINK_VERSIONS}, and the client ${offered}`, {
          hint: "update mcpgate where it is older: mcpgate version",
        });
      }
      const session = this.#openSession(grant, resume);
      const resumeWindow = this.#o.resumeWindow();
      void dialSession(session, { identity, attach, link, resumeWindow }).catch((error) => refuse(error, false));
    } catch (error) {
      refuse(error, true);
    }
  }

  /**
   * Opening twice is opening once: the session's id says which it is, and only its own user comes back to it. With which
   * key is the proxy's to check, as at the first time: a login that expired in mid-session is followed by another.
   */
  #openSession(grant: Grant, resume: boolean): Session {
    const known = this.#live.get(grant.sid);
    if (known !== undefined) {
      const { user, app } = known.grant;
      if (user !== grant.user || app !== grant.app) {
        throw new Failure("access_denied", "the session belongs to somebody else");
      }
      known.update(grant);
      return known;
    }
    if (this.#closed) throw new Failure("agent_offline", "the agent stops");
    if (resume) throw new Failure("session_gone", "the session ended on the agent");
    const app = this.#o.app(grant.app);
    if (app === undefined) throw new Failure("not_found", `this agent has no app "${grant.app}"`);
    this.#checkCount(app, grant.user);
    const { health } = this.#o;
    const log = this.#o.log.child({ sid: grant.sid, app: grant.app, user: grant.user });
    const session = new Session({
      grant,
      app,
      log,
      start: (onStdout, over) => this.#startServer(app, grant, log, onStdout, over),
      onSpoke: () => health.ok(app.name),
      onFailed: (how) => health.failed(app.name, how, session.serverPid),
      record: (events) => this.#record(events),
      pins: this.#o.pins(app.name),
      watch: this.#o.observed?.session(grant),
      held: () => this.#o.control().held,
      budget: this.#budget.of(grant.user),
      onEnded: (reason, ok) => {
        this.#live.delete(grant.sid);
        this.#ended.add(grant.sid, { reason, ok });
      },
    });
    this.#live.set(grant.sid, session);
    return session;
  }

  #checkCount(app: AppConfig, user: string): void {
    const { sessionsPerApp, sessionsPerUser } = app.mcp.limits ?? {};
    const all = this.of(app.name);
    const own = all.filter((session) => session.user === user);
    const full = (of: string, limit: number): Failure =>
      new Failure("too_many_requests", `${of} has ${limit} sessions on "${app.name}", as many as there may be`, {
        hint: "end one first: close the MCP client, or on the proxy's host: mcpgate sessions ls",
      });
    if (sessionsPerUser !== undefined && own.length >= sessionsPerUser) throw full(user, sessionsPerUser);
    if (sessionsPerApp !== undefined && all.length >= sessionsPerApp) throw full("the agent", sessionsPerApp);
  }

  /** An app whose servers keep failing is not started over and over. */
  async #startServer(
    app: AppConfig,
    { sid, user, traits }: Grant,
    log: Log,
    onStdout: OnStdout,
    over: Promise<void>,
  ): Promise<ServerProcess> {
    const wait = this.#o.health.waitMs(app.name);
    if (wait > 0) {
      log.warn("server.backoff", { ms: Math.round(wait) });
      await Promise.race([Bun.sleep(wait), over.then(endedUnstarted)]);
    }
    const budget = (owner: string) => this.#budget.of(owner);
    return this.#o.pool.open(app, { sid, person: { user, traits }, log, onStdout, budget });
  }

  async #onPolicy(text: string): Promise<void> {
    try {
      const grant = await this.#grants.take(text);
      this.#live.get(grant.sid)?.update(grant);
    } catch (error) {
      this.#o.log.error("grant.refused", { error: Failure.from(error).message });
    }
  }

  /** The drafts become the events. */
  #record(drafts: EventDraft[]): void {
    const time = new Date().toISOString();
    const agent = this.#o.identity.name;
    const events = drafts as AuditEvent[];
    for (const event of events) {
      event.uid ??= newUid();
      event.time = time;
      event.v = AUDIT_SCHEMA_VERSION;
      event.agent = agent;
    }
    this.#o.spool.append(events);
  }
}

function endedUnstarted(): never {
  throw new Failure("session_gone", "the session ended before its server was started");
}
