import { join } from "node:path";
import type { Spool } from "../audit/spool.ts";
import { newUid } from "../audit/uid.ts";
import { changedApps } from "../config/changes.ts";
import type { AppConfig, AppServiceConfig, Config } from "../config/config.ts";
import { Failure } from "../errors.ts";
import { AUDIT_SCHEMA_VERSION, type AuditEvent, type EventDraft } from "../event.ts";
import type { DirectoryLock } from "../identity/directory-lock.ts";
import type { Grant, ReceivedGrant } from "../identity/grant.ts";
import { signProof } from "../identity/proof.ts";
import { publicUrl } from "../identity/url.ts";
import { Budget } from "../link/budget.ts";
import { dial } from "../link/dial.ts";
import { chooseVersion, LINK_VERSIONS } from "../link/frame.ts";
import { AGENT_SESSION_PATH, beforeLink, parseMessage, type ToAgent } from "../link/protocol.ts";
import type { Log } from "../log.ts";
import { VERSION } from "../version.ts";
import type { Containment } from "./containment.ts";
import { Control } from "./control.ts";
import { Grants } from "./grants.ts";
import type { GuardLink } from "./guard.ts";
import { AppHealth } from "./health.ts";
import type { AgentIdentity } from "./join.ts";
import { serverLedger } from "./ledger.ts";
import { packagesDirectory, pinnedTo } from "./package-pins.ts";
import type { ServerProcess, StartOptions } from "./process.ts";
import { ServerPool } from "./server-pool.ts";
import { Servers } from "./servers.ts";
import { Session } from "./session.ts";
import { type AgentStatus, openStatusSocket } from "./status.ts";
import { type AppPins, loadPins, type PinReport } from "./tool-pins.ts";

export interface RunningAgent {
  /** The first time that the proxy took the apps. */
  ready: Promise<{ agent: string; apps: string[] }>;
  /**
   * Waits for open calls as long as `drain` says, while nothing new is taken; then ends the sessions, their servers and the
   * connection. What the proxy did not store stays in the spool.
   */
  stop(): Promise<void>;
  /** Takes over what has changed, and touches nothing else. Throws where it can't; then all is as it was. */
  reload(config: Config): Promise<void>;
  /** Rejects when the agent can't go on: removed at the proxy, or a data directory of another one. */
  closed: Promise<void>;
}

/** Bytes that sessions may hold beyond the smallest windows and ordinary lines: two of the largest lines for each user. */
const BUDGET = { total: 1024 * 1024 * 1024, user: 192 * 1024 * 1024 };
const STOPS = "the agent stops";
const TICK_MS = 1_000;
const LAST_EVENTS_MS = 3_000;

/** What `startAgent` loaded. */
export interface AgentParts {
  identity: AgentIdentity;
  boot: string;
  spool: Spool;
  containment: Containment;
  guard: GuardLink | undefined;
  log: Log;
  self: string[];
  lock: DirectoryLock;
  dataDir: string;
  pins: ReadonlyMap<string, AppPins>;
}

export class Agent implements RunningAgent {
  readonly #identity: AgentIdentity;
  readonly #dataDir: string;
  #service: AppServiceConfig;
  #offered: OfferedApps = [];
  readonly #spool: Spool;
  readonly #log: Log;
  readonly #lock: DirectoryLock;
  readonly #guard: GuardLink | undefined;
  readonly #servers: Servers;
  readonly #pool: ServerPool;
  readonly #health: AppHealth;
  readonly #status: { close(): void };
  readonly #containment: Containment;
  /** Names its chain of events too. */
  readonly #boot: string;
  readonly #sessions = new Map<string, Session>();
  /** How sessions ended while the proxy could not be told; the next hello does. */
  readonly #ended = new Map<string, { reason: string; ok: boolean }>();
  /** Of the apps whose tools are pinned. */
  #pins: ReadonlyMap<string, AppPins>;
  readonly #loadedPins: Map<string, AppPins>;
  readonly #budget = new Budget(BUDGET);
  readonly #grants: Grants;
  readonly #control: Control;
  readonly #ready = Promise.withResolvers<{ agent: string; apps: string[] }>();
  readonly #closed = Promise.withResolvers<void>();
  readonly #tick: ReturnType<typeof setInterval>;
  #stopping: Promise<void> | undefined;
  /** The proxy does not want this agent, or nobody watches it: nothing is waited for. */
  #abrupt = false;
  #inOrder: Promise<void> = Promise.resolve();

