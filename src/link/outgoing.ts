/**
 * What goes out over a link. What was sent stays until the other end has acknowledged it: that is what is sent again on the
 * next connection, and what the window bounds.
 */
import type { Carrier } from "./carrier.ts";
import { encodeData, encodeFrame, MAX_PAYLOAD, restampData } from "./frame.ts";
import type { Incoming } from "./incoming.ts";
import type { Window } from "./window.ts";

type Sent = { end: number; frame: Uint8Array };

export class Outgoing {
  readonly #window: Window;
  /** Every frame with data acknowledges what came in. */
  readonly #incoming: Incoming;
  readonly #defer: (run: () => void) => void;
  /** Where data may go: the other end has told there what it has, or both know that it is nothing. */
  #carrier: Carrier | undefined;
  /** Whether this turn of the event loop has sent something. */
  #writing = false;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #unacked: Sent[] = [];
  #sent = 0;
  #acked = 0;
  #endWanted = false;
  #endOffset: number | undefined;
  #drain: PromiseWithResolvers<void> | undefined;
  #flush: PromiseWithResolvers<void> | undefined;
  #closed = false;

  /** `defer` runs at the end of this turn of the event loop. */
  constructor(window: Window, incoming: Incoming, defer: (run: () => void) => void) {
    this.#window = window;
    this.#incoming = incoming;
    this.#defer = defer;
  }

  /** Bytes written and not yet acknowledged: what this end still holds. */
  get held(): number {
    return this.#sent - this.#acked + this.#waitingBytes;
  }

  get full(): boolean {
    return this.held >= this.#window.size;
  }

  /** False: the window is full. */
  write(bytes: Uint8Array): boolean {
    if (this.#closed || this.#endWanted || bytes.length === 0) return true;
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    // The first write of a turn goes at once, for a lone call must not wait; what follows in the same turn goes together
    // at its end, in one frame instead of one a line.
    if (!this.#writing) {
      this.#writing = true;
      this.#pump();
      this.#defer(() => {
        this.#writing = false;
        this.#pump();
      });
    }
    return !this.full;
  }

  end(): void {
    if (this.#endWanted || this.#closed) return;
    this.#endWanted = true;
    this.#pump();
  }

  flushed(): Promise<void> {
    if (this.#closed || this.held <= 0) return Promise.resolve();
    this.#flush ??= Promise.withResolvers<void>();
    return this.#flush.promise;
  }

  drained(): Promise<void> {
    if (this.#closed || !this.full) return Promise.resolve();
    this.#drain ??= Promise.withResolvers<void>();
    return this.#drain.promise;
  }

  /** Data goes over this connection from now on; on a new one, first what was sent and not acknowledged. */
  flow(carrier: Carrier): void {
    if (this.#carrier !== carrier) {
      for (const sent of this.#unacked) {
        restampData(sent.frame, this.#incoming.consumed);
        carrier.send(sent.frame);
      }
      if (this.#endOffset !== undefined && this.#acked <= this.#endOffset) sendEnd(carrier, this.#endOffset);
      this.#carrier = carrier;
    }
    this.#pump();
  }

  /** The connection is gone, or the next one has not told yet where to go on from. */
  pause(): void {
    this.#carrier = undefined;
  }

  /**
   * The other end holds everything before `received`. What is wrong is said where that can't be: then the two disagree on
   * what was sent.
   */
  acknowledged(received: number): string | undefined {
    if (received <= this.#acked) {
      // An acknowledgement overtaken by a later one is no fault; less than was forgotten already, in a HELLO, is:
      // the process at the other end is not the one that this link was opened with.
      if (received === this.#acked || this.#carrier !== undefined) return undefined;
      return `the other end lost ${this.#acked - received} bytes that it had acknowledged`;
    }
    const total = this.#endOffset === undefined ? this.#sent : this.#endOffset + 1;
    if (received > total) return `the other end acknowledged ${received} of ${total} bytes`;
    this.#acked = Math.min(received, this.#sent);
    let done = 0;
    for (const sent of this.#unacked) {
      if (sent.end > received) break;
      done++;
    }
    if (done > 0) this.#unacked.splice(0, done);
    if (this.#endOffset !== undefined && received > this.#endOffset) this.#acked = received;
    if (this.#waitingBytes > 0) this.#window.grow();
    else if (this.#acked >= this.#sent) this.#window.shrink();
    this.#pump();
    return undefined;
  }

  /** Nothing is held any more, and nobody waits. */
  close(): void {
    this.#closed = true;
    this.#carrier = undefined;
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#unacked = [];
    this.#window.shrink();
    this.#drain?.resolve();
    this.#flush?.resolve();
  }

  #pump(): void {
    if (this.#carrier === undefined) return;
    while (this.#waitingBytes > 0) {
      const room = this.#window.size - (this.#sent - this.#acked);
      if (room <= 0) {
        this.#window.noteFull();
        break;
      }
      const bytes = this.#take(Math.min(room, MAX_PAYLOAD));
      const frame = encodeData(this.#sent, this.#incoming.acknowledge(), bytes);
      this.#sent += bytes.length;
      this.#unacked.push({ end: this.#sent, frame });
      this.#carrier.send(frame);
    }
    if (this.#endWanted && this.#waitingBytes === 0 && this.#endOffset === undefined) {
      this.#endOffset = this.#sent;
      sendEnd(this.#carrier, this.#endOffset);
    }
    if (this.#drain !== undefined && !this.full) {
      this.#drain.resolve();
      this.#drain = undefined;
    }
    if (this.#flush !== undefined && this.held <= 0) {
      this.#flush.resolve();
      this.#flush = undefined;
    }
  }

  /** The next bytes to send, `most` of them: many short lines in one frame, or a part of a long one. */
  #take(most: number): Uint8Array {
    const first = this.#waiting[0] as Uint8Array;
    if (first.length >= most || this.#waiting.length === 1) {
      const taken = first.subarray(0, most);
      if (taken.length === first.length) this.#waiting.shift();
      else this.#waiting[0] = first.subarray(most);
      this.#waitingBytes -= taken.length;
      return taken;
    }
    const out = new Uint8Array(Math.min(most, this.#waitingBytes));
    let at = 0;
    let used = 0;
    for (const chunk of this.#waiting) {
      const part = chunk.subarray(0, out.length - at);
      out.set(part, at);
      at += part.length;
      if (part.length < chunk.length) {
        this.#waiting[used] = chunk.subarray(part.length);
        break;
      }
      used++;
      if (at === out.length) break;
    }
    this.#waiting.splice(0, used);
    this.#waitingBytes -= at;
    return out;
  }
}

function sendEnd(carrier: Carrier, offset: number): void {
  carrier.send(encodeFrame({ type: "end", offset }));
}
