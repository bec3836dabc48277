/** Where the agent's apps come from: its own file, and what of the proxy's app resources that file admits. */
import type { AppServiceConfig } from "../config/config.ts";
import { dotted } from "../config/positions.ts";
import { type OptIn, optInWarnings } from "../config/warnings.ts";
import type { FromAgent } from "../link/from-agent.ts";
import type { AppResourceMessage } from "../link/to-agent.ts";
import type { Log } from "../log.ts";
import { type Admitted, admitResources } from "./admit-resources.ts";
import type { Apps } from "./apps.ts";
import type { PinsByApp } from "./pins-by-app.ts";
import type { Servers } from "./servers.ts";

export interface CatalogOptions {
  log: Log;
  apps: Apps;
  pins: Pick<PinsByApp, "fault">;
  servers: Pick<Servers, "isSwept" | "sweepContainers">;
  send(message: FromAgent): void;
}

export class Catalog {
  readonly #o: CatalogOptions;
  #service: AppServiceConfig;
  #resources: readonly AppResourceMessage[] = [];
  /** Resources of which an earlier agent's containers may still run: theirs would be taken for those. */
  readonly #held = new Set<string>();
  /** Refusals that the log has: name → revision and reason. */
  #logged = new Map<string, string>();

  constructor(options: CatalogOptions, service: AppServiceConfig) {
    this.#o = options;
    this.#service = service;
    this.#warn(service);
  }

  /** It will be offered in a moment. */
  isHeld(app: string): boolean {
    return this.#held.has(app);
  }

  /** The agent's own file is another one from now on. Throws where it can't be taken over; then nothing has changed. */
  reload(service: AppServiceConfig): void {
    this.#take(service);
    if (!Bun.deepEquals(optInOf(this.#service), optInOf(service))) this.#warn(service);
    this.#service = service;
  }

  /** The proxy's resources as they are now, all of them. */
  async receive(resources: readonly AppResourceMessage[]): Promise<void> {
    const { servers } = this.#o;
    this.#resources = resources;
    const unswept = this.#admit(this.#service).apps.filter((app) => !servers.isSwept(app));
    for (const { name } of unswept) this.#held.add(name);
    this.#take(this.#service);
    if (unswept.length === 0) return;
    await servers.sweepContainers(unswept);
    for (const { name } of unswept) this.#held.delete(name);
    this.#take(this.#service);
  }

  /** As `mcpgate config check` does. */
  #warn(service: AppServiceConfig): void {
    for (const { path, message } of optInWarnings(optInOf(service))) {
      this.#o.log.warn("config.warning", { key: dotted(["app_service", ...path]), warning: message });
    }
  }

  #admit(service: AppServiceConfig): Admitted {
    return admitResources(this.#resources, service, (app) => this.#o.pins.fault(app));
  }

  #take(service: AppServiceConfig): void {
    const { apps: all, reports } = this.#admit(service);
    const apps = all.filter(({ name }) => !this.#held.has(name));
    const refused = new Map(reports.map(({ name, reason }) => [name, reason]));
    this.#o.apps.take([...service.apps, ...apps], service.resources ?? [], (app) => this.#gone(app, refused.get(app)));
    this.#logRefused(reports);
    const settled = reports.filter(({ name }) => !this.#held.has(name));
    if (this.#resources.length > 0) this.#o.send({ t: "app.resources.taken", resources: settled });
  }

  /** What the sessions of an app that is offered no more are told. */
  #gone(app: string, refused: string | undefined): string {
    if (this.#service.apps.some(({ name }) => name === app)) {
      return "the app was removed from the agent's configuration";
    }
    return refused === undefined ? "the app was removed" : `its agent does not run the app any more: ${refused}`;
  }

  #logRefused(reports: Admitted["reports"]): void {
    const logged = new Map<string, string>();
    for (const { name, revision, state, reason } of reports) {
      if (state !== "refused") continue;
      const said = `${revision} ${reason}`;
      logged.set(name, said);
      if (this.#logged.get(name) !== said) this.#o.log.warn("app_resource.refused", { app: name, reason });
    }
    this.#logged = logged;
  }
}

const optInOf = ({ resources, allowCommands, allowHostUsers }: AppServiceConfig): OptIn => ({
  resources,
  allow_commands: allowCommands,
  allow_host_users: allowHostUsers,
});