  constructor(parts: AgentParts, service: AppServiceConfig) {
    const { identity, boot, spool, containment, guard, log, self, lock, dataDir, pins } = parts;
    const { apps, allowHostUsers = [] } = service;
    this.#boot = boot;
    this.#identity = identity;
    this.#grants = new Grants(identity.agent, identity.signingKeys);
    this.#dataDir = dataDir;
    this.#service = service;
    this.#spool = spool;
    this.#containment = containment;
    this.#log = log;
    this.#lock = lock;
    this.#guard = guard;
    this.#health = new AppHealth(
      apps.map(({ name }) => name),
      () => this.#tellHealth(),
    );
    const packages = packagesDirectory(dataDir);
    this.#servers = new Servers({ agent: identity.agent, self, containment, allowHostUsers, log, packages });
    this.#pool = new ServerPool(this.#servers, log);
    // Not before: the sweep would end a spare's container, too.
    void this.#servers.sweepContainers(apps).then(() => this.#keepPool());
    for (const app of apps) this.#servers.announceLimits(app);
    this.#pins = pins;
    this.#loadedPins = new Map(pins);
    this.#watchPins();
    this.#status = openStatusSocket(dataDir, log, () => this.#describe());
    this.#control = new Control({
      trust: identity.trust,
      agent: identity.agent,
      key: identity.key,
      spool,
      log,
      offer: () => ({
        boot: this.#boot,
        apps: this.#offer(),
        sessions: [...this.#sessions.keys()],
        ended: [...this.#ended.entries()].map(([sid, how]) => ({ sid, ...how })),
      }),
      onMessage: (message) => this.#onMessage(message),
      settled: () => this.#inOrder,
      onClock: (now) => this.#grants.learnClock(now),
      onRejected: (failure) => {
        this.#abrupt = true;
        this.#ready.reject(failure);
        this.#closed.reject(failure);
      },
      // The lock may have been made while nobody could tell us to end them.
      onLocked: ({ message }) => {
        for (const session of this.#sessions.values()) void session.end(message);
      },
    });
    // Both may reject before anybody listens.
    this.#ready.promise.catch(() => {});
    this.#closed.promise.catch(() => {});
    this.#tick = setInterval(() => this.#onTick(), TICK_MS);
    void guard?.lost.then(() => this.#onGuardLost());
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

  async reload({ app: service, file }: Config): Promise<void> {
    if (this.#stopping !== undefined) return;
    if (service === undefined) {
      throw new Failure("config", `${file ?? "configuration"}: app_service is not enabled any more`, {
        hint: "stop the agent, if that is what it is to mean",
      });
    }
    const before = this.#service;
    const { added, changed, removed } = changedApps(before.apps, service.apps);
    const pins = this.#pinsOf(service.apps);
    this.#service = service;
    this.#pins = pins;
    this.#watchPins();
    this.#servers.allowHostUsers(service.allowHostUsers ?? []);
    this.#keepPool();
    this.#health.keep(service.apps.map(({ name }) => name));
    for (const app of service.apps) {
      if (added.includes(app.name) || changed.includes(app.name)) this.#servers.announceLimits(app);
    }
    for (const session of this.#sessions.values()) {
      if (removed.includes(session.grant.app)) void session.end("the app was removed from the agent's configuration");
    }
    // The proxy need not know how an app is launched.
    if (this.#control.up) this.#offerAnew(); // else the next hello says it, or its welcome finds it
    const list = (apps: string[]) => (apps.length === 0 ? undefined : apps.join(","));
    if (added.length + changed.length + removed.length > 0) {
      this.#log.info("apps.changed", { added: list(added), changed: list(changed), removed: list(removed) });
    }
  }

  #offer(): OfferedApps {
    this.#offered = offerOf(this.#service);
    return this.#offered;
  }

  #offerAnew(): void {
    if (!Bun.deepEquals(this.#offered, offerOf(this.#service))) this.#control.send({ t: "apps", apps: this.#offer() });
  }

  /** Each app's pins are loaded once, and followed by all of its sessions, also when they are to be treated otherwise. */
  #pinsOf(apps: readonly AppConfig[]): ReadonlyMap<string, AppPins> {
    const loaded = loadPins(
      join(this.#dataDir, "agent"),
      apps.filter(({ name }) => !this.#loadedPins.has(name)),
    );
    for (const [name, each] of loaded) this.#loadedPins.set(name, each);
    const pins = new Map<string, AppPins>();
    for (const { name, toolPinning = "warn" } of apps) {
      const each = this.#loadedPins.get(name);
      if (each === undefined || toolPinning === "off") continue;
      each.enforce = toolPinning === "enforce";
      pins.set(name, each);
    }
    return pins;
  }

  #watchPins(): void {
    for (const each of this.#pins.values()) each.onChanged = () => this.#reportPins(each);
  }

  #keepPool(): void {
    if (this.#stopping === undefined) this.#pool.keep(this.#service.apps);
  }

  async #stop(): Promise<void> {
    if (!this.#abrupt) await this.#drain();
    clearInterval(this.#tick);
    // Long before the lock goes: the runtime removes the socket's file a moment after it was told to.
    this.#status.close();
    await Promise.all([...this.#sessions.values()].map((session) => session.end(STOPS)));
    await this.#pool.close();
    await this.#containment.close();
    await this.#control.flush(LAST_EVENTS_MS);
    this.#control.stop();
    this.#spool.close();
    this.#lock.release();
    this.#ready.reject(new Failure("unavailable", "the agent was stopped"));
    this.#closed.resolve();
  }

  /** Until every call is answered, or time is up. Sessions that wait for nothing end at once. */
  async #drain(): Promise<void> {
    const { drainSeconds } = this.#service;
    const sessions = [...this.#sessions.values()];
    const calls = sessions.reduce((sum, session) => sum + session.openCalls, 0);
    if (calls > 0) this.#log.info("agent.draining", { calls, limit_s: drainSeconds });
    const over = Promise.withResolvers<void>();
    const timer = setTimeout(over.resolve, drainSeconds * 1000);
    await Promise.all(
      sessions.map(async (session) => {
        await Promise.race([session.drain(), over.promise]);
        await session.end(STOPS);
      }),
    );
    clearTimeout(timer);
  }

  /** The clock of detached sessions runs only while clients could come: a proxy that was down for an hour kills none. */
  #onTick(): void {
    this.#containment.sweep();
    const now = performance.now();
    for (const session of this.#sessions.values()) session.checkLimits(now);
    if (!this.#control.up) return;
    for (const session of this.#sessions.values()) session.tick(TICK_MS, this.#service.resumeWindowSeconds * 1000);
  }

  /** We are what is left of the two: the servers end now, and the proxy hears of it before we do. */
  #onGuardLost(): void {
    this.#abrupt = true;
    this.#log.error("guard.lost");
    for (const session of this.#sessions.values()) void session.kill("the agent's guard process was killed");
    for (const pid of serverLedger.pids()) killGroupOf(pid);
    this.#containment.killAll();
    this.#closed.reject(
      new Failure("unavailable", "the agent's guard process was killed", { hint: "mcpgate agent start" }),
    );
  }

  #onMessage(message: Parameters<ConstructorParameters<typeof Control>[0]["onMessage"]>[0]): void {
    switch (message.t) {
      case "welcome":
        this.#ended.clear();
        this.#onWelcome(message);
        break;
      case "session.open":
        this.#next(() => this.#onOpen(message));
        break;
      case "session.policy":
        this.#next(() => this.#onPolicy(message.grant));
        break;
      case "apps.taken":
        for (const { name, reason } of message.refused) this.#log.error("app.refused", { app: name, reason });
        this.#tellHealth();
        this.#tellPins();
        break;
      case "tools.approved":
        this.#onApproved(message);
        break;
      case "session.end":
        this.#next(async () => void this.#sessions.get(message.sid)?.end(message.reason));
        break;
    }
  }

  /** A grant takes a moment to check; nothing that came after it overtakes it. */
  #next(work: () => Promise<void>): void {
    this.#inOrder = this.#inOrder.then(work);
  }

  #onWelcome(message: Extract<ToAgent, { t: "welcome" }>): void {
    this.#grants.learnClock(message.now);
    this.#offerAnew(); // reloaded while the hello was on its way
    for (const { name, reason } of message.refused) this.#log.error("app.refused", { app: name, reason });
    const refused = new Set(message.refused.map(({ name }) => name));
    const apps = this.#service.apps.map(({ name }) => name).filter((name) => !refused.has(name));
    this.#log.info("control.connected", { apps: apps.join(","), sessions: this.#sessions.size });
    this.#tellHealth();
    this.#tellPins();
    this.#ready.resolve({ agent: this.#identity.name, apps });
  }

  #tellPins(): void {
    for (const { name: app } of this.#service.apps)
      this.#reportPins(this.#pins.get(app) ?? { app, enforce: false, report: [] });
  }

  #reportPins({ app, enforce, report }: { app: string; enforce: boolean; report: PinReport[] }): void {
    this.#control.send({ t: "tools.pins", app, enforce, tools: report });
  }

  #onApproved({ app, tools }: Extract<ToAgent, { t: "tools.approved" }>): void {
    if (this.#pins.get(app)?.approve(tools) !== true) return;
    this.#log.info("tools.approved", { app, tools: tools.length });
    for (const session of this.#sessions.values()) if (session.grant.app === app) session.toolsApproved();
  }

  // --- sessions ---

  /** A grant came: a new session, or a new connection of one that lives. */
  async #onOpen({
    attach,
    resume,
    link: offered,
    grant: text,
  }: Extract<ToAgent, { t: "session.open" }>): Promise<void> {
    let grant: ReceivedGrant;
    try {
      grant = await this.#grants.take(text);
      if (grant.attach !== attach) throw new Failure("bad_proof", "the grant is for another connection");
    } catch (error) {
      this.#log.error("grant.refused", { error: Failure.from(error).message });
      return;
    }
    // Where only the connection failed, the session is there for the next one.
    const refuse = (error: unknown, gone: boolean) => {
      const failure = Failure.from(error);
      this.#log.warn("session.refused", { sid: grant.sid, error: failure.message });
      this.#control.send({ t: "session.refused", attach, sid: grant.sid, gone, ...failure.toJSON() });
    };
    try {
      const link = chooseVersion(offered);
      if (link === undefined) {
        throw new Failure("version_skew", `the agent speaks link version ${LINK_VERSIONS}, and the client ${offered}`, {
          hint: "update mcpgate where it is older: mcpgate version",
        });
      }
      const session = this.#openSession(grant, resume);
      void this.#dialSession(session, attach, link).catch((error) => refuse(error, false));
    } catch (error) {
      refuse(error, true);
    }
  }

  /**
   * Opening twice is opening once: the session's id says which it is, and only its own user comes back to it. With which
   * key is the proxy's to check, as at the first time: a login that expired in mid-session is followed by another.
   */
  #openSession(grant: Grant, resume: boolean): Session {
    const known = this.#sessions.get(grant.sid);
    if (known !== undefined) {
      const { user, app } = known.grant;
      if (user !== grant.user || app !== grant.app) {
        throw new Failure("access_denied", "the session belongs to somebody else");
      }
      known.update(grant);
      return known;
    }
    if (this.#stopping !== undefined) throw new Failure("agent_offline", "the agent stops");
    if (resume) throw new Failure("session_gone", "the session ended on the agent");
    const app = this.#service.apps.find(({ name }) => name === grant.app);
    if (app === undefined) throw new Failure("not_found", `this agent has no app "${grant.app}"`);
    this.#checkCount(app, grant.user);
    const log = this.#log.child({ sid: grant.sid, app: grant.app, user: grant.user });
    const session = new Session({
      grant,
      app,
      log,
      start: (onStdout) => this.#startServer(app, grant, log, onStdout),
      onSpoke: () => this.#health.ok(app.name),
      onFailed: (how) => this.#health.failed(app.name, how, session.serverPid),
      record: (events) => this.#record(events),
      pins: this.#pins.get(app.name),
      held: () => this.#control.held,
      budget: this.#budget.of(grant.user),
      onEnded: (reason, ok) => {
        this.#sessions.delete(grant.sid);
        if (this.#control.up) this.#control.send({ t: "session.ended", sid: grant.sid, reason, ok });
        else this.#ended.set(grant.sid, { reason, ok });
      },
    });
    this.#sessions.set(grant.sid, session);
    return session;
  }

  #tellHealth(): void {
    this.#control.send({ t: "apps.health", apps: this.#health.list() });
  }

  #checkCount(app: AppConfig, user: string): void {
    const { sessionsPerApp, sessionsPerUser } = app.mcp.limits ?? {};
    const all = [...this.#sessions.values()].filter(({ grant }) => grant.app === app.name);
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
    onStdout: StartOptions["onStdout"],
  ): Promise<ServerProcess> {
    const wait = this.#health.waitMs(app.name);
    if (wait > 0) {
      log.warn("server.backoff", { ms: Math.round(wait) });
      await Bun.sleep(wait);
    }
    return this.#pool.open(app, { sid, person: { user, traits }, log, onStdout });
  }

  #describe(): AgentStatus {
    const sessions = [...this.#sessions.values()];
    return {
      agent: this.#identity.name,
      version: VERSION,
      pid: process.pid,
      guard: this.#guard !== undefined,
      containment: this.#containment.mechanism,
      connected: this.#control.up,
      servers: serverLedger.counts(),
      pending_events: this.#spool.pending,
      apps: this.#health.list().map((health) => ({
        ...health,
        sessions: sessions.filter(({ grant }) => grant.app === health.app).length,
        ...this.#describeServers(health.app),
      })),
      sessions: sessions.map(({ sid, user, grant, serverPid }) => ({
        sid,
        user,
        app: grant.app,
        ...(serverPid === undefined ? {} : { pid: serverPid }),
      })),
    };
  }

  #describeServers(app: string): { pinned?: string; spares?: number } {
    const spares = this.#pool.spares(app);
    const pinned = pinnedTo(packagesDirectory(this.#dataDir), app);
    return { ...(pinned === undefined ? {} : { pinned }), ...(spares === 0 ? {} : { spares }) };
  }

  /** Each session has a connection of its own, dialled out as everything is. */
  async #dialSession(session: Session, attach: string, link: number): Promise<void> {
    const { trust, key } = this.#identity;
    await dial({
      trust,
      path: AGENT_SESSION_PATH,
      answer: async (nonce) => ({
        t: "accept",
        attach,
        link,
        resume_window: this.#service.resumeWindowSeconds,
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
      const grant = await this.#grants.take(text);
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

/** What the proxy is told of the apps. */
type OfferedApps = ReturnType<typeof offerOf>;
const offerOf = ({ apps }: AppServiceConfig) =>
  apps.map(({ name, description, labels, shared }) => ({ name, description, labels, shared }));

function killGroupOf(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It ended by itself.
  }
}
