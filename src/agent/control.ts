/**
 * The agent's one control connection to the proxy: dialled out, kept up for ever. It offers the apps, takes grants,
 * and ships the audit spool.
 */
import { endAt } from "../audit/chain.ts";
import { signHead } from "../audit/head.ts";
import type { Spool } from "../audit/spool.ts";
import { Failure } from "../errors.ts";
import type { KeyPair } from "../identity/keys.ts";
import { signProof } from "../identity/proof.ts";
import { publicUrl } from "../identity/url.ts";
import { backoff } from "../link/backoff.ts";
import { type Connection, dial } from "../link/dial.ts";
import {
  AGENT_CONTROL_PATH,
  encodeFromAgent,
  type FromAgent,
  HEARTBEAT_LOST_MS,
  HOLD_AFTER_MS,
  MAX_BATCH,
  MAX_BATCH_EVENTS,
  parseMessage,
  type ToAgent,
  toAgent,
} from "../link/protocol.ts";
import type { Trust } from "../link/trust.ts";
import type { Log } from "../log.ts";
import { VERSION } from "../version.ts";

type Hello = Extract<FromAgent, { t: "hello" }>;

export interface ControlOptions {
  trust: Trust;
  agent: string;
  key: KeyPair;
  spool: Spool;
  log: Log;
  /** What to offer, asked for at each connection. */
  offer(): Pick<Hello, "boot" | "apps" | "sessions" | "ended">;
  onMessage(message: Exclude<ToAgent, { t: "challenge" | "refused" | "ping" | "events.stored" | "synced" }>): void;
  /** Resolves when all that `onMessage` was given is in force. */
  settled(): Promise<void>;
  /** The proxy's clock, milliseconds since the epoch. */
  onClock(now: number): void;
  /** The proxy said that this agent is not wanted any more, or never was: trying again would not help. */
  onRejected(failure: Failure): void;
  /** The proxy keeps this agent out until a lock is gone; it is asked again. */
  onLocked(failure: Failure): void;
}

/** Events that come together travel together, and are one commit: each takes its time, however few they are. */
const BATCH_DELAY_MS = 100;
/** What was stored is signed within that time, all of it at once. */
const HEAD_DELAY_MS = 1_000;

export class Control {
  readonly #options: ControlOptions;
  #connection: Connection | undefined;
  #connects = 0;
  #stopped = false;
  #lastHeard = 0;
  #watch: ReturnType<typeof setInterval> | undefined;
  #shipTimer: ReturnType<typeof setTimeout> | undefined;
  #shipping = false;
  /** The batch under way, and the last one that the proxy has stored. */
  #sent: string | undefined;
  #stored: string | undefined;
  #headTimer: ReturnType<typeof setTimeout> | undefined;
  #wake: (() => void) | undefined;
  #shipped: PromiseWithResolvers<void> | undefined;
  /** The connection on which the proxy has said all that changed, and when it was last heard on one. */
  #synced: Connection | undefined;
  #freshAt = performance.now();
  #hold: PromiseWithResolvers<void> | undefined;

  constructor(options: ControlOptions) {
    this.#options = options;
    options.spool.onAppend = () => this.#shipSoon();
  }

  /** How often the proxy took the hello. */
  get connects(): number {
    return this.#connects;
  }

  get up(): boolean {
    return this.#connection?.open ?? false;
  }

