/**
 * One MCP session over a child's stdin and stdout: the one driver for everybody. It writes, waits in poll(2) and reads;
 * the pipes are real ones, as a shell's are.
 */
import { closeSync } from "node:fs";
import { Answers, type AnswerTaker } from "./answers.ts";
import { openPipe, readInto, waitReadable, writeAll } from "./libc.ts";
import { type Call, callLine, INITIALIZE, INITIALIZED } from "./requests.ts";

export interface Command {
  argv: string[];
  env: Record<string, string>;
  cwd: string;
  /** Where its stderr goes. */
  log: number;
}

const END_MS = 3_000;

export class Session implements AnswerTaker {
  readonly pid: number;
  /** Its stdout. */
  readonly fd: number;
  /** Milliseconds from the spawn to the answer to `initialize`. */
  readonly startMs: number;
  readonly #child: Bun.Subprocess;
  readonly #in: number;
  readonly #answers = new Answers();
  readonly #line = Buffer.alloc(1024);
  #nextId = 1;
  readonly #open = new Set<number>();
  #notifications = 0;
  #ended = false;

  /** Fails when there is no answer within `ms`. */
  constructor(command: Command, ms: number) {
    const [childIn, input] = openPipe();
    const [output, childOut] = openPipe();
    const began = performance.now();
    this.#child = Bun.spawn(command.argv, {
      env: command.env,
      cwd: command.cwd,
      stdin: childIn,
      stdout: childOut,
      stderr: command.log,
    });
    closeSync(childIn);
    closeSync(childOut);
    this.pid = this.#child.pid;
    this.#in = input;
    this.fd = output;
    this.#open.add(0);
    this.#write(INITIALIZE);
    try {
      while (this.#open.size > 0) this.#read(began + ms);
    } catch (error) {
      void this.end();
      throw error;
    }
    this.startMs = performance.now() - began;
    this.#write(INITIALIZED);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** One call to its answer: milliseconds. */
  call(call: Call, ms: number): number {
    const began = performance.now();
    this.#notifications = 0;
    this.#send(call);
    while (this.#open.size > 0) this.#read(began + ms);
    if (this.#notifications !== (call.progress ?? 0)) {
      throw new Error(`${this.#notifications} of ${call.progress} notifications came`);
    }
    return performance.now() - began;
  }

  /** `count` calls, one after the other: milliseconds each. */
  sequential(count: number, call: Call, ms: number): Float64Array {
    const times = new Float64Array(count);
    const until = performance.now() + ms;
    for (let i = 0; i < count; i++) times[i] = this.call(call, until - performance.now());
    return times;
  }

  /** `count` calls, `depth` of them in flight: milliseconds for all. */
  pipelined(count: number, depth: number, ms: number): number {
    const began = performance.now();
    let sent = 0;
    while (sent < count || this.#open.size > 0) {
      let batch = "";
      for (; sent < count && this.#open.size < depth; sent++) batch += this.#line1();
      if (batch !== "") this.#write(batch);
      this.#read(began + ms);
    }
    return performance.now() - began;
  }

  /** For who waits for many sessions at once: sends one call. */
  send(): void {
    this.#send({});
  }

  /** … and takes what there is to read. True: the call is answered. */
  receive(): boolean {
    this.#read(performance.now() + 1_000);
    return this.#open.size === 0;
  }

  /** Closes its stdin, and then insists. Resolves when it has ended. */
  async end(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    closeSync(this.#in);
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      if (await Promise.race([this.#child.exited.then(() => true), Bun.sleep(END_MS)])) break;
      this.#child.kill(signal);
    }
    await this.#child.exited;
    closeSync(this.fd);
  }

  // --- AnswerTaker ---

  answer(id: number): void {
    if (!this.#open.delete(id)) throw new Error(`an answer that nobody waits for: ${id}`);
  }

  notification(): void {
    this.#notifications++;
  }

  #line1(): string {
    const id = this.#nextId++;
    this.#open.add(id);
    return callLine(id);
  }

  #send(call: Call): void {
    const id = this.#nextId++;
    this.#open.add(id);
    this.#write(callLine(id, call));
  }

  #write(text: string): void {
    const buffer = text.length <= this.#line.length ? this.#line : Buffer.alloc(text.length);
    writeAll(this.#in, buffer, buffer.write(text, "latin1"));
  }

  #read(until: number): void {
    if (!waitReadable(this.fd, until - performance.now())) throw new Error("no answer in time");
    const count = readInto(this.fd, this.#answers.buffer, this.#answers.offset);
    if (count === 0) throw new Error("it ended before it answered");
    this.#answers.take(count, this);
  }
}
