/** The apps that the agent offers, and what follows when they change: only those that changed are touched. */
import { changedApps } from "../config/changes.ts";
import type { AppConfig, AppServiceConfig } from "../config/config.ts";
import type { FromAgent } from "../link/from-agent.ts";
import type { Log } from "../log.ts";
import type { AppHealth } from "./health.ts";
import type { PinsByApp } from "./pins-by-app.ts";
import type { ServerPool } from "./server-pool.ts";
import type { Servers } from "./servers.ts";
import type { Sessions } from "./sessions.ts";

export interface AppsOptions {
  log: Log;
  servers: Pick<Servers, "announceLimits">;
  pool: Pick<ServerPool, "keep">;
  health: AppHealth;
  pins: PinsByApp;
  sessions(): Pick<Sessions, "of">;
  /** The control connection, as it is when it is asked for. */
  control(): { readonly up: boolean; send(message: FromAgent): void };
}

export class Apps {
  readonly #o: AppsOptions;
  #all: readonly AppConfig[];
  /** Which of the proxy's app resources the agent takes. */
  #selectors: Selectors;
  /** As the proxy was last told, and whether it refused some of it: the reason may be gone. */
  #offered: Offer | undefined;
  #refused = new Map<string, string>();
  /** The pool keeps no spares before the containers of an earlier agent are gone, nor after the last session. */
  #pooling = false;

  /** Throws what `PinsByApp.keep` throws. */
  constructor(options: AppsOptions, apps: readonly AppConfig[], selectors: Selectors) {
    this.#o = options;
    this.#all = apps;
    this.#selectors = selectors;
    options.health.keep(apps.map(({ name }) => name));
    options.pins.keep(apps);
    for (const app of apps) options.servers.announceLimits(app);
  }

  get all(): readonly AppConfig[] {
    return this.#all;
  }

  find(name: string): AppConfig | undefined {
    return this.#all.find((app) => app.name === name);
  }

  /** The names of those that the proxy did not refuse. */
  get taken(): string[] {
    return this.#all.map(({ name }) => name).filter((name) => !this.#refused.has(name));
  }

  /** Why the proxy does not take the app, as it last said. */
  refusal(name: string): string | undefined {
    return this.#refused.get(name);
  }

  pool(on: boolean): void {
    this.#pooling = on;
    if (on) this.#o.pool.keep(this.#all);
  }

  /** For the hello. */
  offer(): Offer {
    this.#offered = this.#now();
    return this.#offered;
  }

  /** The proxy's answer to an offer. */
  answered(refused: readonly { name: string; reason: string }[]): void {
    this.#refused = new Map(refused.map(({ name, reason }) => [name, reason]));
    for (const { name, reason } of refused) this.#o.log.error("app.refused", { app: name, reason });
  }

  /** Tells the proxy, where it was told something else. The proxy need not know how an app is launched. */
  offerAnew(): void {
    if (!Bun.deepEquals(this.#offered, this.#now())) this.#o.control().send({ t: "apps", ...this.offer() });
  }

  /** The same, and where something was refused, also what it was told already. */
  offerAgain(): void {
    if (this.#refused.size > 0) this.#offered = undefined;
    this.offerAnew();
  }

  /** From now on. `gone`: what the sessions of an app that is there no more are told. Throws what `PinsByApp.keep` throws; then nothing has changed. */
  take(apps: readonly AppConfig[], selectors: Selectors, gone: (app: string) => string): void {
    const { log, servers, pool, health, pins, sessions, control } = this.#o;
    const { added, changed, removed } = changedApps(this.#all, apps);
    pins.keep(apps);
    this.#all = apps;
    this.#selectors = selectors;
    if (this.#pooling) pool.keep(apps);
    health.keep(apps.map(({ name }) => name));
    for (const app of apps) {
      if (added.includes(app.name) || changed.includes(app.name)) servers.announceLimits(app);
    }
    for (const app of removed) for (const session of sessions().of(app)) void session.end(gone(app));
    if (control().up) this.offerAnew(); // else the next hello says it, or its welcome finds it
    const list = (names: string[]) => (names.length === 0 ? undefined : names.join(","));
    if (added.length + changed.length + removed.length > 0) {
      log.info("apps.changed", { added: list(added), changed: list(changed), removed: list(removed) });
    }
  }

  #now(): Offer {
    return { apps: this.#all.map(offered), resources: this.#selectors.map((selector) => ({ ...selector })) };
  }
}

/** What the proxy is told: the apps, and which app resources the agent takes. */
type Offer = Pick<Extract<FromAgent, { t: "apps" }>, "apps" | "resources">;
type Selectors = NonNullable<AppServiceConfig["resources"]>;

const offered = ({ name, description, labels, shared, resource }: AppConfig): Offer["apps"][number] => ({
  ...{ name, description, labels, shared, resource: resource === true },
});
