/** A server process that several sessions share: it is written to and read from through a `Multiplex`. */
import type { WindowBudget } from "../link/window.ts";
import type { Log } from "../log.ts";
import type { Message } from "../mcp/message.ts";
import { Inbound } from "./inbound.ts";
import { Multiplex } from "./multiplex/multiplex.ts";
import type { Port } from "./multiplex/port.ts";
import type { Routed } from "./multiplex/state.ts";
import type { Exit, ServerProcess } from "./process.ts";

/**
 * What the sessions of one process have in common: the handshake's revision, `modern` (2026-07-28 on), or `plain`:
 * neither, of which clients there are that never introduce themselves.
 */
export type Era = string;

/** A session's end of it. */
export interface JoinedEnd {
  /** A line for the session. `unknown`: it is the answer of a server that doesn't know `server/discover`. */
  deliver(bytes: Uint8Array, unknown?: Uint8Array): void;
  ended(exit: Exit): void;
}

export interface SharedServerOptions {
  onePerson: boolean;
  log: Log;
  /** Milliseconds that the process stays without sessions. */
  lingerMs: number;
  /** Milliseconds that its very first answer may take. */
  startTimeoutMs: number;
  /** It takes no further sessions. Once. */
  onRetired(): void;
  /** What a line of which only a part has come may take. */
  budget: WindowBudget;
  /** Milliseconds; 10 s unless told. */
  probeMs?: number;
}

/** A server that says nothing for so long while it is asked whether it is there gets no new sessions. Milliseconds. */
const PROBE_MS = 10_000;

export class SharedServer {
  /** Undefined: nothing was said yet that would decide it. */
  era: Era | undefined;
  readonly #process: ServerProcess;
  readonly #o: SharedServerOptions;
  readonly #multiplex: Multiplex;
  readonly #inbound: Inbound;
  readonly #ends = new Map<Port, JoinedEnd>();
  #retired = false;
  #asked: number | undefined;
  #idle: ReturnType<typeof setTimeout> | undefined;
  #probe: ReturnType<typeof setTimeout> | undefined;

  /** `process`: nothing was written to it yet. Its stdout is to come to `onStdout`. */
  constructor(process: ServerProcess, options: SharedServerOptions) {
    this.#process = process;
    this.#o = options;
    this.#multiplex = new Multiplex({ onePerson: options.onePerson });
    this.#inbound = new Inbound(options.budget);
    void process.exited.then((exit) => this.#onExit(exit));
    this.#linger();
  }

  get process(): ServerProcess {
    return this.#process;
  }

  get sessions(): number {
    return this.#ends.size;
  }

  onStdout(chunk: Uint8Array): void {
    clearTimeout(this.#probe);
    this.#probe = undefined;
    for (const line of this.#inbound.lines.push(chunk)) this.#apply(this.#multiplex.fromServer(line));
    // Whatever waits for a session from here on, that session's user holds.
    this.#inbound.settle();
  }

  join(end: JoinedEnd): Port {
    clearTimeout(this.#idle);
    const port = this.#multiplex.open();
    this.#ends.set(port, end);
    this.#ask();
    return port;
  }

  /** One that hangs would hang for all who come. It may only be busy, so those who are there stay. */
  #ask(): void {
    if (!this.#multiplex.answered || this.#probe !== undefined) return;
    const question = this.#multiplex.probe(this.era === MODERN);
    if (question === undefined) return;
    this.#process.write(question);
    this.#probe = setTimeout(() => {
      this.#o.log.warn("server.silent", { pid: this.#process.pid });
      this.retire();
    }, this.#o.probeMs ?? PROBE_MS);
  }

  leave(port: Port): void {
    const waits = this.#multiplex.waits(port);
    this.#ends.delete(port);
    this.#apply(this.#multiplex.close(port));
    // Whoever comes next would wait for nothing, too.
    const silent =
      !this.#multiplex.answered && waits && performance.now() - (this.#asked ?? Infinity) >= this.#o.startTimeoutMs;
    if (silent) this.#retire();
    this.#linger();
  }

  fromSession(port: Port, message: Message): void {
    this.#asked ??= performance.now();
    this.#apply(this.#multiplex.fromPort(port, message));
  }

  /** Its sessions may go on; when the last one has left, it ends. */
  retire(): void {
    this.#retire();
    this.#linger();
  }

  /** Ends it now, whoever is there. */
  async stop(): Promise<void> {
    this.#retire();
    clearTimeout(this.#idle);
    await this.#process.stop();
  }

  #apply({ toServer, toPorts, junk, refused, unknown }: Routed): void {
    for (const reason of junk) this.#o.log.warn("server.junk", { pid: this.#process.pid, reason });
    for (const bytes of toServer) this.#process.write(bytes);
    if (refused) this.#retire();
    for (const { port, bytes } of toPorts) this.#ends.get(port)?.deliver(bytes, unknown);
    if (unknown !== undefined && this.era === MODERN) this.era = undefined;
  }

  #retire(): void {
    if (this.#retired) return;
    this.#retired = true;
    this.#o.onRetired();
  }

  #linger(): void {
    clearTimeout(this.#idle);
    if (this.#ends.size > 0) return;
    this.#idle = setTimeout(() => void this.stop(), this.#retired ? 0 : this.#o.lingerMs);
  }

  #onExit(exit: Exit): void {
    clearTimeout(this.#idle);
    clearTimeout(this.#probe);
    this.#inbound.close();
    this.#retire();
    for (const end of [...this.#ends.values()]) end.ended(exit);
    this.#ends.clear();
  }
}

export const MODERN: Era = "modern";
