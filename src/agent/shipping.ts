/** Audit events on their way from the spool to the proxy, batch by batch, and the signature over what it has stored of them. */
import { endAt } from "../audit/chain.ts";
import { signHead } from "../audit/head.ts";
import type { Spool } from "../audit/spool.ts";
import { Failure } from "../errors.ts";
import type { KeyPair } from "../identity/keys.ts";
import { type FromAgent, MAX_BATCH, MAX_BATCH_EVENTS } from "../link/from-agent.ts";
import type { Log } from "../log.ts";

export interface ShippingOptions {
  spool: Spool;
  /** The agent's. */
  key: KeyPair;
  log: Log;
  /** Whether the proxy is there. */
  up(): boolean;
  send(message: FromAgent): void;
}

/** Events that come within that time travel together, and are one commit: each takes its time, however few they are. */
const BATCH_DELAY_MS = 100;
/** What was stored is signed within that time, all of it at once. */
const HEAD_DELAY_MS = 1_000;

export class Shipping {
  readonly #options: ShippingOptions;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #headTimer: ReturnType<typeof setTimeout> | undefined;
  #underWay = false;
  /** The batch under way, and the last one that the proxy has stored. */
  #sent: string | undefined;
  #stored: string | undefined;
  #allStored: PromiseWithResolvers<void> | undefined;

  constructor(options: ShippingOptions) {
    this.#options = options;
    options.spool.onAppend = () => this.#shipSoon();
  }

  /** There is a new connection: what is not known to be stored goes once more. */
  begin(): void {
    this.#underWay = false;
    this.#ship();
  }

  /** The proxy has stored everything up to that sequence number. */
  stored(last: number): void {
    this.#options.spool.ack(last);
    this.#underWay = false;
    this.#stored = this.#sent;
    this.#headTimer ??= setTimeout(() => void this.#sendHead(false), HEAD_DELAY_MS);
    if (this.#allStored !== undefined) this.#ship();
    else if (this.#options.spool.pending > 0) this.#shipSoon();
  }

  /** The last events were appended: resolves when the proxy stored what is in the spool, or after `ms`. */
  async flush(ms: number): Promise<void> {
    const { spool, up } = this.#options;
    if (!up()) return;
    if (spool.pending > 0) {
      this.#allStored = Promise.withResolvers<void>();
      this.#ship();
      await Promise.race([this.#allStored.promise, Bun.sleep(ms)]);
    }
    if (spool.pending === 0) await this.#sendHead(true);
  }

  stop(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#headTimer);
  }

  /** At once where a whole batch waits; else with what comes meanwhile. */
  #shipSoon(): void {
    if (this.#underWay) return;
    if (this.#options.spool.pending >= MAX_BATCH_EVENTS) this.#ship();
    else this.#timer ??= setTimeout(() => this.#ship(), BATCH_DELAY_MS);
  }

  /** One batch at a time: the next goes when the proxy stored this one, so a slow disk there slows nobody's calls. */
  #ship(): void {
    const { spool, up, send } = this.#options;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#underWay || !up()) return;
    const { first, count, lines } = spool.next(MAX_BATCH_EVENTS, MAX_BATCH);
    if (count === 0) {
      this.#allStored?.resolve();
      return;
    }
    this.#underWay = true;
    this.#sent = lines;
    send({ t: "events", last: first + count - 1, lines });
  }

  /** `final`: nothing will be appended any more. One that is lost on the way is made good by the next. */
  async #sendHead(final: boolean): Promise<void> {
    const { key, log, send } = this.#options;
    clearTimeout(this.#headTimer);
    this.#headTimer = undefined;
    const end = this.#stored === undefined ? undefined : endAt(this.#stored.slice(this.#stored.lastIndexOf("\n") + 1));
    if (end === undefined) return;
    try {
      send({ t: "events.head", head: await signHead({ ...end, final }, key) });
    } catch (error) {
      log.error("spool.not_signed", { error: Failure.from(error).message });
    }
  }
}
