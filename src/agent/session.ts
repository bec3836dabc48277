/**
 * One session on the agent, from its beginning to its end: the link from the client and the server process, and what passes
 * between them (`passage.ts`).
 */
import type { Failure } from "../errors.ts";
import type { Grant } from "../identity/grant.ts";
import type { Carrier } from "../link/carrier.ts";
import { type CloseReason, Link } from "../link/link.ts";
import { ClientPresence } from "./client-presence.ts";
import { Passage, type PassageOptions } from "./passage.ts";
import type { Exit, OnStdout, ServerProcess } from "./process.ts";
import { SessionServer } from "./session-server.ts";
import type { SessionWatch } from "./session-watch.ts";

export interface SessionOptions extends PassageOptions {
  /** `over` resolves when the session has ended, so that nobody needs the server any more. */
  start(onStdout: OnStdout, over: Promise<void>): Promise<ServerProcess>;
  /** The server could not be started, or ended although nobody had asked it to. */
  onFailed(how: string): void;
  /** While nothing new may pass, as the agent may not have heard of a lock or of changed rules: when to go on. */
  held(): Promise<void> | undefined;
  /** Once; nothing of the session is left, the server included. */
  onEnded(reason: string, ok: boolean): void;
}

/** How long a client that ended its input may wait for the answers to what it asked. */
const LAST_ANSWERS_MS = 60_000;
/** How long the last words of a session may take to reach the client. */
const FLUSH_MS = 5_000;

export class Session {
  readonly sid: string;
  readonly user: string;
  readonly link: Link;
  readonly #options: SessionOptions;
  readonly #server: SessionServer;
  readonly #passage: Passage;
  readonly #client: ClientPresence;
  #ending: Promise<void> | undefined;
  #revision: number;

