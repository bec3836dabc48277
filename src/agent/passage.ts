/**
 * What passes through a session:
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
import { joinSteps, type Step } from "../gate/step.ts";
import type { Grant } from "../identity/grant.ts";
import type { Link } from "../link/link.ts";
import type { WindowBudget } from "../link/window.ts";
import type { Log } from "../log.ts";
import { joinLines, type Line } from "../mcp/lines.ts";
import { Inbound } from "./inbound.ts";
import { withhold } from "./secrets.ts";
import { type Overdue, SessionLimits } from "./session-limits.ts";
import { SessionRecord } from "./session-record.ts";
import type { SessionServer } from "./session-server.ts";
import type { SessionWatch } from "./session-watch.ts";
import { StartProgress } from "./start-progress.ts";
import type { AppPins } from "./tool-pins.ts";

export interface PassageOptions {
  grant: Grant;
  app: AppConfig;
  log: Log;
  /** Puts the events into the spool before it returns; throws when it can't. */
  record(events: EventDraft[]): void;
  /** The server answered something. Once. */
  onSpoke(): void;
  /** What is known of the app's tools; undefined: `tool_pinning: off`. */
  pins?: AppPins | undefined;
  /** Who counts, times and traces what goes through. */
  watch?: SessionWatch | undefined;
  /** What the session may hold beyond the smallest windows. */
  budget: WindowBudget;
}

/** What the lines pass between. */
export interface Ends {
  link: Link;
  server: SessionServer;
  /** What could not be recorded has not happened, and the session has to end. */
  onUnrecorded(): void;
}

type Side = "client" | "server";

export class Passage {
  readonly #options: PassageOptions;
  readonly #link: Link;
  readonly #server: SessionServer;
  readonly #gate: Gate;
  readonly #record: SessionRecord;
  readonly #from: Record<Side, Inbound>;
  readonly #limits: SessionLimits;
  readonly #progress = new StartProgress();
  /** Who waits until no request is open, or no call. */
  #idle: PromiseWithResolvers<void> | undefined;
  #drained: PromiseWithResolvers<void> | undefined;

