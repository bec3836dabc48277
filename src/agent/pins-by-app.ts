/** Each app's tool pins: loaded once, followed by all of its sessions, and told to the proxy. */
import { join } from "node:path";
import type { AppConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import type { FromAgent } from "../link/from-agent.ts";
import type { Log } from "../log.ts";
import { type AppPins, loadPins } from "./tool-pins.ts";

export interface PinsByAppOptions {
  /** The agent's data directory. */
  dataDir: string;
  log: Log;
  send(message: FromAgent): void;
}

export class PinsByApp {
  readonly #o: PinsByAppOptions;
  /** Also of apps that are gone or don't want them now, once there is something in them: two objects would overwrite each other's file. */
  readonly #loaded: Map<string, AppPins>;
  #apps: readonly AppConfig[] = [];
  /** Of the apps whose tools are pinned. */
  #pins: ReadonlyMap<string, AppPins> = new Map();

  constructor(options: PinsByAppOptions, loaded: ReadonlyMap<string, AppPins>) {
    this.#o = options;
    this.#loaded = new Map(loaded);
  }

  /** Undefined: `tool_pinning: off`. */
  of(app: string): AppPins | undefined {
    return this.#pins.get(app);
  }

  /** What keeps the app's pins from being used: a file of them that can't be read. */
  fault(app: AppConfig): string | undefined {
    try {
      this.#load([app]);
      return undefined;
    } catch (error) {
      return Failure.from(error).message;
    }
  }

  /** The apps that there are now, and how each wants its tools pinned. Throws what `loadPins` throws, and then nothing changed. */
  keep(apps: readonly AppConfig[]): void {
    this.#load(apps);
    const pins = new Map<string, AppPins>();
    for (const { name, toolPinning = "warn" } of apps) {
      const each = this.#loaded.get(name);
      if (each === undefined || toolPinning === "off") continue;
      each.enforce = toolPinning === "enforce";
      each.onChanged = () => this.#report(each);
      pins.set(name, each);
    }
    // There is no end to the names that a proxy could think of.
    for (const [name, each] of this.#loaded) if (each.isBlank && !pins.has(name)) this.#loaded.delete(name);
    this.#apps = apps;
    this.#pins = pins;
  }

  /** All of them, to the proxy. */
  tell(): void {
    for (const { name: app } of this.#apps) this.#report(this.#pins.get(app) ?? { app, enforce: false, report: [] });
  }

  /** An admin has approved these definitions. True: something was released. */
  approve(app: string, tools: readonly { tool: string; hash: string }[]): boolean {
    if (this.#pins.get(app)?.approve(tools) !== true) return false;
    this.#o.log.info("tools.approved", { app, tools: tools.length });
    return true;
  }

  #load(apps: readonly AppConfig[]): void {
    const unknown = apps.filter(({ name }) => !this.#loaded.has(name));
    for (const [name, each] of loadPins(join(this.#o.dataDir, "agent"), unknown)) this.#loaded.set(name, each);
  }

  #report({ app, enforce, report }: Pick<AppPins, "app" | "enforce" | "report">): void {
    this.#o.send({ t: "tools.pins", app, enforce, tools: report });
  }
}
