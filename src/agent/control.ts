/**
 * The agent's one control connection to the proxy: dialled out, kept up for ever. It offers the apps, takes grants, and the
 * audit spool is shipped over it (`shipping.ts`).
 */
import type { Spool } from "../audit/spool.ts";
import { Failure } from "../errors.ts";
import type { KeyPair } from "../identity/keys.ts";
import { signProof } from "../identity/proof.ts";
import { publicUrl } from "../identity/url.ts";
import { backoff } from "../link/backoff.ts";
import { type Connection, dial } from "../link/dial.ts";
import type { FromAgent } from "../link/from-agent.ts";
import { AGENT_CONTROL_PATH, parseMessage } from "../link/protocol.ts";
import { HEARTBEAT_LOST_MS, type ToAgent, toAgent } from "../link/to-agent.ts";
import type { Trust } from "../link/trust.ts";
import type { Log } from "../log.ts";
import { VERSION } from "../version.ts";
import { Hold } from "./hold.ts";
import { Shipping } from "./shipping.ts";

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

export class Control {
  readonly #options: ControlOptions;
  readonly #shipping: Shipping;
  readonly #hold = new Hold();
  #connection: Connection | undefined;
  #connects = 0;
  #stopped = false;
  #lastHeard = 0;
  #watch: ReturnType<typeof setInterval> | undefined;
  #wake: (() => void) | undefined;
  /** The connection on which the proxy has said all that changed. */
  #synced: Connection | undefined;

  constructor(options: ControlOptions) {
    this.#options = options;
    const { spool, key, log } = options;
    this.#shipping = new Shipping({
      ...{ spool, key, log, up: () => this.up },
      send: (message) => this.send(message),
      ship: (lines) => this.#connection?.send(lines),
      onStalled: () => this.#connection?.close("the proxy acknowledges no audit events"),
    });
  }

  /** How often the proxy took the hello. */
  get connects(): number {
    return this.#connects;
  }

  get up(): boolean {
    return this.#connection?.open ?? false;
  }

  /** While nothing new may pass, as the proxy's latest word may be missing: when to go on. */
  get held(): Promise<void> | undefined {
    return this.#hold.held;
  }

  send(message: FromAgent): void {
    this.#connection?.sendText(message);
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
  flush(ms: number): Promise<void> {
    return this.#shipping.flush(ms);
  }

  stop(): void {
    this.#stopped = true;
    this.#wake?.();
    this.#shipping.stop();
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
    this.#shipping.begin();
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
        if (this.#synced === connection) this.#hold.fresh();
        return false;
      case "synced":
        void this.#options.settled().then(() => {
          if (!connection.open) return;
          this.#synced = connection;
          this.#hold.fresh();
        });
        return false;
      case "events.stored":
        if (!this.#shipping.stored(message.bytes)) connection.close("the proxy acknowledged what it was not sent");
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
