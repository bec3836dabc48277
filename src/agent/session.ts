/**
 * One session on the agent: the link from the client, the gate, and the server process, joined.
 *
 *     link → lines → gate → audit → server stdin        and back:   server stdout → lines → gate → audit → link
 *
 * Nothing reaches the server before its event is in the spool; when it can't be recorded, it does not happen.
 */
import { redactArguments } from "../audit/redact.ts";
import { newUid } from "../audit/uid.ts";
import type { AppConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import type { EventDraft } from "../event.ts";
import { Gate } from "../gate/gate.ts";
import type { Step } from "../gate/step.ts";
import type { Grant } from "../identity/grant.ts";
import { type Carrier, type CloseReason, Link, type WindowBudget } from "../link/link.ts";
import type { Log } from "../log.ts";
import { encodeError } from "../mcp/encode.ts";
import { BAD_SERVER_ANSWER } from "../mcp/fault.ts";
import type { Line } from "../mcp/lines.ts";
import type { Id } from "../mcp/message.ts";
import { Inbound } from "./inbound.ts";
import { NotificationMeter } from "./notification-meter.ts";
import type { Exit, Graces, ServerProcess, StartOptions } from "./process.ts";
import { NO_SECRETS } from "./secrets.ts";
import { SessionLimits } from "./session-limits.ts";
import type { SessionWatch } from "./session-watch.ts";
import { StartProgress } from "./start-progress.ts";
import type { AppPins } from "./tool-pins.ts";

export interface SessionOptions {
  grant: Grant;
  app: AppConfig;
  log: Log;
  /** `over` resolves when the session has ended, so that nobody needs the server any more. */
  start(onStdout: StartOptions["onStdout"], over: Promise<void>): Promise<ServerProcess>;
  /** The server answered something. Once. */
  onSpoke(): void;
  /** The server could not be started, or ended although nobody had asked it to. */
  onFailed(how: string): void;
  /** Puts the events into the spool before it returns; throws when it can't. */
  record(events: EventDraft[]): void;
  /** While nothing new may pass, as the agent may not have heard of a lock or of changed rules: when to go on. */
  held(): Promise<void> | undefined;
  /** What is known of the app's tools; undefined: `tool_pinning: off`. */
  pins?: AppPins | undefined;
  /** Who counts, times and traces what goes through. */
  watch?: SessionWatch | undefined;
  /** What the session may hold beyond the smallest windows. */
  budget: WindowBudget;
  /** Once; nothing of the session is left, the server included. */
  onEnded(reason: string, ok: boolean): void;
}

/** A session that nobody attached to. */
const FIRST_ATTACH_MS = 30_000;
/** Clients ask when they heard nothing for 12 s, so one that says nothing for this long is gone or asleep. */
const SILENCE_MS = 45_000;
/** How long a client that ended its input may wait for the answers to what it asked. */
const LAST_ANSWERS_MS = 60_000;
/** How long the last words of a session may take to reach the client. */
const FLUSH_MS = 5_000;

export class Session {
  readonly sid: string;
  readonly user: string;
  readonly link: Link;
  readonly #options: SessionOptions;
  readonly #gate: Gate;
  readonly #meter = new NotificationMeter({ now: () => performance.now() });
  readonly #fromClient: Inbound;
  readonly #fromServer: Inbound;
  /** Resolves when the server runs, or when it is certain that it won't. */
  readonly #started: Promise<void>;
  #server: ServerProcess | undefined;
  #failed: Failure | undefined;
  #ending: Promise<void> | undefined;
  readonly #over = Promise.withResolvers<void>();
  /** While a client that ended its input waits for its last answers. */
  #answered: PromiseWithResolvers<void> | undefined;
  #drained: PromiseWithResolvers<void> | undefined;
  #revision: number;
  #attached = false;
  #spoke = false;
  readonly #limits: SessionLimits;
  readonly #progress = new StartProgress();
  #graces: Graces = {};
  #detachedMs = 0;

  constructor(options: SessionOptions) {
    const { grant } = options;
    this.#options = options;
    this.sid = grant.sid;
    this.user = grant.user;
    this.#revision = grant.revision;
    this.#limits = new SessionLimits(options.app.mcp.limits ?? {}, performance.now());
    this.#gate = new Gate({
      app: grant.app,
      rules: grant.rules,
      newUid,
      now: () => performance.now(),
      redact: redactArguments,
      pins: options.pins,
      observer: options.watch?.gate,
    });
    this.#fromClient = new Inbound(options.budget);
    this.#fromServer = new Inbound(options.budget);
    this.link = new Link({
      onData: (bytes) => this.#onClientData(bytes),
      onEnd: () => void this.#onClientEnd(),
      onClose: (reason) => void this.#onLinkClosed(reason),
      budget: options.budget,
    });
    this.#started = this.#start();
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
    return this.#server?.pid;
  }

  attach(carrier: Carrier): void {
    this.#attached = true;
    this.#detachedMs = 0;
    this.link.attach(carrier);
  }

  /** The user's rules, as they are now. Two changes may overtake each other on the way; the newer one stands. */
  update(grant: Grant): void {
    if (grant.revision < this.#revision) return;
    this.#revision = grant.revision;
    this.#apply(this.#gate.update(grant.rules));
  }

  /** Tools of the app that were held back have been approved. */
  toolsApproved(): void {
    this.#apply(this.#gate.toolsApproved());
  }

  /** Called about once a second while the agent can be reached: a session whose client is gone does not stay for ever. */
  tick(elapsedMs: number, resumeWindowMs: number): void {
    this.#record([]);
    if (this.link.attached || this.link.closed) {
      this.#detachedMs = 0;
      if (performance.now() - this.link.lastHeard > SILENCE_MS) this.link.drop("the client is silent");
      return;
    }
    this.#detachedMs += elapsedMs;
    if (this.#detachedMs > (this.#attached ? resumeWindowMs : Math.min(FIRST_ATTACH_MS, resumeWindowMs))) {
      void this.end(this.#attached ? "the client did not come back" : "no client came");
    }
  }

  /** Requests that a client waits for; a subscription, which is open for ever, is none. */
  get openCalls(): number {
    return this.#gate.openCalls();
  }

  /**
   * Nothing new reaches the server from now on: what the client asks is left without an answer, so that it goes to the next
   * session. Resolves when all calls that are open are answered and the client has the answers, or the session is over.
   */
  async drain(): Promise<void> {
    this.#gate.close();
    this.#drained ??= Promise.withResolvers<void>();
    if (this.openCalls > 0) await this.#drained.promise;
    if (this.link.attached) await this.link.flushed();
  }

  /** Called about once a second. */
  checkLimits(now: number): void {
    if (this.#ending !== undefined) return;
    for (const bytes of this.#progress.due(now)) this.link.write(bytes);
    // Until its first answer, it has as long as `start_timeout` says.
    const late = this.#spoke ? this.#gate.overdue() : undefined;
    if (late !== undefined) this.#apply(late);
    const overdue = this.#limits.overdue(now, this.#gate.openRequests());
    if (overdue === undefined) return;
    if (overdue.failed) this.#options.onFailed(overdue.reason);
    void this.end(overdue.reason, overdue.failed ? "timeout" : "session_gone");
  }

  /** Ends the session: open requests are answered with `reason`, the server is stopped. Resolves when nothing is left. */
  end(reason: string, code = "session_gone"): Promise<void> {
    this.#ending ??= this.#finish(reason, code);
    this.#over.resolve();
    return this.#ending;
  }

  /** The same at once, with SIGKILL for the server. */
  kill(reason: string): Promise<void> {
    this.#graces = { inputMs: 0, termMs: 0 };
    return this.end(reason);
  }

  // --- the server ---

  async #start(): Promise<void> {
    const { log, start } = this.#options;
    try {
      const server = await start((chunk) => this.#onServerData(chunk), this.#over.promise);
      this.#server = server;
      log.info("session.start", { pid: server.pid });
      void server.exited.then((exit) => this.#onServerExit(exit));
    } catch (error) {
      this.#failed = Failure.from(error);
      // Where this person has no account on the host, the app is as well as before.
      const fault = this.#ending === undefined && this.#failed.code !== "access_denied";
      if (fault) this.#options.onFailed(this.#failed.message);
      log.warn("session.start_failed", { error: this.#failed.message });
      // The first request is answered with it, so that the person who asked hears why.
      this.#apply(this.#gate.abandon(this.#failed.message, "error", this.#failed.hint));
    }
  }

  #onServerData(chunk: Uint8Array): void | Promise<void> {
    this.#limits.active(performance.now());
    this.#options.watch?.onStdout(chunk.length);
    const lines = this.#fromServer.lines.push(chunk);
    if (lines.length > 0) {
      const step = joined(lines.map((line) => this.#read("server", line)));
      if (!this.#spoke) this.#onFirstWords(step);
      this.#apply(step);
    }
    return this.#room(this.#fromServer);
  }

  /** Until it has answered something: a server that prints a banner and then nothing has not started. */
  #onFirstWords(step: Step): void {
    // Progress from here on may be the server's own, and higher than ours.
    if (step.toClient.length > 0 || this.#gate.answered) this.#progress.end();
    if (!this.#gate.answered) return;
    this.#spoke = true;
    this.#limits.answered();
    this.#options.onSpoke();
  }

  async #onServerExit({ message: how, cut }: Exit): Promise<void> {
    if (this.#ending === undefined && cut === undefined) this.#options.onFailed(`the server ${how}`);
    const rest = this.#fromServer.lines.end();
    if (rest !== undefined) this.#apply(this.#read("server", rest));
    await this.end(`the server ${how}`, "server_exited");
  }

  // --- the client ---

  #onClientData(bytes: Uint8Array): void | Promise<void> {
    if (this.#server === undefined && this.#failed === undefined) {
      return this.#started.then(() => this.#onClientData(bytes));
    }
    // What is not consumed is not acknowledged: the client's window holds it back.
    const held = this.#options.held();
    if (held !== undefined) return held.then(() => (this.link.closed ? undefined : this.#onClientData(bytes)));
    const lines = this.#fromClient.lines.push(bytes);
    if (lines.length > 0) {
      this.#apply(joined(lines.map((line) => this.#read("client", line))));
      if (this.#failed !== undefined) void this.end(this.#failed.message, "start_failed");
    }
    return this.#room(this.#fromClient);
  }

  async #onClientEnd(): Promise<void> {
    await this.#started;
    const rest = this.#fromClient.lines.end();
    if (rest !== undefined) {
      // The end of the stream makes a line of what stands there: it waits as every other line does.
      for (let held = this.#options.held(); held !== undefined; held = this.#options.held()) await held;
      this.#apply(this.#read("client", rest));
    }
    if (this.#server === undefined) {
      await this.end("the client ended the session", "end");
      return;
    }
    this.#server.endInput();
    // Requests that are still open may be answered: `printf … | mcpgate client connect NAME` is a use.
    if (this.#gate.openRequests() > 0) {
      this.#answered = Promise.withResolvers<void>();
      await Promise.race([this.#answered.promise, this.#server.exited, Bun.sleep(LAST_ANSWERS_MS)]);
    }
    await this.end("the client ended the session", "end");
  }

  async #onLinkClosed(reason: CloseReason): Promise<void> {
    await this.end(reason.by === "peer" ? "the client ended the session" : reason.message, "end");
  }

  // --- between them ---

  #read(from: "client" | "server", line: Line): Step {
    if ("overflow" in line) return this.#gate.overflow(from, line.overflow, line);
    return from === "client" ? this.#gate.fromClient(line.bytes) : this.#gate.fromServer(line.bytes);
  }

  #apply(step: Step): void {
    if (step.events.length > 0 && !this.#record(step.events)) return;
    this.#savePins();
    const now = performance.now();
    for (const bytes of step.toServer) {
      this.#limits.toServer(now);
      this.#progress.toServer(bytes, now);
    }
    if (step.toServer.length > 0) this.#server?.write(inOne(step.toServer));
    for (const bytes of step.toClient) this.link.write(this.#withoutSecrets(bytes));
    if (this.#answered !== undefined && this.#gate.openRequests() === 0) this.#answered.resolve();
    if (this.#drained !== undefined && this.openCalls === 0) this.#drained.resolve();
  }

  /** After their events: a definition is told about twice rather than never. */
  #savePins(): void {
    try {
      this.#options.pins?.save();
    } catch (error) {
      this.#options.log.error("pins.write_failed", { error: Failure.from(error).message });
    }
  }

  /** The one place where a line changes after the gate: what the server was given to keep to itself stays here. */
  #withoutSecrets(line: Uint8Array): Uint8Array {
    const { log, app } = this.#options;
    const mode = app.mcp.secrets ?? "mask";
    const secrets = this.#server?.secrets ?? NO_SECRETS;
    if (mode === "allow" || !secrets.any) return line;
    const masked = secrets.maskLine(line);
    if (masked === line) return line;
    log.warn("secret.found", { mode });
    return mode === "mask" ? masked : blocked(masked);
  }

  /** False: it could not be recorded, so it must not happen, and the session ends. */
  #record(events: EventDraft[], due = this.#meter.take(events)): boolean {
    if (due.length === 0) return true;
    const { sid, user, app } = this.#options.grant;
    try {
      const secrets = this.#server?.secrets ?? NO_SECRETS;
      this.#options.record(due.map((event) => secrets.maskValue({ ...event, sid, user, app })));
      this.#options.watch?.onEvents(due);
      return true;
    } catch (error) {
      this.#options.log.error("audit.write_failed", { error: Failure.from(error).message });
      void this.end("the audit log can't be written on the agent's host", "unavailable");
      return false;
    }
  }

  /** Resolves when there is room for more; what a large line took is given back then, as all but a window of it has left. */
  #room(from: Inbound): void | Promise<void> {
    const server = this.#server;
    const serverFull = server !== undefined && !server.writable;
    const linkFull = this.link.full;
    if (!serverFull && !linkFull) return from.settle();
    return Promise.all([serverFull ? server.drain() : undefined, linkFull ? this.link.drained() : undefined]).then(() =>
      from.settle(),
    );
  }

  async #finish(reason: string, code: string): Promise<void> {
    await this.#started;
    const server = this.#server;
    const running = server !== undefined && code !== "server_exited";
    const exit = running ? server.stop(this.#graces) : server?.exited;
    if (running && code === "end") await exit;
    const tail =
      code === "server_exited" || code === "timeout" ? (server?.stderrTail().slice(-10).join("\n") ?? "") : "";
    const told = tail === "" ? reason : `${reason}; its last words:\n${tail}`;
    this.#apply(this.#gate.abandon(told, "unknown"));
    this.#record([], [...this.#meter.flush(true), ...this.#gate.summary()]);
    // Tells the client that all the gate let through is answered by now: what isn't has not reached the server.
    this.link.end();
    // A client that is away may come back for what its server last said, not for a session that was taken away.
    if (this.link.attached || code !== "session_gone") await Promise.race([this.link.flushed(), Bun.sleep(FLUSH_MS)]);
    this.link.close(code, told);
    const how = await exit;
    this.#drained?.resolve();
    this.#fromClient.close();
    this.#fromServer.close();
    this.#options.log.info("session.end", { reason, ...(how === undefined ? {} : { exit: how.message }) });
    this.#options.watch?.onEnded(code);
    this.#options.onEnded(reason, code === "end");
  }
}

/** What came in one chunk is recorded with one write, and goes on with one. */
function joined(steps: Step[]): Step {
  const [first] = steps;
  if (steps.length === 1 && first !== undefined) return first;
  return {
    events: steps.flatMap(({ events }) => events),
    toServer: steps.flatMap(({ toServer }) => toServer),
    toClient: steps.flatMap(({ toClient }) => toClient),
  };
}

const inOne = (lines: Uint8Array[]): Uint8Array =>
  lines.length === 1 ? (lines[0] as Uint8Array) : Buffer.concat(lines);

/** An answer becomes an error; what has no answer's place to say so in (a request, a notification) passes masked. */
function blocked(masked: Uint8Array): Uint8Array {
  const { id, method } = JSON.parse(new TextDecoder().decode(masked)) as { id?: Id; method?: unknown };
  if (id === undefined || method !== undefined) return masked;
  return encodeError(
    id,
    BAD_SERVER_ANSWER,
    "the answer was withheld: it holds a secret of the server's (mcp.secrets: block)",
  );
}
