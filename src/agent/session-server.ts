/** The server of one session: on its way, there, or not to be had. */
import { Failure } from "../errors.ts";
import type { Exit, Graces, ServerProcess } from "./process.ts";
import { NO_SECRETS, type Secrets } from "./secrets.ts";

export interface SessionServerOptions {
  /** `over` resolves when nobody needs the server any more. */
  start(over: Promise<void>): Promise<ServerProcess>;
  onRunning(pid: number): void;
  /** It is not to be had. */
  onFailed(failure: Failure): void;
  onExit(exit: Exit): void;
}

export class SessionServer {
  readonly #options: SessionServerOptions;
  readonly #over = Promise.withResolvers<void>();
  readonly #known = Promise.withResolvers<void>();
  #process: ServerProcess | undefined;
  #failure: Failure | undefined;
  #graces: Graces = {};

  constructor(options: SessionServerOptions) {
    this.#options = options;
  }

  /** Once. */
  async start(): Promise<void> {
    try {
      this.#process = await this.#options.start(this.#over.promise);
      this.#options.onRunning(this.#process.pid);
      void this.#process.exited.then((exit) => this.#options.onExit(exit));
    } catch (error) {
      this.#failure = Failure.from(error);
      this.#options.onFailed(this.#failure);
    }
    this.#known.resolve();
  }

  /** Resolves when it runs, or when it is certain that it won't. */
  get started(): Promise<void> {
    return this.#known.promise;
  }

  /** Whether `started` has resolved. */
  get isKnown(): boolean {
    return this.#process !== undefined || this.#failure !== undefined;
  }

  /** Undefined until it runs. */
  get process(): ServerProcess | undefined {
    return this.#process;
  }

  /** Why it is not to be had. */
  get failure(): Failure | undefined {
    return this.#failure;
  }

  /** What it was given to keep to itself. */
  get secrets(): Secrets {
    return this.#process?.secrets ?? NO_SECRETS;
  }

  write(bytes: Uint8Array): void {
    this.#process?.write(bytes);
  }

  /** Whether as much waits for it as may. */
  get full(): boolean {
    return this.#process !== undefined && !this.#process.writable;
  }

  /** Resolves when there is room. */
  drained(): Promise<void> | undefined {
    return this.#process?.drain();
  }

  /** Nobody needs it any more: one that waits for its turn to start need not. */
  release(): void {
    this.#over.resolve();
  }

  /** When it is stopped, by SIGKILL at once. */
  hurry(): void {
    this.#graces = { inputMs: 0, termMs: 0 };
  }

  /** Resolves when nothing of it is left; undefined where there was none. */
  stop(): Promise<Exit> | undefined {
    return this.#process?.stop(this.#graces);
  }

  /** The last lines of its stderr, for a person to read. */
  lastWords(): string {
    return this.#process?.stderrTail().slice(-10).join("\n") ?? "";
  }
}
