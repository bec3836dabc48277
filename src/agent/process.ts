/**
 * One server process that runs: its streams with backpressure, and its end, after which nothing of it is left: end of stdin,
 * then SIGTERM, then SIGKILL, the signals to its whole process group; and then the end of whatever fled that
 * (`containment.ts`).
 */
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Enclosure } from "./containment.ts";
import { ProcessGroup, within } from "./process-group.ts";
import { NO_SECRETS, type Secrets } from "./secrets.ts";
import { ServerInput } from "./server-input.ts";
import type { Spawned } from "./spawn.ts";
import { LineRate, StderrTail } from "./stderr-tail.ts";
import { portions, Turns } from "./turns.ts";

/** Bytes as they come; the next are read when it has resolved, so a slow reader slows the server. */
export type OnStdout = (chunk: Uint8Array) => void | Promise<void>;

export interface ProcessOptions {
  log: Log;
  onStdout: OnStdout;
  /** A line of stderr, cleaned of control characters. It is in the log and in `stderrTail()` already. */
  onStderrLine?: ((line: string) => void) | undefined;
  /** Of stopping, unless `stop` says otherwise; 2 s each. */
  graces?: Graces | undefined;
  /** Masked in whatever of its stderr goes anywhere. */
  secrets?: Secrets | undefined;
  /** What is to be done when all of it is gone, before `exited` tells so. Never rejects. */
  afterwards?: (() => Promise<void>) | undefined;
}

export interface Exit {
  code: number | null;
  signal: string | null;
  /** `exited with code 3`, `killed by SIGKILL`. */
  message: string;
  /** The server runs on, and it was this session's own fault (`shared-server.ts`). */
  cut?: true;
}

/** Milliseconds that each step of stopping may take before the next. */
export interface Graces {
  /** From the end of its stdin to SIGTERM. */
  inputMs?: number;
  /** From SIGTERM to SIGKILL. */
  termMs?: number;
}

export interface ServerProcess {
  readonly pid: number;
  /** What it was given to keep to itself. */
  readonly secrets: Secrets;
  /** Whether little enough is waiting for the server. */
  readonly writable: boolean;
  /** False: wait for `drain()` before the next. What is written after the server closed its stdin is dropped. */
  write(bytes: Uint8Array): boolean;
  /** Resolves when little enough is waiting for the server, or when it reads no more. */
  drain(): Promise<void>;
  /** End of file on the server's stdin, after all that was written. */
  endInput(): void;
  /** Ends the server and its process group. Idempotent: the first call's graces count. */
  stop(graces?: Graces): Promise<Exit>;
  /** Resolves when the process is reaped, its group is gone and its last output was handed over. Never rejects. */
  readonly exited: Promise<Exit>;
  /** The last lines of stderr, oldest first. */
  stderrTail(): string[];
}

const GRACES = { inputMs: 2000, termMs: 2000 };
/** How long a pipe that a fled descendant holds open may keep `exited` waiting. Milliseconds. */
const OUTPUT_MS = 500;

export class RunningServer implements ServerProcess {
  readonly pid: number;
  readonly secrets: Secrets;
  readonly exited: Promise<Exit>;
  readonly #spawned: Spawned;
  readonly #o: ProcessOptions;
  readonly #tail: StderrTail;
  readonly #input: ServerInput;
  readonly #group: ProcessGroup;
  readonly #enclosure: Enclosure | undefined;
  readonly #rate = new LineRate();
  #graces: Required<Graces>;
  #stopping: Promise<Exit> | undefined;
  #sweeping: Promise<void> | undefined;

  // stdout: whether we wait for the server, and not for whoever takes its bytes
  #reading = true;

