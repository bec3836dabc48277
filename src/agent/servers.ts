/**
 * Starts an app's server the way its configuration says, for a session or for a check: with whatever keeps its processes
 * together, and the end of its container where it is one.
 */
import type { AppConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";
import { type ContainerRun, containerRun, endContainers, labelled, type Whose } from "./containers.ts";
import type { Containment } from "./containment.ts";
import { SpareExecHelper } from "./exec-helper.ts";
import { hostUserOf, type Person } from "./host-login.ts";
import { planLimits } from "./limits.ts";
import { type Program, programOf } from "./package-pins.ts";
import type { OnStdout, ServerProcess } from "./process.ts";
import { requirePlainPaths } from "./sandbox.ts";
import { Secrets } from "./secrets.ts";
import { type StartOptions, startServer } from "./start-server.ts";
import { loadVariables } from "./variables.ts";

export interface ServersOptions {
  /** This agent's id, for the labels of containers. */
  agent: string;
  self: string[];
  containment: Containment;
  /** Who a template in `run_as_host_user` may come to. */
  allowHostUsers: string[];
  log: Log;
  /** Where `mcpgate agent pin` puts its copies; without it apps run what their configuration says. */
  packages?: string | undefined;
}

/** Whom the server is for. */
export interface Occasion {
  sid: string;
  person: Person;
  log: Log;
  onStdout: OnStdout;
}

export class Servers {
  readonly #o: ServersOptions;
  readonly #helpers: SpareExecHelper;
  /** Container engines, for each user, on which no container of an earlier agent's runs; or which are being seen to. */
  readonly #swept = new Map<string, Promise<void> | true>();

  constructor(options: ServersOptions) {
    this.#o = { ...options };
    this.#helpers = new SpareExecHelper(options.self, () => options.containment?.makeGroup());
  }

  /** Starts nothing that stands ready for a server. */
  close(): Promise<void> {
    return this.#helpers.close();
  }

  /** From now on. */
  allowHostUsers(names: string[]): void {
    this.#o.allowHostUsers = names;
  }

  /** Failure `start_failed` unless the server's program runs. */
  async start(app: AppConfig, { sid, person, log, onStdout }: Occasion): Promise<ServerProcess> {
    const hostUser = this.#hostUser(app, person);
    const { command, args, reads } = this.#program(app);
    const options = { ...(await this.#options(app, hostUser, log)), command };
    const run = containerRun(command, args);
    // From here on what has our label there may be a live session's.
    for (const { engine } of this.#engines(app)) this.#swept.set(engine, true);
    const { limits, sandbox } = app.mcp;
    if (app.resource && sandbox !== undefined) requirePlainPaths(sandbox);
    return startServer({
      ...options,
      helpers: this.#helpers,
      limits,
      sandbox: sandbox === undefined ? undefined : { ...sandbox, read: [...sandbox.read, ...reads] },
      args: run === undefined ? args : labelled(run, this.#o.agent, sid),
      onStdout,
      ...(run === undefined ? {} : { afterwards: () => this.#endContainers(app, hostUser, run, { sid }) }),
    });
  }

  /** What a server for this person is started as: two with the same recipe are as good as each other. */
  recipeOf(app: AppConfig, person: Person): string {
    const { share: _, linger: __, warm: ___, ...mcp } = app.mcp;
    return JSON.stringify([mcp, this.#hostUser(app, person), this.#program(app)]);
  }

  #hostUser({ mcp }: AppConfig, person: Person): string | undefined {
    return mcp.runAsHostUser === undefined ? undefined : hostUserOf(mcp.runAsHostUser, person, this.#o.allowHostUsers);
  }

  #program({ name, mcp }: AppConfig): Program {
    return this.#o.packages === undefined
      ? { command: mcp.command, args: mcp.args, reads: [] }
      : programOf(this.#o.packages, name, mcp);
  }

  /** Says how the app's limits are kept on this host, and which can't be. */
  announceLimits({ name, mcp }: AppConfig): void {
    const { log, containment } = this.#o;
    const root = mcp.runAsHostUser === "root";
    for (const { limit, by, why } of planLimits(mcp.limits ?? {}, containment.controllers, root).kept) {
      const fields = { app: name, limit: `limits.${limit}`, by, ...(why === undefined ? {} : { why }) };
      if (why === undefined) log.info("app.limit", fields);
      else log.warn("app.limit", fields);
    }
  }

  /** Ends the containers that an agent that was killed left behind. */
  async sweepContainers(apps: readonly AppConfig[]): Promise<void> {
    for (const app of apps) {
      for (const { engine, run, hostUser } of this.#engines(app)) {
        // Once for each engine and user, however many apps run on it.
        const swept = this.#swept.get(engine);
        if (swept === true) continue;
        const sweep = swept ?? this.#endContainers(app, hostUser, run, { agent: this.#o.agent });
        this.#swept.set(engine, sweep);
        await sweep;
        this.#swept.set(engine, true);
      }
    }
  }

  /** Nothing that an earlier agent started for such an app is left. */
  isSwept(app: AppConfig): boolean {
    return this.#engines(app).every(({ engine }) => this.#swept.get(engine) === true);
  }

  #engines(app: AppConfig): { engine: string; run: ContainerRun; hostUser: string | undefined }[] {
    const { command, args, runAsHostUser, env } = app.mcp;
    const run = containerRun(command, args);
    if (run === undefined) return [];
    const users = runAsHostUser?.includes("{{") ? this.#o.allowHostUsers : [runAsHostUser];
    return users.map((hostUser) => ({ engine: JSON.stringify([command, run.before, hostUser, env]), run, hostUser }));
  }

  async #endContainers(app: AppConfig, hostUser: string | undefined, run: ContainerRun, whose: Whose): Promise<void> {
    try {
      await endContainers(run, whose, await this.#options(app, hostUser, this.#o.log));
    } catch (error) {
      this.#o.log.warn("containers.failed", { app: app.name, error: Failure.from(error).message });
    }
  }

  async #options(
    app: AppConfig,
    hostUser: string | undefined,
    log: Log,
  ): Promise<Omit<StartOptions, "args" | "onStdout">> {
    const { command, cwd, stopGrace } = app.mcp;
    const { self, containment } = this.#o;
    const { env, secrets } = await loadVariables(app.mcp.env ?? {});
    return {
      ...{ command, env, cwd, hostUser, self, containment, log },
      secrets: new Secrets(secrets),
      graces: {
        ...(stopGrace?.stdin === undefined ? {} : { inputMs: stopGrace.stdin * 1000 }),
        ...(stopGrace?.term === undefined ? {} : { termMs: stopGrace.term * 1000 }),
      },
    };
  }
}
