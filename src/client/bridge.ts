/**
 * One MCP client, and one after another the sessions that it has with the servers of an app. Nothing hangs: a request is
 * answered by the server, or with an error that says why not and what to do. A session that paused goes on by itself
 * (`session.ts`); one that is over is followed by another at the MCP client's next request.
 */
import { Failure } from "../errors.ts";
import type { CloseReason } from "../link/link.ts";
import type { Log } from "../log.ts";
import { decode } from "../mcp/codec.ts";
import { encodeError } from "../mcp/encode.ts";
import { joinLines, type Line, LineSplitter } from "../mcp/lines.ts";
import { DEFAULT_CODEC_LIMITS, type Invalid, type Message, type Request } from "../mcp/message.ts";
import { endedAnswer, refusal } from "./bridge-errors.ts";
import type { BridgeSession, SessionEvents } from "./bridge-session.ts";
import { Dialogue } from "./dialogue.ts";
import type { Call } from "./open-calls.ts";
import { barOf, PauseWatch } from "./pause-watch.ts";
import { logMessage, noticesOf, renew } from "./renewal.ts";

export interface BridgeOptions {
  app: string;
  log: Log;
  session(events: SessionEvents): BridgeSession;
  /** To the MCP client. Resolves when the bytes are written: a reader that stops, stops us. */
  write(bytes: Uint8Array): Promise<void>;
  /** Monotonic milliseconds. */
  now?(): number;
  /** Calls back about once a second until it is told to stop. */
  every?(tick: () => void): () => void;
}

type State =
  | { is: "opening"; opened: Promise<void> }
  | { is: "open"; session: BridgeSession }
  /** It takes nothing more, and its end is on the way. */
  | { is: "ending" }
  /**
   * `told`: a request was answered with it, so that the next one may try anew. `changed`: the server is another one than
   * the MCP client knows, and only a new handshake mends that.
   */
  | { is: "closed"; failure: Failure; told: boolean; changed: boolean };

/** A session that is just opening is given this long, to be closed then. */
const STOP_OPENING_MS = 1_000;
const TICK_MS = 1_000;

export class Bridge {
  readonly #options: BridgeOptions;
  readonly #now: () => number;
  readonly #dialogue: Dialogue;
  /** The session that is opening or open. */
  #session: BridgeSession | undefined;
  #state: State;
  /** Calls that came too late for the session before this one. */
  #again: Call[] = [];
  /** Why the session before this one ended. */
  #before: string | undefined;
  /** A client that asks a thousand times has its log filled once. */
  #logged: string | undefined;
  #finished = Promise.withResolvers<void>();
  readonly #watch: PauseWatch;