  constructor(spawned: Spawned, o: ProcessOptions, enclosure: Enclosure | undefined) {
    this.#enclosure = enclosure;
    this.pid = spawned.pid;
    this.secrets = o.secrets ?? NO_SECRETS;
    this.#spawned = spawned;
    this.#o = o;
    this.#graces = { ...GRACES, ...o.graces };
    this.#group = new ProcessGroup(spawned.pid, spawned.ended);
    this.#input = new ServerInput(spawned.stdin, () => o.log.debug("server.stdin_closed", { pid: spawned.pid }));
    this.#tail = new StderrTail((line) => this.#logLine(line), this.secrets);
    this.exited = this.#watch(Promise.all([this.#pumpStdout(), this.#pumpStderr()]));
  }

  write(bytes: Uint8Array): boolean {
    return this.#input.write(bytes);
  }

  get writable(): boolean {
    return this.#input.writable;
  }

  drain(): Promise<void> {
    return this.#input.drain();
  }

  endInput(): void {
    this.#input.end();
  }

  stop(graces: Graces = {}): Promise<Exit> {
    this.#stopping ??= this.#stop(graces);
    return this.#stopping;
  }

  stderrTail(): string[] {
    return this.#tail.lines();
  }

  async #stop(graces: Graces): Promise<Exit> {
    this.#graces = { ...this.#graces, ...graces };
    this.endInput();
    if (!(await within(this.#graces.inputMs, this.#spawned.ended))) await this.#sweep();
    return this.exited;
  }

  #sweep(): Promise<void> {
    this.#sweeping ??= this.#group.end(this.#graces.termMs).then((gone) => {
      if (!gone) this.#o.log.warn("server.survivor", { pid: this.pid });
    });
    return this.#sweeping;
  }

  async #watch(output: Promise<unknown>): Promise<Exit> {
    const { code, signal } = await this.#spawned.ended;
    const message = signal === null ? `exited with code ${code}` : `killed by ${signal}`;
    this.#input.break();
    await this.#sweep();
    if ((await this.#enclosure?.end()) === false) this.#o.log.warn("server.survivor", { pid: this.pid });
    await this.#finishOutput(output);
    await this.#o.afterwards?.();
    this.#logSuppressed(this.#rate.flush());
    this.#o.log.info("server.exit", { pid: this.pid, code: code ?? undefined, signal: signal ?? undefined });
    return { code, signal, message };
  }

  // Output

  async #pumpStdout(): Promise<void> {
    const turns = new Turns();
    try {
      for (;;) {
        this.#reading = true;
        const { value, done } = await this.#spawned.stdout.read();
        this.#reading = false;
        if (done || value === undefined) return;
        for (const part of portions(value)) await turns.take(() => this.#o.onStdout(part));
      }
    } catch (error) {
      this.#o.log.error("server.stdout_failed", { pid: this.pid, error: Failure.from(error).message });
      void this.stop();
    }
  }

  async #pumpStderr(): Promise<void> {
    const turns = new Turns();
    try {
      for (;;) {
        const { value, done } = await this.#spawned.stderr.read();
        if (done || value === undefined) break;
        await turns.take(() => this.#tail.push(value));
      }
    } catch (error) {
      this.#o.log.error("server.stderr_failed", { pid: this.pid, error: Failure.from(error).message });
    }
    this.#tail.end();
  }

  /** Waits for the last output, but for no pipe that a fled descendant holds, nor, when stopping, for a slow taker. */
  async #finishOutput(output: Promise<unknown>): Promise<void> {
    for (let idle = 0; idle < OUTPUT_MS; ) {
      if (await within(25, output)) return;
      idle = this.#reading || this.#stopping !== undefined ? idle + 25 : 0;
    }
    await Promise.allSettled([this.#spawned.stdout.cancel(), this.#spawned.stderr.cancel()]);
  }

  #logLine(line: () => string): void {
    const { pass, suppressed } = this.#rate.take();
    this.#logSuppressed(suppressed);
    if (pass && line() !== "") this.#o.log.info("server.stderr", { pid: this.pid, line: line() });
    if (this.#o.onStderrLine !== undefined && line() !== "") this.#o.onStderrLine(line());
  }

  #logSuppressed(lines: number): void {
    if (lines > 0) this.#o.log.info("server.stderr_suppressed", { pid: this.pid, lines });
  }
}
