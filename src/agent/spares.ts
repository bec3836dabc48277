/**
 * Servers that were started before anybody asked (`mcp.warm`), so that one that is slow to start answers at once. A spare
 * is handed to one session as if it had been started for it: nothing was ever written to it, and what it has said so far
 * waits in its pipe.
 */
import type { AppConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";
import type { ServerProcess, StartOptions } from "./process.ts";

export interface SparesOptions {
  start(app: AppConfig, log: Log, onStdout: StartOptions["onStdout"]): Promise<ServerProcess>;
  /** What the app's servers are started as, now: a spare of another recipe is of no use. */
  recipeOf(app: AppConfig): string;
  log: Log;
  /** Before the next try at a spare that could not be had; resolves early when `stopped` does. Milliseconds. */
  pause?: (ms: number, stopped: Promise<void>) => Promise<unknown>;
}

interface Spare {
  server: ServerProcess;
  recipe: string;
  outlet: Outlet;
}

/** Milliseconds. */
const PAUSE = { first: 1_000, longest: 60_000 };
/** A secret that the spare was given may have been changed since. Milliseconds. */
const MAX_AGE = 60 * 60 * 1000;
/** Milliseconds that an output which is held back may hold up its process's end; there is nobody who waits for it. */
const GRACES = { inputMs: 500, termMs: 500 };

export class Spares {
  readonly #o: SparesOptions;
  readonly #shelves = new Map<string, Shelf>();

  constructor(options: SparesOptions) {
    this.#o = options;
  }

  /** The apps that there are now: each gets as many spares as it says, and those of other apps end. */
  keep(apps: readonly AppConfig[]): void {
    for (const [name, shelf] of this.#shelves) {
      if (apps.some((app) => app.name === name && (app.mcp.warm ?? 0) > 0)) continue;
      this.#shelves.delete(name);
      void shelf.close();
    }
    for (const app of apps) {
      if ((app.mcp.warm ?? 0) === 0) continue;
      const shelf = this.#shelves.get(app.name) ?? new Shelf(this.#o);
      this.#shelves.set(app.name, shelf);
      shelf.keep(app);
    }
  }

  /** A server that runs, and whose stdout comes to `onStdout` from its first byte on. Throws what `recipeOf` throws. */
  take(app: AppConfig, onStdout: StartOptions["onStdout"]): ServerProcess | undefined {
    return this.#shelves.get(app.name)?.take(app, onStdout);
  }

  /** How many wait. */
  count(app: string): number {
    return this.#shelves.get(app)?.size ?? 0;
  }

  async close(): Promise<void> {
    const shelves = [...this.#shelves.values()];
    this.#shelves.clear();
    await Promise.all(shelves.map((shelf) => shelf.close()));
  }
}

/** The spares of one app. */
class Shelf {
  readonly #o: SparesOptions;
  readonly #spares: Spare[] = [];
  readonly #closed = Promise.withResolvers<void>();
  #isClosed = false;
  #app: AppConfig | undefined;
  #filling: Promise<void> | undefined;

  constructor(options: SparesOptions) {
    this.#o = options;
  }

  get size(): number {
    return this.#spares.length;
  }

  keep(app: AppConfig): void {
    this.#app = app;
    this.#fill();
  }

  take(app: AppConfig, onStdout: StartOptions["onStdout"]): ServerProcess | undefined {
    const recipe = this.#o.recipeOf(app);
    let spare = this.#spares.shift();
    while (spare !== undefined && spare.recipe !== recipe) {
      void spare.server.stop(GRACES);
      spare = this.#spares.shift();
    }
    spare?.outlet.connect(onStdout);
    this.#fill();
    return spare?.server;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#closed.resolve();
    await this.#filling;
    await Promise.all(this.#spares.splice(0).map(({ server }) => server.stop(GRACES)));
  }

  #fill(): void {
    this.#filling ??= this.#start().finally(() => {
      this.#filling = undefined;
    });
  }

  /** One after the other: nobody waits for them, and those whom somebody waits for have the processor. */
  async #start(): Promise<void> {
    const pause = this.#o.pause ?? ((ms, stopped) => Promise.race([Bun.sleep(ms), stopped]));
    let wait = PAUSE.first;
    while (!this.#isClosed && this.#app !== undefined && this.#spares.length < (this.#app.mcp.warm ?? 0)) {
      try {
        await this.#add(this.#app);
        wait = PAUSE.first;
      } catch (error) {
        this.#o.log.warn("spare.failed", { app: this.#app.name, error: Failure.from(error).message });
        await pause(wait, this.#closed.promise);
        wait = Math.min(wait * 2, PAUSE.longest);
      }
    }
  }

  async #add(app: AppConfig): Promise<void> {
    const recipe = this.#o.recipeOf(app);
    const outlet = new Outlet();
    const log = this.#o.log.child({ app: app.name });
    const server = await this.#o.start(app, log, (chunk) => outlet.take(chunk));
    const spare = { server, recipe, outlet };
    this.#spares.push(spare);
    log.info("spare.ready", { pid: server.pid });
    const old = setTimeout(() => void server.stop(GRACES), MAX_AGE);
    void server.exited.then(() => clearTimeout(old));
    outlet.onConnected = () => clearTimeout(old);
    const gone = (): boolean => {
      const at = this.#spares.indexOf(spare);
      if (at >= 0) this.#spares.splice(at, 1);
      return at >= 0;
    };
    void server.exited.then(async ({ message }) => {
      if (!gone() || this.#isClosed) return;
      log.warn("spare.failed", { error: `it ${message} before anybody used it` });
      await (this.#o.pause ?? Bun.sleep)(PAUSE.first, this.#closed.promise);
      if (!this.#isClosed) this.#fill();
    });
  }
}

/** Holds what a spare says until somebody takes it. One chunk: the rest waits in the pipe. */
class Outlet {
  onConnected: () => void = () => {};
  readonly #connected = Promise.withResolvers<void>();
  #to: StartOptions["onStdout"] | undefined;

  take(chunk: Uint8Array): void | Promise<void> {
    if (this.#to !== undefined) return this.#to(chunk);
    return this.#connected.promise.then(() => this.#to?.(chunk));
  }

  connect(to: StartOptions["onStdout"]): void {
    this.#to = to;
    this.onConnected();
    this.#connected.resolve();
  }
}
