/** How each app's last start went; and how long the next one waits when its server keeps failing. */

export interface Health {
  app: string;
  /** `unknown` until somebody connected. */
  state: "unknown" | "ok" | "failing";
  /** Of the last change, RFC 3339. */
  at?: string;
  /** What went wrong; never a line of the server's own. */
  error?: string;
}

interface Entry extends Health {
  failures: number;
  failedAt: number;
  /** Of the server that failed last, where it ran. */
  pid?: number | undefined;
}

const FIRST_PAUSE_MS = 500;
const MAX_PAUSE_MS = 10_000;

export class AppHealth {
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;
  readonly #onChange: () => void;

  /** `now`: monotonic milliseconds. */
  constructor(apps: string[], onChange: () => void, now: () => number = () => performance.now()) {
    this.keep(apps);
    this.#onChange = onChange;
    this.#now = now;
  }

  /** The apps that there are now: others are forgotten, new ones begin. */
  keep(apps: readonly string[]): void {
    for (const app of this.#entries.keys()) if (!apps.includes(app)) this.#entries.delete(app);
    for (const app of apps) {
      if (!this.#entries.has(app)) this.#entries.set(app, { app, state: "unknown", failures: 0, failedAt: 0 });
    }
  }

  /** The server answered something. */
  ok(app: string): void {
    const entry = this.#entries.get(app);
    if (entry === undefined) return;
    entry.failures = 0;
    if (entry.state === "ok") return;
    delete entry.error;
    this.#change(entry, "ok");
  }

  /** It could not be started, or ended although nobody had asked it to. Sessions that shared it all tell; it counts once. */
  failed(app: string, error: string, pid?: number): void {
    const entry = this.#entries.get(app);
    if (entry === undefined || (pid !== undefined && pid === entry.pid)) return;
    entry.pid = pid;
    entry.failures += 1;
    entry.failedAt = this.#now();
    entry.error = error.slice(0, 500);
    this.#change(entry, "failing");
  }

  /** Milliseconds before the app's next start: 0 after a single failure, then doubling from half a second to ten. */
  waitMs(app: string): number {
    const { failures = 0, failedAt = 0 } = this.#entries.get(app) ?? {};
    if (failures < 2) return 0;
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** (failures - 2), MAX_PAUSE_MS);
    return Math.max(0, failedAt + pause - this.#now());
  }

  list(): Health[] {
    return [...this.#entries.values()].map(({ app, state, at, error }) => ({
      app,
      state,
      ...(at === undefined ? {} : { at }),
      ...(error === undefined ? {} : { error }),
    }));
  }

  #change(entry: Entry, state: Health["state"]): void {
    entry.state = state;
    entry.at = new Date().toISOString();
    this.#onChange();
  }
}
