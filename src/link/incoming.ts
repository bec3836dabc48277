/**
 * What comes in over a link: the other end's bytes, each once and in order, however often they were sent; handed on at
 * the consumer's pace; and how much of them was acknowledged.
 */
import { encodeFrame } from "./frame.ts";
import { MAX_WINDOW, MIN_WINDOW } from "./window.ts";

export interface Consumer {
  /** The next bytes. While the promise is open they are not acknowledged, and the other end stops at its window. */
  onData(bytes: Uint8Array): void | Promise<void>;
  /** The other end sent its last byte, and all of it was consumed. */
  onEnd(): void;
}

export interface IncomingOptions {
  consumer: Consumer;
  /** False: there is no connection. */
  send(frame: Uint8Array): boolean;
  /** The consumer's promise was rejected. */
  onFailed(error: unknown): void;
}

/** Bytes consumed after which an acknowledgement goes at once: half of the smallest window, so that the other half is on its way. */
const ACK_BYTES = MIN_WINDOW / 2;
/** A lone acknowledgement wakes the proxy and the other end for nothing else: until then the next call may have taken it along. */
const ACK_DELAY_MS = 200;
/** Frames a receiver holds while its consumer is busy are counted too: a stream of one-byte frames costs more than its bytes. */
const MAX_WAITING_FRAMES = 65_536;

export class Incoming {
  readonly #options: IncomingOptions;
  readonly #consumer: Consumer;
  #arrived = 0;
  #consumed = 0;
  #acknowledged = 0;
  #inbox: Uint8Array[] = [];
  #consuming = false;
  /** The offset of the other end's END. */
  #end: number | undefined;
  #ackTimer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(options: IncomingOptions) {
    this.#options = options;
    this.#consumer = options.consumer;
  }

  /** How much of the other direction this end's consumer has. */
  get consumed(): number {
    return this.#consumed;
  }

  /** The same, for a frame that goes out now: it is the acknowledgement, and none has to follow. */
  acknowledge(): number {
    this.#acknowledged = this.#consumed;
    return this.#consumed;
  }

  /** The bytes of a DATA frame, of which some may have come before. Not `undefined`: they can't be, and were not taken. */
  take(offset: number, bytes: Uint8Array): "gap" | "flood" | undefined {
    if (offset > this.#arrived) return "gap";
    const fresh = bytes.subarray(this.#arrived - offset);
    if (fresh.length === 0) return undefined;
    this.#arrived += fresh.length;
    if (this.#arrived - this.#consumed > MAX_WINDOW || this.#inbox.length > MAX_WAITING_FRAMES) return "flood";
    this.#inbox.push(fresh);
    if (!this.#consuming) this.#consume();
    return undefined;
  }

  /** No more data than `offset` bytes comes. */
  takeEnd(offset: number): void {
    this.#end = offset;
    this.#checkEnd();
  }

  /** What was consumed and not yet acknowledged is, where there is a connection. */
  flush(): void {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    if (this.#acknowledged === this.#consumed) return;
    if (this.#options.send(encodeFrame({ type: "ack", received: this.#consumed }))) this.#acknowledged = this.#consumed;
  }

  /** Nothing more is handed on. */
  close(): void {
    this.#closed = true;
    this.#inbox = [];
    clearTimeout(this.#ackTimer);
  }

  #consume(): void {
    while (this.#inbox.length > 0) {
      const bytes = this.#inbox.shift() as Uint8Array;
      const busy = this.#consumer.onData(bytes);
      if (busy !== undefined) {
        this.#consuming = true;
        busy.then(
          () => {
            this.#consuming = false;
            this.#onConsumed(bytes.length);
            this.#consume();
          },
          (error: unknown) => this.#options.onFailed(error),
        );
        return;
      }
      this.#onConsumed(bytes.length);
    }
  }

  #onConsumed(count: number): void {
    if (this.#closed) return;
    this.#consumed += count;
    this.#checkEnd();
    this.#acknowledgeSoon();
  }

  #checkEnd(): void {
    if (this.#end === undefined || this.#consumed !== this.#end) return;
    this.#consumed = this.#end + 1;
    this.#arrived = this.#consumed;
    this.flush(); // whoever ended waits for it
    this.#consumer.onEnd();
  }

  /** At once when much is owed; else soon, or along with the next data, which saves most of the frames. */
  #acknowledgeSoon(): void {
    if (this.#consumed - this.#acknowledged >= ACK_BYTES) this.flush();
    else this.#ackTimer ??= setTimeout(() => this.flush(), ACK_DELAY_MS);
  }
}