  constructor(options: SessionOptions) {
    const { grant, log, budget } = options;
    this.#options = options;
    this.sid = grant.sid;
    this.user = grant.user;
    this.#revision = grant.revision;
    this.link = new Link({
      onData: (bytes) => this.#onClientData(bytes),
      onEnd: () => void this.#onClientEnd(),
      onClose: (reason) => void this.#onLinkClosed(reason),
      budget,
    });
    this.#client = new ClientPresence(this.link);
    this.#server = new SessionServer({
      start: (over) => options.start((chunk) => this.#onServerData(chunk), over),
      onRunning: (pid) => log.info("session.start", { pid }),
      onFailed: (failure) => this.#onStartFailed(failure),
      onExit: (exit) => void this.#onServerExit(exit),
    });
    this.#passage = new Passage(options, {
      ...{ link: this.link, server: this.#server },
      onUnrecorded: () => void this.end("the audit log can't be written on the agent's host", "unavailable"),
    });
    void this.#server.start();
  }

  /** The app's grant that the session runs under. */
  get grant(): Grant {
    return this.#options.grant;
  }

  get watch(): SessionWatch | undefined {
    return this.#options.watch;
  }

  /** Undefined until the server runs. */
  get serverPid(): number | undefined {
    return this.#server.process?.pid;
  }

  attach(carrier: Carrier): void {
    this.#client.attached();
    this.link.attach(carrier);
  }

  /** The user's rules, as they are now. Two changes may overtake each other on the way; the newer one stands. */
  update(grant: Grant): void {
    if (grant.revision < this.#revision) return;
    this.#revision = grant.revision;
    this.#passage.update(grant.rules);
  }

  /** Tools of the app that were held back have been approved. */
  toolsApproved(): void {
    this.#passage.toolsApproved();
  }

  /** Called about once a second while the agent can be reached: a session whose client is gone does not stay for ever. */
  tick(elapsedMs: number, resumeWindowMs: number): void {
    this.#passage.recordDue();
    const gone = this.#client.tick(elapsedMs, resumeWindowMs);
    if (gone !== undefined) void this.end(gone);
  }

  /** Requests that a client waits for; a subscription, which is open for ever, is none. */
  get openCalls(): number {
    return this.#passage.openCalls;
  }

  /**
   * Nothing new reaches the server from now on: what the client asks is left without an answer, so that it goes to the next
   * session. Resolves when all calls that are open are answered and the client has the answers, or the session is over.
   */
  async drain(): Promise<void> {
    await this.#passage.drain();
    if (this.link.attached) await this.link.flushed();
  }

  /** Called about once a second. */
  checkLimits(now: number): void {
    if (this.#ending !== undefined) return;
    const overdue = this.#passage.checkLimits(now);
    if (overdue === undefined) return;
    if (overdue.failed) this.#options.onFailed(overdue.reason);
    void this.end(overdue.reason, overdue.failed ? "timeout" : "session_gone");
  }

  /** Ends the session: open requests are answered with `reason`, the server is stopped. Resolves when nothing is left. */
  end(reason: string, code = "session_gone"): Promise<void> {
    this.#ending ??= this.#finish(reason, code);
    this.#server.release();
    return this.#ending;
  }

  /** The same at once, with SIGKILL for the server. */
  kill(reason: string): Promise<void> {
    this.#server.hurry();
    return this.end(reason);
  }

  // --- the server ---

  #onStartFailed(failure: Failure): void {
    const { code, message } = failure;
    // Where this person has no account on the host, the app is as well as before.
    if (this.#ending === undefined && code !== "access_denied") this.#options.onFailed(message);
    this.#options.log.warn("session.start_failed", { error: message });
    // The first request is answered with it, so that the person who asked hears why.
    this.#passage.refuse(failure);
  }

  #onServerData(chunk: Uint8Array): void | Promise<void> {
    this.#passage.fromServer(chunk);
    return this.#passage.room("server");
  }

  async #onServerExit({ message: how, cut }: Exit): Promise<void> {
    if (this.#ending === undefined && cut === undefined) this.#options.onFailed(`the server ${how}`);
    const rest = this.#passage.rest("server");
    if (rest !== undefined) this.#passage.take("server", rest);
    await this.end(`the server ${how}`, "server_exited");
  }

  // --- the client ---

  #onClientData(bytes: Uint8Array): void | Promise<void> {
    if (!this.#server.isKnown) return this.#server.started.then(() => this.#onClientData(bytes));
    // What is not consumed is not acknowledged: the client's window holds it back.
    const held = this.#options.held();
    if (held !== undefined) return held.then(() => (this.link.closed ? undefined : this.#onClientData(bytes)));
    const { failure } = this.#server;
    if (this.#passage.fromClient(bytes) && failure !== undefined) void this.end(failure.message, "start_failed");
    return this.#passage.room("client");
  }

  async #onClientEnd(): Promise<void> {
    await this.#server.started;
    const rest = this.#passage.rest("client");
    if (rest !== undefined) {
      // It waits as every other line does.
      for (let held = this.#options.held(); held !== undefined; held = this.#options.held()) await held;
      this.#passage.take("client", rest);
    }
    const server = this.#server.process;
    server?.endInput();
    // Requests that are still open may be answered: `printf … | mcpgate client connect NAME` is a use.
    if (server !== undefined && this.#passage.openRequests > 0) {
      await Promise.race([this.#passage.idle(), server.exited, Bun.sleep(LAST_ANSWERS_MS)]);
    }
    await this.end("the client ended the session", "end");
  }

  async #onLinkClosed(reason: CloseReason): Promise<void> {
    await this.end(reason.by === "peer" ? "the client ended the session" : reason.message, "end");
  }

  async #finish(reason: string, code: string): Promise<void> {
    await this.#server.started;
    const exit = code === "server_exited" ? this.#server.process?.exited : this.#server.stop();
    if (exit !== undefined && code === "end") await exit;
    const tail = code === "server_exited" || code === "timeout" ? this.#server.lastWords() : "";
    const told = tail === "" ? reason : `${reason}; its last words:\n${tail}`;
    this.#passage.end(told);
    // Tells the client that all the gate let through is answered by now: what isn't has not reached the server.
    this.link.end();
    // A client that is away may come back for what its server last said, not for a session that was taken away.
    if (this.link.attached || code !== "session_gone") await Promise.race([this.link.flushed(), Bun.sleep(FLUSH_MS)]);
    this.link.close(code, told);
    const how = await exit;
    this.#passage.close();
    this.#options.log.info("session.end", { reason, ...(how === undefined ? {} : { exit: how.message }) });
    this.#options.watch?.onEnded(code);
    this.#options.onEnded(reason, code === "end");
  }
}