  constructor(options: PassageOptions, { link, server, onUnrecorded }: Ends) {
    const { grant, app, log, watch, record, budget } = options;
    this.#options = options;
    this.#link = link;
    this.#server = server;
    this.#limits = new SessionLimits(app.mcp.limits ?? {}, performance.now());
    this.#gate = new Gate({
      app: grant.app,
      rules: grant.rules,
      newUid,
      now: () => performance.now(),
      redact: redactArguments,
      pins: options.pins,
      observer: watch?.gate,
    });
    this.#record = new SessionRecord({
      ...{ grant, log, watch, record },
      secrets: () => server.secrets,
      onFailed: onUnrecorded,
    });
    this.#from = { client: new Inbound(budget), server: new Inbound(budget) };
  }

  /** Whether there was a whole line in it. */
  fromClient(bytes: Uint8Array): boolean {
    const lines = this.#from.client.lines.push(bytes);
    if (lines.length === 0) return false;
    this.#apply(joinSteps(lines.map((line) => this.#read("client", line))));
    return true;
  }

  fromServer(chunk: Uint8Array): void {
    this.#limits.active(performance.now());
    this.#options.watch?.onStdout(chunk.length);
    const lines = this.#from.server.lines.push(chunk);
    if (lines.length === 0) return;
    const step = joinSteps(lines.map((line) => this.#read("server", line)));
    if (!this.#limits.hasAnswered) this.#onFirstWords(step);
    this.#apply(step);
  }

  /** Resolves when there is room for more; what a large line took is given back then, as all but a window of it has left. */
  room(from: Side): void | Promise<void> {
    const serverFull = this.#server.full;
    const linkFull = this.#link.full;
    if (!serverFull && !linkFull) return this.#from[from].settle();
    return Promise.all([
      serverFull ? this.#server.drained() : undefined,
      linkFull ? this.#link.drained() : undefined,
    ]).then(() => this.#from[from].settle());
  }

  /** What a side that has ended left behind its last line feed: the end of the stream makes a line of it. */
  rest(from: Side): Line | undefined {
    return this.#from[from].lines.end();
  }

  take(from: Side, line: Line): void {
    this.#apply(this.#read(from, line));
  }

  /** The user's rules, as they are now. */
  update(rules: Grant["rules"]): void {
    this.#apply(this.#gate.update(rules));
  }

  /** Tools of the app that were held back have been approved. */
  toolsApproved(): void {
    this.#apply(this.#gate.toolsApproved());
  }

  /** Requests of either side that wait for an answer. */
  get openRequests(): number {
    return this.#gate.openRequests();
  }

  /** Requests that a client waits for; a subscription, which is open for ever, is none. */
  get openCalls(): number {
    return this.#gate.openCalls();
  }

  /** Resolves when no request of either side is open. */
  async idle(): Promise<void> {
    if (this.openRequests === 0) return;
    this.#idle ??= Promise.withResolvers<void>();
    await this.#idle.promise;
  }

  /** Lets no new request through, and leaves it without an answer. Resolves when no call is open. */
  async drain(): Promise<void> {
    this.#gate.close();
    if (this.openCalls === 0) return;
    this.#drained ??= Promise.withResolvers<void>();
    await this.#drained.promise;
  }

  /** Called about once a second: who waits hears of it; why the session has to end now, if it has to. */
  checkLimits(now: number): Overdue | undefined {
    for (const bytes of this.#progress.due(now)) this.#link.write(bytes);
    // Until its first answer, it has as long as `start_timeout` says.
    const late = this.#limits.hasAnswered ? this.#gate.overdue() : undefined;
    if (late !== undefined) this.#apply(late);
    return this.#limits.overdue(now, this.openRequests);
  }

  /** Records what was only counted so far, where that is due. */
  recordDue(): void {
    this.#record.take([]);
  }

  /** There is no server: requests are answered with why. */
  refuse({ message, hint }: Failure): void {
    this.#apply(this.#gate.abandon(message, "error", hint));
  }

  /** There is no server any more: what is open is answered with why, and the session's last events are recorded. */
  end(reason: string): void {
    this.#apply(this.#gate.abandon(reason, "unknown"));
    this.#record.end(this.#gate.summary());
  }

  /** Nothing is held any more, and nobody waits. */
  close(): void {
    this.#drained?.resolve();
    this.#from.client.close();
    this.#from.server.close();
  }

  #read(from: Side, line: Line): Step {
    if ("overflow" in line) return this.#gate.overflow(from, line.overflow, line);
    return from === "client" ? this.#gate.fromClient(line.bytes) : this.#gate.fromServer(line.bytes);
  }

  /** Until it has answered something: a server that prints a banner and then nothing has not started. */
  #onFirstWords(step: Step): void {
    // Progress from here on may be the server's own, and higher than ours.
    if (step.toClient.length > 0 || this.#gate.answered) this.#progress.end();
    if (!this.#gate.answered) return;
    this.#limits.answered();
    this.#options.onSpoke();
  }

  #apply(step: Step): void {
    if (step.events.length > 0 && !this.#record.take(step.events)) return;
    this.#savePins();
    const now = performance.now();
    for (const bytes of step.toServer) {
      this.#limits.toServer(now);
      this.#progress.toServer(bytes, now);
    }
    if (step.toServer.length > 0) this.#server.write(joinLines(step.toServer));
    if (step.toClient.length > 0)
      this.#link.write(joinLines(step.toClient.map((bytes) => this.#withoutSecrets(bytes))));
    if (this.#idle !== undefined && this.openRequests === 0) this.#idle.resolve();
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
    const { secrets } = this.#server;
    if (mode === "allow" || !secrets.any) return line;
    const masked = secrets.maskLine(line);
    if (masked === line) return line;
    log.warn("secret.found", { mode });
    return mode === "mask" ? masked : withhold(masked);
  }
}
