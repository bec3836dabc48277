/**
 * A session's end of a shared server, which looks like a process of its own. What the session doesn't read waits here, up
 * to a bound; then the session is cut. The others never wait for it.
 */
import { Failure } from "../errors.ts";
import type { WindowBudget } from "../link/window.ts";
import { decode } from "../mcp/codec.ts";
import type { Message } from "../mcp/message.ts";
import { crowdedOut, HeldBytes } from "./held-bytes.ts";
import type { Port } from "./multiplex/port.ts";
import type { Exit, OnStdout, ServerProcess } from "./process.ts";
import type { Era, SharedServer } from "./shared-server.ts";
import { portions } from "./turns.ts";

export interface SharedEndOptions {
  onStdout: OnStdout;
  /** The era that a message asks for; `now`: the one that the session is in. Undefined: it changes nothing. */
  eraOf(message: Message, now: Era | undefined): Era | undefined;
  /** A server of that era, at best the one that the session has; a promise where one has to be started. */
  serverOf(era: Era, now: SharedServer | undefined): SharedServer | Promise<SharedServer>;
  /** The answer to this message that needs no server. */
  known(message: Message): Uint8Array | undefined;
  /** A server doesn't know `server/discover`; its answer. */
  onUnknown(line: Uint8Array): void;
  /** What the server last said on stderr may be about others. */
  onePerson: boolean;
  /** What this session's user may have wait here, beyond `FREE_BYTES`. */
  budget: WindowBudget;
}

/** Bytes that may wait for a session that doesn't read; beyond it is cut. One message may be larger. */
const MAX_WAITING = 32 * 1024 * 1024;
/** Bytes from which on a session is to ask for nothing more. */
const HIGH_WATER = 1024 * 1024;
/** Bytes of a session's own that wait for a server that is starting. */
const MAX_HELD = 256 * 1024;
const UNREAD: Exit = { code: null, signal: null, message: "is shared, and this session did not read", cut: true };
const LEFT: Exit = { code: 0, signal: null, message: "is left to the others" };

export class SharedEnd implements ServerProcess {
  readonly exited: Promise<Exit>;
  readonly #o: SharedEndOptions;
  readonly #exited = Promise.withResolvers<Exit>();
  #server: SharedServer;
  #port: Port | undefined;
  #closed = false;

  // towards the session
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  /** Those that wait, and those that the session is being given. */
  readonly #queued: HeldBytes;
  /** Within a call of `onStdout`, or until what it returned has resolved. */
  #handing = false;
  #calling = false;
  #last: Exit | undefined;
  #drained: (() => void)[] = [];

  // towards the server
  /** The session has said something: until then it is nowhere, and hears nothing. */
  #begun = false;
  #moving = false;
  #held: Uint8Array[] = [];
  #heldBytes = 0;

  /** `server`: where the session goes unless it turns out to be of another era; nothing of it is there yet. */
  constructor(server: SharedServer, options: SharedEndOptions) {
    this.#server = server;
    this.#o = options;
    this.#queued = new HeldBytes(options.budget);
    this.exited = this.#exited.promise;
    this.#port = server.join(this);
  }

  get pid(): number {
    return this.#server.process.pid;
  }

  get secrets(): ServerProcess["secrets"] {
    return this.#server.process.secrets;
  }

