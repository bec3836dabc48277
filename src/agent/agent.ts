/** The running agent: its parts, from start to stop. */
import type { Spool } from "../audit/spool.ts";
import type { AppConfig, AppServiceConfig, Config } from "../config/config.ts";
import { Failure } from "../errors.ts";
import type { DirectoryLock } from "../identity/directory-lock.ts";
import type { FromAgent } from "../link/from-agent.ts";
import type { Log } from "../log.ts";
import { Apps } from "./apps.ts";
import { Catalog } from "./catalog.ts";
import type { Containment } from "./containment.ts";
import { Control } from "./control.ts";
import { conversation, tellHealth } from "./conversation.ts";
import { describeAgent } from "./describe.ts";
import type { GuardLink } from "./guard.ts";
import { AppHealth } from "./health.ts";
import type { AgentIdentity } from "./join.ts";
import { serverLedger } from "./ledger.ts";
import type { Observed } from "./observed.ts";
import { packagesDirectory } from "./package-pins.ts";
import { PinsByApp } from "./pins-by-app.ts";
import { ServerPool } from "./server-pool.ts";
import { Servers } from "./servers.ts";
import { Sessions } from "./sessions.ts";
import { openStatusSocket } from "./status.ts";
import type { AppPins } from "./tool-pins.ts";

export interface RunningAgent {
  /** The first time that the proxy took the apps. */
  ready: Promise<{ agent: string; apps: string[] }>;
  /** The apps that the proxy takes from it; undefined while the two are not connected. */
  offers(): string[] | undefined;
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
  observed: Observed;
}

export class Agent implements RunningAgent {
  readonly #parts: AgentParts;
  readonly #log: Log;
  #service: AppServiceConfig;
  readonly #servers: Servers;
  readonly #pool: ServerPool;
  readonly #health: AppHealth;
  readonly #pins: PinsByApp;
  readonly #apps: Apps;
  readonly #catalog: Catalog;
  readonly #sessions: Sessions;
  readonly #control: Control;
  readonly #status: { close(): void };
  readonly #ready = Promise.withResolvers<{ agent: string; apps: string[] }>();
  readonly #closed = Promise.withResolvers<void>();
  readonly #tick: ReturnType<typeof setInterval>;
  #stopping: Promise<void> | undefined;
  /** The proxy does not want this agent, or nobody watches it: nothing is waited for. */
  #abrupt = false;

  constructor(parts: AgentParts, service: AppServiceConfig) {
    const { identity, spool, containment, guard, log, self, dataDir } = parts;
    const { apps, allowHostUsers = [] } = service;
    this.#parts = parts;
    this.#log = log;
    this.#service = service;
    const send = (message: FromAgent) => this.#control.send(message);
    this.#health = new AppHealth([], () => tellHealth({ health: this.#health, send }));
    const packages = packagesDirectory(dataDir);
    this.#servers = new Servers({ agent: identity.agent, self, containment, allowHostUsers, log, packages });
    this.#pool = new ServerPool(this.#servers, log);
    this.#pins = new PinsByApp({ dataDir, log, send }, parts.pins);
    this.#apps = new Apps(
      {
        log,
        servers: this.#servers,
        pool: this.#pool,
        health: this.#health,
        pins: this.#pins,
        sessions: () => this.#sessions,
        control: () => this.#control,
      },
      apps,
      service.resources ?? [],
    );
    this.#catalog = new Catalog(
      {
        log,
        apps: this.#apps,
        pins: this.#pins,
        servers: this.#servers,
        send,
      },
      service,
    );
    // Not before: the sweep would end a spare's container, too.
    void this.#servers.sweepContainers(apps).then(() => this.#apps.pool(this.#stopping === undefined));
    this.#sessions = new Sessions({
      identity,
      spool,
      log,
      pool: this.#pool,
      health: this.#health,
      control: () => this.#control,
      app: (name) => this.#findApp(name),
      pins: (app) => this.#pins.of(app),
      resumeWindow: () => this.#service.resumeWindowSeconds,
      observed: parts.observed,
    });
    this.#status = openStatusSocket(dataDir, log, () =>
      describeAgent({
        name: identity.name,
        dataDir,
        guard: guard !== undefined,
        containment: containment.mechanism,
        connected: this.#control.up,
        pendingEvents: spool.pending,
        health: this.#health,
        apps: this.#apps,
        sessions: this.#sessions,
        pool: this.#pool,
      }),
    );
    this.#control = new Control(
      conversation({
        ...parts,
        apps: this.#apps,
        catalog: this.#catalog,
        pins: this.#pins,
        health: this.#health,
        sessions: this.#sessions,
        send,
        onWelcome: (taken) => this.#ready.resolve({ agent: identity.name, apps: taken }),
        onRejected: (failure) => {
          this.#abrupt = true;
          this.#ready.reject(failure);
          this.#closed.reject(failure);
        },
      }),
    );
    const [health, sessions, pool, control] = [this.#health, this.#sessions, this.#pool, this.#control];
    parts.observed.open({ health, sessions, pool, control, spool, servers: () => serverLedger.counts() });
    // Both may reject before anybody listens.
    this.#ready.promise.catch(() => {});
    this.#closed.promise.catch(() => {});
    this.#tick = setInterval(() => {
      containment.sweep();
      this.#sessions.tick(TICK_MS);
    }, TICK_MS);
    void guard?.lost.then(() => this.#onGuardLost());
    void this.#control.run();
  }

  get ready(): Promise<{ agent: string; apps: string[] }> {
    return this.#ready.promise;
  }

  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  offers(): string[] | undefined {
    return this.#control.up ? this.#apps.taken : undefined;
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
    this.#catalog.reload(service);
    this.#service = service;
    this.#servers.allowHostUsers(service.allowHostUsers ?? []);
  }

  async #stop(): Promise<void> {
    const { containment, spool, lock } = this.#parts;
    this.#sessions.close();
    this.#apps.pool(false);
    if (!this.#abrupt) await this.#sessions.drain(this.#service.drainSeconds, STOPS);
    clearInterval(this.#tick);
    // Long before the lock goes: the runtime removes the socket's file a moment after it was told to.
    this.#status.close();
    await Promise.all(this.#sessions.all.map((session) => session.end(STOPS)));
    await this.#pool.close();
    await this.#servers.close();
    await containment.close();
    await this.#control.flush(LAST_EVENTS_MS);
    this.#control.stop();
    spool.close();
    await this.#parts.observed.close();
    lock.release();
    this.#ready.reject(new Failure("unavailable", "the agent was stopped"));
    this.#closed.resolve();
  }

  /** We are what is left of the two: the servers end now, and the proxy hears of it before we do. */
  #onGuardLost(): void {
    this.#abrupt = true;
    this.#log.error("guard.lost");
    for (const session of this.#sessions.all) void session.kill("the agent's guard process was killed");
    for (const pid of serverLedger.pids()) killGroupOf(pid);
    this.#parts.containment.killAll();
    this.#closed.reject(
      new Failure("unavailable", "the agent's guard process was killed", { hint: "mcpgate agent start" }),
    );
  }

  #findApp(name: string): AppConfig | undefined {
    if (this.#catalog.isHeld(name)) throw new Failure("agent_offline", `the agent does not offer "${name}" yet`);
    return this.#apps.find(name);
  }
}

function killGroupOf(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It ended by itself.
  }
}