  constructor(options: BridgeOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#dialogue = new Dialogue(this.#now);
    this.#watch = new PauseWatch({
      app: options.app,
      now: this.#now,
      every: options.every ?? everySecond,
      calls: this.#dialogue.calls,
      session: () => this.#session,
      isOpening: () => this.#state.is === "opening",
      show: (lines) => this.#show(lines),
    });
    this.#state = this.#begin();
  }

  /** One line of the MCP client. Resolves when there is room for the next; undefined: there is. */
  fromClient(line: Line): Promise<void> | undefined {
    if ("overflow" in line) {
      const text = `message of ${line.overflow} bytes: at most ${DEFAULT_CODEC_LIMITS.maxBytes} pass`;
      return this.#options.write(encodeError(null, -32600, text));
    }
    const message = decode(line.bytes);
    if (message.kind !== "request") return this.#onOther(message, line.bytes);
    const state = this.#state;
    if (state.is !== "open" || barOf(state.session, this.#now()) !== undefined) return this.#onRequest(message);
    // As it nearly always is: there is nothing to wait for.
    const call = this.#dialogue.calls.add(message);
    if (call !== undefined) call.state = "sent";
    return this.#send(state.session, message.bytes);
  }

  async #onOther(message: Exclude<Message, Request> | Invalid, line: Uint8Array): Promise<void> {
    const session = await this.#ready();
    if (message.kind === "invalid") {
      if (session !== undefined) return this.#send(session, line); // the agent's gate answers, and records it
      if (message.blank) return;
      const id = message.shape === "response" ? null : (message.id ?? null);
      return this.#options.write(encodeError(id, message.code, `mcpgate: ${message.reason}`));
    }
    const bytes = this.#dialogue.toServer(message);
    if (session !== undefined && bytes !== undefined) await this.#send(session, bytes);
  }

  /** The MCP client has closed our stdin. */
  async end(): Promise<void> {
    const session = await this.#ready();
    this.#watch.inputEnded = true;
    session?.end();
    await this.#finished.promise;
  }

  /** Ends the session now, so that nothing of it stays on the agent's host until its client could have come back. */
  async stop(): Promise<void> {
    const session = await Promise.race([this.#ready(), Bun.sleep(STOP_OPENING_MS)]);
    await session?.close("the client was stopped");
  }

  // --- from the MCP client ---

  async #onRequest(request: Request): Promise<void> {
    const { id, method, bytes } = request;
    const { calls } = this.#dialogue;
    if (this.#state.is === "ending") await this.#finished.promise;
    const state = this.#state;
    if (method === "initialize" && state.is === "closed") {
      this.#dialogue.forget();
      this.#before = undefined;
      if (state.changed) state.changed = false;
    }
    if (state.is === "closed" && state.told && !state.changed) this.#state = this.#begin();
    const call = calls.add(request);
    const session = await this.#ready();
    if (session === undefined && this.#state.is !== "closed") {
      // It opened and ended at once: the next one, then.
      if (call !== undefined) calls.remove(id);
      return this.#onRequest(request);
    }
    const failure = session === undefined ? this.#tell() : barOf(session, this.#now());
    if (session !== undefined && failure === undefined) {
      if (call !== undefined) call.state = "sent";
      return this.#send(session, bytes);
    }
    if (call !== undefined) calls.remove(id);
    // An error with the id of a call that is open would be read as its answer.
    if (failure !== undefined) await this.#options.write(refusal(call === undefined ? null : id, failure));
  }

  /** Undefined: there is room for more. */
  #send(session: BridgeSession, bytes: Uint8Array): Promise<void> | undefined {
    return session.write(bytes) ? undefined : Promise.race([session.drained(), this.#watch.barred]);
  }

  /** What to tell a request while there is no session. */
  #tell(): Failure | undefined {
    if (this.#state.is !== "closed") return undefined;
    this.#state.told = true;
    return this.#state.failure;
  }

  // --- sessions ---

  async #ready(): Promise<BridgeSession | undefined> {
    if (this.#state.is === "opening") await this.#state.opened;
    return this.#state.is === "open" ? this.#state.session : undefined;
  }

  /** Dials at once, before the first line: the MCP client waits for it. */
  #begin(): State {
    this.#finished = Promise.withResolvers<void>();
    const lines = new LineSplitter(DEFAULT_CODEC_LIMITS.maxBytes);
    const session: BridgeSession = this.#options.session({
      onData: (bytes) => this.#fromServer(session, lines, bytes),
      onEnd: () => {
        if (this.#session !== session || this.#state.is !== "open") return;
        this.#state = { is: "ending" };
        this.#dialogue.calls.missRest();
      },
      onPause: () => this.#watch.start(),
      onClose: (reason) => this.#onClose(session, reason),
    });
    this.#session = session;
    this.#watch.start();
    return { is: "opening", opened: this.#open(session) };
  }

  async #open(session: BridgeSession): Promise<void> {
    const { app, log } = this.#options;
    const { own, handshake, kept, asked, calls } = this.#dialogue;
    try {
      await session.open();
      const losses = await renew(session, own, handshake.recorded, kept);
      if (this.#session !== session) throw new Failure("session_gone", "the session ended while it opened");
      this.#state = { is: "open", session };
      this.#logged = undefined;
      for (const call of this.#again.splice(0)) {
        call.state = "sent";
        if (call.bytes !== undefined) session.write(call.bytes);
      }
      if (this.#before === undefined) return;
      log.warn("session.renewed", { app, after: this.#before });
      this.#show(noticesOf({ app, before: this.#before, kept, handshake: handshake.recorded }));
      for (const loss of losses) void loss.then((what) => what !== undefined && this.#stateLost(what));
    } catch (error) {
      const failure = Failure.from(error);
      if (failure.message !== this.#logged) log.error("connect.failed", { error: failure.message, hint: failure.hint });
      this.#logged = failure.message;
      this.#state = { is: "closed", failure, told: false, changed: failure.code === "server_changed" };
      if (this.#session === session) {
        this.#session = undefined;
        this.#show(asked.abandon(failure.message));
        void session.close(failure.message);
      }
      for (const { id } of this.#again.splice(0)) {
        calls.remove(id);
        this.#state.told = true;
        this.#show([refusal(id, failure)]);
      }
      this.#finished.resolve();
    }
  }

  #stateLost(what: string): void {
    const { handshake, kept } = this.#dialogue;
    this.#options.log.warn("session.state_lost", { app: this.#options.app, what });
    this.#show(logMessage(handshake.recorded, kept, `not brought over to the new session: ${what}`));
  }

  #show(lines: Uint8Array[]): void {
    if (lines.length > 0) void this.#options.write(joinLines(lines)).catch(() => {});
  }

  /** Nothing hangs: what is still open gets its error, and says that nobody knows what came of it. */
  #onClose(session: BridgeSession, reason: CloseReason): void {
    if (this.#session !== session) return;
    this.#session = undefined;
    const { app, log, write } = this.#options;
    const { own, asked, calls } = this.#dialogue;
    const failure = new Failure("session_gone", `the session with "${app}" has ended: ${reason.message}`);
    if (reason.code !== "end") log.error("session.ended", { code: reason.code, reason: reason.message });
    this.#before = reason.message;
    own.abandon(failure);
    const lines = asked.abandon(failure.message);
    // While it opens, `#open` hears of it through the request that it waits for, and answers what waits for the session.
    const opening = this.#state.is === "opening";
    if (!opening) {
      this.#state = { is: "closed", failure, told: true, changed: false };
      if (!this.#watch.inputEnded) this.#again = calls.retry();
    }
    for (const call of calls.drainGiven()) lines.push(endedAnswer(call, failure.message, reason.code));
    const finished = this.#finished;
    const written = lines.length === 0 ? Promise.resolve() : write(joinLines(lines));
    void written.catch(() => {}).finally(() => finished.resolve());
    if (!opening && this.#again.length > 0) this.#state = this.#begin();
  }

  // --- from the server ---

  /** Whole lines only: a session that is lost in the middle of one leaves nothing half-written on stdout. */
  #fromServer(session: BridgeSession, lines: LineSplitter, bytes: Uint8Array): Promise<void> | undefined {
    if (this.#session !== session) return undefined;
    const whole: Uint8Array[] = [];
    for (const line of lines.push(bytes)) {
      if ("overflow" in line) continue; // the agent's gate lets none through
      const message = decode(line.bytes);
      // An error without an id is no message to the codec, and the gate sends such.
      const passes = message.kind === "invalid" ? line.bytes : this.#dialogue.toClient(message);
      if (passes !== undefined) whole.push(passes);
    }
    if (whole.length === 0) return undefined;
    return this.#options.write(joinLines(whole));
  }
}

function everySecond(tick: () => void): () => void {
  const timer = setInterval(tick, TICK_MS);
  timer.unref();
  return () => clearInterval(timer);
}
