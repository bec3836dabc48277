/**
 * Servers that were started before anybody asked (`mcp.warm`), so that one that is slow to start answers at once. A spare
 * is handed to one session as if it had been started for it: nothing was ever written to it, and what it has said so far
 * waits in its pipe.
 */
import type { AppConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";
import type { OnStdout, ServerProcess } from "./process.ts";

export interface SparesOptions {
  start(app: AppConfig, log: Log, onStdout: OnStdout): Promise<ServerProcess>;
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
  old: ReturnType<typeof setTimeout>;
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
  take(app: AppConfig, onStdout: OnStdout): ServerProcess | undefined {
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
  /** Since the last one that somebody took. */
  #failures = 0;

  constructor(options: SparesOptions) {
    this.#o = options;
  }

  get size(): number {
    return this.#spares.length;
  }

  keep(app: AppConfig): void {
    this.#app = app;
    const recipe = this.#recipe(app);
    const wanted = app.mcp.warm ?? 0;
    let kept = 0;
    for (const spare of [...this.#spares]) {
      if (spare.recipe === recipe && kept < wanted) kept++;
      else this.#drop(spare);
    }
    this.#fill();
  }

  take(app: AppConfig, onStdout: OnStdout): ServerProcess | undefined {
    const recipe = this.#o.recipeOf(app);
    for (const spare of [...this.#spares]) if (spare.recipe !== recipe) this.#drop(spare);
    const spare = this.#spares.shift();
    if (spare !== undefined) {
      this.#failures = 0;
      clearTimeout(spare.old);
      spare.outlet.connect(onStdout);
    }
    this.#fill();
    return spare?.server;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#closed.resolve();
    await this.#filling;
    await Promise.all(
      this.#spares.splice(0).map(({ server, old }) => {
        clearTimeout(old);
        return server.stop(GRACES);
      }),
    );
  }

  /** Undefined where the app can't be started as it is. */
  #recipe(app: AppConfig): string | undefined {
    try {
      return this.#o.recipeOf(app);
    } catch {
      return undefined;
    }
  }

  /** False: it was no spare any more. */
  #remove(spare: Spare): boolean {
    clearTimeout(spare.old);
    const at = this.#spares.indexOf(spare);
    if (at >= 0) this.#spares.splice(at, 1);
    return at >= 0;
  }

  #drop(spare: Spare): void {
    if (this.#remove(spare)) void spare.server.stop(GRACES);
  }

  #fill(): void {
    this.#filling ??= this.#start().finally(() => {
      this.#filling = undefined;
    });
  }

  /** One after the other: nobody waits for them, and those whom somebody waits for have the processor. */
  async #start(): Promise<void> {
    const pause = this.#o.pause ?? ((ms, stopped) => Promise.race([Bun.sleep(ms), stopped]));
    while (!this.#isClosed && this.#app !== undefined && this.#spares.length < (this.#app.mcp.warm ?? 0)) {
      if (this.#failures > 0) {
        await pause(Math.min(PAUSE.first * 2 ** (this.#failures - 1), PAUSE.longest), this.#closed.promise);
        if (this.#isClosed) return;
      }
      try {
        await this.#add(this.#app);
      } catch (error) {
        this.#failed(this.#app, Failure.from(error).message);
      }
    }
  }

  async #add(app: AppConfig): Promise<void> {
    const recipe = this.#o.recipeOf(app);
    const outlet = new Outlet();
    const log = this.#o.log.child({ app: app.name });
    const server = await this.#o.start(app, log, (chunk) => outlet.take(chunk));
    if (this.#recipe(this.#app ?? app) !== recipe) {
      void server.stop(GRACES);
      return;
    }
    const old = setTimeout(() => {
      this.#drop(spare);
      this.#fill();
    }, MAX_AGE);
    const spare: Spare = { server, recipe, outlet, old };
    this.#spares.push(spare);
    log.info("spare.ready", { pid: server.pid });
    void server.exited.then(({ message }) => {
      if (!this.#remove(spare) || this.#isClosed) return;
      this.#failed(app, `it ${message} before anybody used it`);
      this.#fill();
    });
  }

  #failed(app: AppConfig, error: string): void {
    this.#failures++;
    this.#o.log.warn("spare.failed", { app: app.name, error });
  }
}

/** Holds what a spare says until somebody takes it. One chunk: the rest waits in the pipe. */
class Outlet {
  readonly #connected = Promise.withResolvers<void>();
  #to: OnStdout | undefined;

  take(chunk: Uint8Array): void | Promise<void> {
    if (this.#to !== undefined) return this.#to(chunk);
    return this.#connected.promise.then(() => this.#to?.(chunk));
  }

  connect(to: OnStdout): void {
    this.#to = to;
    this.#connected.resolve();
  }
}
