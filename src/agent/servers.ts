/**
 * Starts an app's server the way its configuration says, for a session or for a check: with whatever keeps its processes
 * together, and the end of its container where it is one.
 */
import type { AppConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";
import { type ContainerRun, containerRun, endContainers, labelled, type Whose } from "./containers.ts";
import type { Containment } from "./containment.ts";
import { hostUserOf, type Person } from "./host-login.ts";
import { planLimits } from "./limits.ts";
import { type Program, programOf } from "./package-pins.ts";
import { type ServerProcess, type StartOptions, startServer } from "./process.ts";
import { Secrets } from "./secrets.ts";
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
  onStdout: StartOptions["onStdout"];
}

export class Servers {
  readonly #o: ServersOptions;

  constructor(options: ServersOptions) {
    this.#o = { ...options };
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
    const { limits, sandbox } = app.mcp;
    return startServer({
      ...options,
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
    const done = new Set<string>();
    for (const app of apps) {
      const run = containerRun(app.mcp.command, app.mcp.args);
      if (run === undefined) continue;
      const setting = app.mcp.runAsHostUser;
      for (const hostUser of setting?.includes("{{") ? this.#o.allowHostUsers : [setting]) {
        // Once for each engine and user, however many apps run on it.
        const engine = JSON.stringify([app.mcp.command, run.before, hostUser, app.mcp.env]);
        if (done.has(engine)) continue;
        done.add(engine);
        await this.#endContainers(app, hostUser, run, { agent: this.#o.agent });
      }
    }
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