  /** While the session takes what we hand it, it must not be told to wait for itself. */
  get writable(): boolean {
    if (this.#closed || this.#calling) return true;
    return this.#waitingBytes < HIGH_WATER && this.#heldBytes < MAX_HELD && this.#server.process.writable;
  }

  /** One line, or several in one go. */
  write(bytes: Uint8Array): boolean {
    for (const line of portions(bytes, 1)) {
      if (this.#closed || this.#last !== undefined) return true;
      if (this.#moving) this.#hold(line);
      else this.#send(line);
    }
    return this.writable;
  }

  async drain(): Promise<void> {
    while (!this.writable) {
      if (this.#waitingBytes < HIGH_WATER && this.#heldBytes < MAX_HELD) await this.#server.process.drain();
      else await new Promise<void>((resolve) => this.#drained.push(resolve));
    }
  }

  endInput(): void {
    // The others go on.
  }

  stop(): Promise<Exit> {
    this.#leave(LEFT);
    return this.exited;
  }

  stderrTail(): string[] {
    return this.#o.onePerson ? this.#server.process.stderrTail() : [];
  }

  // --- towards the server ---

  #send(line: Uint8Array): void {
    const message = decode(line);
    // The gate lets nothing else through.
    if (message.kind === "invalid") return;
    const known = this.#o.known(message);
    if (known !== undefined) {
      this.#hand(known);
      return;
    }
    const era = this.#o.eraOf(message, this.#begun ? this.#server.era : undefined);
    const next = era === undefined ? this.#server : this.#o.serverOf(era, this.#server);
    if (next instanceof Promise) {
      this.#hold(line);
      void this.#moveTo(next);
      return;
    }
    this.#move(next);
    this.#begun = true;
    if (this.#port !== undefined) next.fromSession(this.#port, message);
  }

  #hold(line: Uint8Array): void {
    this.#held.push(line);
    this.#heldBytes += line.length;
  }

  async #moveTo(starting: Promise<SharedServer>): Promise<void> {
    this.#moving = true;
    this.#part();
    try {
      const server = await starting;
      if (this.#closed) return;
      this.#move(server);
      this.#begun = true;
    } catch (error) {
      this.#leave({ code: null, signal: null, message: `could not be started: ${Failure.from(error).message}` });
      return;
    } finally {
      this.#moving = false;
    }
    const lines = this.#held.splice(0);
    this.#heldBytes = 0;
    for (const line of lines) this.write(line);
    this.#wake();
  }

  #move(server: SharedServer): void {
    if (server === this.#server && this.#port !== undefined) return;
    this.#part();
    this.#server = server;
    this.#port = server.join(this);
  }

  #part(): void {
    const port = this.#port;
    this.#port = undefined;
    if (port !== undefined) this.#server.leave(port);
  }

  // --- towards the session ---

  deliver(bytes: Uint8Array, unknown?: Uint8Array): void {
    if (unknown !== undefined) this.#o.onUnknown(unknown);
    if (this.#begun) this.#hand(bytes);
  }

  #hand(bytes: Uint8Array): void {
    if (this.#closed) return;
    if (!this.#queued.add(bytes.length)) {
      this.#refuse(bytes);
      return;
    }
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (!this.#handing) void this.#pump();
    else if (this.#waitingBytes > MAX_WAITING) {
      this.#leave(UNREAD);
    }
  }

  async #pump(): Promise<void> {
    this.#handing = true;
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      this.#waitingBytes -= next.length;
      try {
        const taken = this.#call(next);
        if (taken !== undefined) await taken;
      } catch (error) {
        this.#leave({ code: null, signal: null, message: `was left: ${Failure.from(error).message}` });
      }
      this.#queued.remove(next.length);
      if (this.#waitingBytes < HIGH_WATER) this.#wake();
    }
    this.#handing = false;
    if (this.#last !== undefined) this.#leave(this.#last);
  }

  /** There is no room for it. */
  #refuse(bytes: Uint8Array): void {
    const error = crowdedOut(bytes);
    if (error === undefined) return;
    if (error.length < bytes.length) this.#hand(error);
    else this.#leave(UNREAD);
  }

  #call(bytes: Uint8Array): void | Promise<void> {
    this.#calling = true;
    try {
      return this.#o.onStdout(bytes);
    } finally {
      this.#calling = false;
    }
  }

  /** The process is gone; what it said before is handed over first. */
  ended(exit: Exit): void {
    this.#port = undefined;
    this.#last = exit;
    if (!this.#handing) this.#leave(exit);
  }

  #leave(exit: Exit): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#part();
    this.#waiting = [];
    this.#held = [];
    this.#waitingBytes = 0;
    this.#heldBytes = 0;
    this.#queued.close();
    this.#wake();
    this.#exited.resolve(exit);
  }

  #wake(): void {
    for (const resolve of this.#drained.splice(0)) resolve();
  }
}
