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
  /** A batch of events. What it is given it has until it returns. */
  ship(lines: Buffer): void;
  /** The proxy has long left a batch without an answer: nothing more will be shipped on this connection. */
  onStalled(): void;
  /** Milliseconds that the proxy may take for a batch; 60,000 unless told. */
  storeMs?: number;
}

const LF = 0x0a;

/** Events that come within that time travel together, and are one commit: each takes its time, however few they are. */
const BATCH_DELAY_MS = 100;
/** While calls come faster than they can be shipped, they come first, until the spool is so full; a part of its limit. */
const CALLS_FIRST = 1 / 8;
/** A proxy whose disk is that slow, or that does not know what it was sent, is asked again on another connection. */
const STORE_MS = 60_000;
/** What was stored is signed within that time, all of it at once. */
const HEAD_DELAY_MS = 1_000;

interface Batch {
  /** Spool sequence of its last event. */
  last: number;
  bytes: number;
  /** Its last line. */
  line: string;
}

export class Shipping {
  readonly #options: ShippingOptions;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #headTimer: ReturnType<typeof setTimeout> | undefined;
  #underWay: Batch | undefined;
  /** The last line that the proxy has stored. */
  #stored: string | undefined;
  #allStored: PromiseWithResolvers<void> | undefined;
  /** Events that were appended since the batch under way was sent. */
  #fresh = 0;
  /** The last batch had few events and many bytes. */
  #large = false;
  #deadline: ReturnType<typeof setTimeout> | undefined;
  /** Batches are read into it: new memory for each would cost more than the reading. */
  #memory: Buffer | undefined;

  constructor(options: ShippingOptions) {
    this.#options = options;
    options.spool.onAppend = (count) => {
      this.#fresh += count;
      this.#shipSoon();
    };
  }

  /** There is a new connection: what is not known to be stored goes once more. */
  begin(): void {
    this.#underWay = undefined;
    clearTimeout(this.#deadline);
    this.#ship();
  }

  /** The proxy has stored so many bytes of events, which is the batch under way. False: it is not. */
  stored(bytes: number): boolean {
    const batch = this.#underWay;
    if (batch?.bytes !== bytes) return false;
    clearTimeout(this.#deadline);
    this.#options.spool.ack(batch.last);
    this.#underWay = undefined;
    this.#stored = batch.line;
    this.#headTimer ??= setTimeout(() => void this.#sendHead(false), HEAD_DELAY_MS);
    if (this.#allStored !== undefined || this.#isLate) this.#ship();
    else if (this.#options.spool.pending > 0) this.#shipSoon();
    return true;
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
    clearTimeout(this.#deadline);
    clearTimeout(this.#headTimer);
  }

  /** A whole batch waits, and no burst of calls is on that the store of the proxy would take processors from; or there is little room. */
  get #isLate(): boolean {
    const { pending, bytes, limit } = this.#options.spool;
    if (pending > 0 && bytes > limit * CALLS_FIRST) return true;
    return (pending >= MAX_BATCH_EVENTS || (this.#large && pending > 0)) && this.#fresh < MAX_BATCH_EVENTS;
  }

  /** With what comes meanwhile. */
  #shipSoon(): void {
    if (this.#underWay === undefined) this.#timer ??= setTimeout(() => this.#ship(), BATCH_DELAY_MS);
  }

  /** One batch at a time: the next goes when the proxy stored this one, so a slow disk there slows nobody's calls. */
  #ship(): void {
    const { spool, up, ship, onStalled, storeMs = STORE_MS } = this.#options;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#underWay !== undefined || !up()) return;
    this.#memory ??= Buffer.allocUnsafeSlow(MAX_BATCH);
    const { first, count, lines } = spool.next(MAX_BATCH_EVENTS, MAX_BATCH, undefined, this.#memory);
    if (count === 0) {
      this.#allStored?.resolve();
      return;
    }
    const line = lines.toString("utf8", lines.lastIndexOf(LF) + 1);
    this.#underWay = { last: first + count - 1, bytes: lines.length, line };
    this.#fresh = 0;
    this.#large = lines.length > MAX_BATCH / 2;
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(onStalled, storeMs);
    ship(lines);
  }

  /** `final`: nothing will be appended any more. One that is lost on the way is made good by the next. */
  async #sendHead(final: boolean): Promise<void> {
    const { key, log, send } = this.#options;
    clearTimeout(this.#headTimer);
    this.#headTimer = undefined;
    const end = this.#stored === undefined ? undefined : endAt(this.#stored);
    if (end === undefined) return;
    try {
      send({ t: "events.head", head: await signHead({ ...end, final }, key) });
    } catch (error) {
      log.error("spool.not_signed", { error: Failure.from(error).message });
    }
  }
}