  /**
   * While the proxy has not been heard for `HOLD_AFTER_MS`, and until it has said what changed meanwhile: when to go on. A
   * lock that can't reach this agent would bite nobody otherwise.
   */
  get held(): Promise<void> | undefined {
    if (performance.now() - this.#freshAt <= HOLD_AFTER_MS) return undefined;
    this.#hold ??= Promise.withResolvers<void>();
    return this.#hold.promise;
  }

  send(message: FromAgent): void {
    this.#connection?.sendText(encodeFromAgent(message));
  }

  /** Runs until `stop`. A connection that is lost is dialled again, at once and then with growing pauses. */
  async run(): Promise<void> {
    const { log } = this.#options;
    let lostAt: number | undefined;
    for (let attempt = 0; !this.#stopped; attempt++) {
      const wait = backoff(attempt);
      if (wait > 0) await this.#pause(wait);
      if (this.#stopped) return;
      try {
        const { lost } = await this.#connect();
        attempt = -1;
        if (lostAt !== undefined) log.warn("control.regained", { after_ms: Math.round(performance.now() - lostAt) });
        const reason = await lost;
        lostAt = performance.now();
        if (!this.#stopped) log.warn("control.lost", { reason });
      } catch (error) {
        const failure = Failure.from(error);
        if (failure.code === "bad_proof" || failure.code === "access_denied" || failure.code === "not_found") {
          this.#options.onRejected(failure);
          return;
        }
        if (failure.code === "locked") this.#options.onLocked(failure);
        if (attempt === 0 || attempt === 5)
          log.warn("control.unreachable", { error: failure.message, hint: failure.hint });
      }
    }
  }

  /** The last events were appended: resolves when the proxy stored what is in the spool, or after `ms`. */
  async flush(ms: number): Promise<void> {
    if (!this.up) return;
    if (this.#options.spool.pending > 0) {
      this.#shipped = Promise.withResolvers<void>();
      this.#ship();
      await Promise.race([this.#shipped.promise, Bun.sleep(ms)]);
    }
    if (this.#options.spool.pending === 0) await this.#sendHead(true);
  }

  stop(): void {
    this.#stopped = true;
    this.#wake?.();
    clearTimeout(this.#shipTimer);
    clearTimeout(this.#headTimer);
    this.#connection?.close("the agent stops");
  }

  /** Resolves once the proxy took the hello; `lost` with why the connection has ended. */
  async #connect(): Promise<{ lost: Promise<string> }> {
    const { trust, agent, key, log } = this.#options;
    const lost = Promise.withResolvers<string>();
    const connection = await dial({
      trust,
      path: AGENT_CONTROL_PATH,
      answer: async (nonce) => ({
        t: "hello",
        proof: await signProof({ key, method: "GET", url: publicUrl(trust.proxy, AGENT_CONTROL_PATH), nonce }),
        agent,
        version: VERSION,
        ...this.#options.offer(),
      }),
      onText: (from, text) => {
        this.#lastHeard = performance.now();
        const message = parseMessage(toAgent, text);
        if (message === undefined) {
          log.warn("control.unknown_message");
          return false;
        }
        return this.#onMessage(from, message);
      },
      onClose: (_from, reason) => lost.resolve(reason),
    });
    this.#connection = connection;
    this.#connects += 1;
    this.#shipping = false;
    this.#ship();
    clearInterval(this.#watch);
    this.#watch = setInterval(() => {
      if (performance.now() - this.#lastHeard > HEARTBEAT_LOST_MS) connection.close("the proxy is silent");
    }, 1_000);
    const ended = lost.promise.finally(() => {
      clearInterval(this.#watch);
      if (this.#connection === connection) this.#connection = undefined;
    });
    return { lost: ended };
  }

  #onMessage(connection: Connection, message: ToAgent): boolean {
    switch (message.t) {
      case "ping":
        this.#options.onClock(message.now);
        connection.sendText({ t: "pong" });
        if (this.#synced === connection) this.#fresh();
        return false;
      case "synced":
        void this.#options.settled().then(() => {
          if (!connection.open) return;
          this.#synced = connection;
          this.#fresh();
        });
        return false;
      case "events.stored":
        this.#options.spool.ack(message.last);
        this.#shipping = false;
        this.#stored = this.#sent;
        this.#headTimer ??= setTimeout(() => void this.#sendHead(false), HEAD_DELAY_MS);
        this.#ship();
        return false;
      case "challenge":
      case "refused":
        return false;
      case "welcome":
        this.#connection = connection; // what is said in answer to it goes here
        this.#options.onMessage(message);
        return true;
      default:
        this.#options.onMessage(message);
        return false;
    }
  }

  #fresh(): void {
    this.#freshAt = performance.now();
    this.#hold?.resolve();
    this.#hold = undefined;
  }

  // --- the spool ---

  #shipSoon(): void {
    this.#shipTimer ??= setTimeout(() => this.#ship(), BATCH_DELAY_MS);
  }

  /** One batch at a time: the next goes when the proxy stored this one, so a slow disk there slows nobody's calls. */
  #ship(): void {
    clearTimeout(this.#shipTimer);
    this.#shipTimer = undefined;
    if (this.#shipping || !this.up) return;
    const { first, count, lines } = this.#options.spool.next(MAX_BATCH_EVENTS, MAX_BATCH);
    if (count === 0) {
      this.#shipped?.resolve();
      return;
    }
    this.#shipping = true;
    this.#sent = lines;
    this.send({ t: "events", last: first + count - 1, lines });
  }

  /** `final`: nothing will be appended any more. One that is lost on the way is made good by the next. */
  async #sendHead(final: boolean): Promise<void> {
    clearTimeout(this.#headTimer);
    this.#headTimer = undefined;
    const end = this.#stored === undefined ? undefined : endAt(this.#stored.slice(this.#stored.lastIndexOf("\n") + 1));
    if (end === undefined) return;
    try {
      this.send({ t: "events.head", head: await signHead({ ...end, final }, this.#options.key) });
    } catch (error) {
      this.#options.log.error("spool.not_signed", { error: Failure.from(error).message });
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
