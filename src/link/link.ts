/**
 * The resumable byte stream under a session: one end of it. Bytes go out exactly once and in order while both ends
 * live, whatever happens to the connections (carriers) beneath.
 *
 * What was sent stays until the other end acknowledged it. `window` bounds what is sent and not acknowledged, and is at
 * once the replay buffer and the flow control: an end that does not consume does not acknowledge, and the other stops
 * sending. Reading a carrier never stops, so acknowledgements and pings are never stuck behind data.
 */
import { decodeFrame, encodeData, encodeFrame, LINK_VERSION, MAX_PAYLOAD, restampData } from "./frame.ts";

/** A connection beneath a link. `send` takes a whole frame and never blocks: the window bounds what can be in it. */
export interface Carrier {
  send(frame: Uint8Array): void;
  close(reason: string): void;
}

export interface CloseReason {
  /** An error code of ours (`errors.ts`) or `end`. */
  code: string;
  message: string;
  /** The other end closed, this end did, or the two disagree on what was sent. */
  by: "peer" | "self" | "protocol";
}

/** What windows may take beyond their smallest size, shared by the links of one user, or of one process. */
export interface WindowBudget {
  /** False: there is no room, and nothing was taken. */
  take(bytes: number): boolean;
  give(bytes: number): void;
}

export interface LinkOptions {
  /** Bytes sent and not acknowledged at the most, to begin with; it doubles up to `MAX_WINDOW` where the link needs it. */
  window?: number;
  /** Asked before the window grows; without it, it grows freely. */
  budget?: WindowBudget;
  /** The next bytes. While the promise is open they are not acknowledged, and the other end stops at its window. */
  onData(bytes: Uint8Array): void | Promise<void>;
  /** The other end sent its last byte, and all of it was consumed. */
  onEnd(): void;
  /** Once, and nothing after it. */
  onClose(reason: CloseReason): void;
  /** The carrier was given up: the client dials again, the agent waits for it. */
  onLost?(reason: string): void;
  now?(): number;
  /** Runs at the end of this turn of the event loop; `setImmediate` unless a test says otherwise. */
  defer?(run: () => void): void;
}

/** The window that every link has; it grows where it is what holds the bytes back, as far as the budget goes. */
export const MIN_WINDOW = 256 * 1024;
/** The largest window that a peer may use, so what an honest end can be made to hold. */
export const MAX_WINDOW = 4 * 1024 * 1024;
/** Bytes consumed after which an acknowledgement goes at once: half of the smallest window, so that the other half is on its way. */
const ACK_BYTES = MIN_WINDOW / 2;
const ACK_DELAY_MS = 25;
/** Frames a receiver holds while its consumer is busy are counted too: a stream of one-byte frames costs more than its bytes. */
const MAX_WAITING_FRAMES = 65_536;

type Sent = { offset: number; end: number; frame: Uint8Array };

export class Link {
  readonly #options: LinkOptions;
  readonly #smallest: number;
  #window: number;
  /** Whether the window was full since it last grew: only then is it what holds the bytes back. */
  #wasFull = false;
  #carrier: Carrier | undefined;
  #attachedBefore = false;
  /** Whether the other end's HELLO on this carrier told where to go on from. */
  #flowing = false;
  #closed: CloseReason | undefined;

  // outbound
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

  // inbound
  #arrived = 0;
  #consumed = 0;
  #acknowledged = 0;
  #inbox: Uint8Array[] = [];
  #consuming = false;
  #peerEnd: number | undefined;
  #ackTimer: ReturnType<typeof setTimeout> | undefined;
  /** When the last frame came, in milliseconds of `now`: what liveness checks go by. */
  lastHeard: number;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#smallest = Math.min(options.window ?? MIN_WINDOW, MAX_WINDOW);
    this.#window = this.#smallest;
    this.lastHeard = this.#now();
  }

  get attached(): boolean {
    return this.#carrier !== undefined;
  }

  get closed(): CloseReason | undefined {
    return this.#closed;
  }

  /** Bytes written and not yet acknowledged: what this end still holds. */
  get held(): number {
    return this.#sent - this.#acked + this.#waitingBytes;
  }

  /** Whether `write` would say `false`. */
  get full(): boolean {
    return this.held >= this.#window;
  }

  /** Begins on a new connection; an older one is fenced off. */
  attach(carrier: Carrier): void {
    if (this.#closed) {
      carrier.close("closed");
      return;
    }
    const older = this.#carrier;
    this.#carrier = carrier;
    older?.close("replaced by a newer connection");
    this.lastHeard = this.#now();
    // On the very first connection both ends know that nothing was sent, so data may follow at once.
    this.#flowing = !this.#attachedBefore;
    this.#attachedBefore = true;
    carrier.send(encodeFrame({ type: "hello", version: LINK_VERSION, received: this.#consumed }));
    this.#acknowledged = this.#consumed;
    if (this.#flowing) this.#pump();
  }

  /** The connection is gone. Nothing is lost: what was not acknowledged waits for the next one. */
  detach(carrier: Carrier, reason = "connection lost"): void {
    if (this.#carrier !== carrier) return;
    this.#carrier = undefined;
    this.#flowing = false;
    carrier.close(reason);
    if (!this.#closed) this.#options.onLost?.(reason);
  }

  /** Gives up the connection: it is dead, though nobody said so. */
  drop(reason: string): void {
    if (this.#carrier !== undefined) this.detach(this.#carrier, reason);
  }

  /** Takes the bytes. `false`: the window is full; await `drained()` before writing more. */
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

  /** Resolves when everything written was acknowledged, or the link is closed. */
  flushed(): Promise<void> {
    if (this.#closed || this.held <= 0) return Promise.resolve();
    this.#flush ??= Promise.withResolvers<void>();
    return this.#flush.promise;
  }

  /** Resolves when the window has room, or the link is closed. */
  drained(): Promise<void> {
    if (this.#closed || !this.full) return Promise.resolve();
    this.#drain ??= Promise.withResolvers<void>();
    return this.#drain.promise;
  }

  /** No more bytes from this end; those written before still arrive. */
  end(): void {
    if (this.#endWanted || this.#closed) return;
    this.#endWanted = true;
    this.#pump();
  }

  /** The session is over, for both ends. `message` reaches the person; never a secret. */
  close(code: string, message: string): void {
    if (this.#closed) return;
    this.#carrier?.send(encodeFrame({ type: "close", code, message: message.slice(0, 2000) }));
    this.#finish({ code, message, by: "self" });
  }

  ping(token = 0): void {
    this.#carrier?.send(encodeFrame({ type: "ping", token }));
  }

  /** One frame from the connection. Frames of an older connection are dropped. */
  receive(carrier: Carrier, bytes: Uint8Array): void {
    if (this.#carrier !== carrier || this.#closed) return;
    this.lastHeard = this.#now();
    const frame = decodeFrame(bytes);
    if (frame === undefined) {
      this.detach(carrier, "malformed frame");
      return;
    }
    switch (frame.type) {
      case "hello":
        this.#onHello(carrier, frame.version, frame.received);
        break;
      case "data":
        if (this.#onReceived(frame.received)) this.#onData(carrier, frame.offset, frame.bytes);
        break;
      case "ack":
        this.#onReceived(frame.received);
        break;
      case "end":
        this.#peerEnd = frame.offset;
        this.#checkPeerEnd();
        break;
      case "close":
        this.#finish({ code: frame.code, message: frame.message, by: "peer" });
        break;
      case "ping":
        carrier.send(encodeFrame({ type: "pong", token: frame.token }));
        break;
      case "pong":
        break;
    }
  }

  // --- outbound ---

  #onHello(carrier: Carrier, version: number, received: number): void {
    if (version !== LINK_VERSION) {
      this.detach(carrier, `link version ${version} is not known here`);
      return;
    }
    if (!this.#onReceived(received)) return;
    if (!this.#flowing) {
      for (const sent of this.#unacked) {
        restampData(sent.frame, this.#consumed);
        carrier.send(sent.frame);
      }
      if (this.#endOffset !== undefined && this.#acked <= this.#endOffset) this.#sendEnd();
      this.#flowing = true;
    }
    this.#pump();
  }

  /** The other end holds everything before `received`. False: it names bytes that cannot be, and the link is closed. */
  #onReceived(received: number): boolean {
    if (received <= this.#acked) {
      // An acknowledgement overtaken by a later one is no fault; less than was forgotten already, in a HELLO, is:
      // the process at the other end is not the one that this link was opened with.
      if (received === this.#acked || this.#flowing) return true;
      this.#fail(`the other end lost ${this.#acked - received} bytes that it had acknowledged`);
      return false;
    }
    const total = this.#endOffset === undefined ? this.#sent : this.#endOffset + 1;
    if (received > total) {
      this.#fail(`the other end acknowledged ${received} of ${total} bytes`);
      return false;
    }
    this.#acked = Math.min(received, this.#sent);
    let done = 0;
    for (const sent of this.#unacked) {
      if (sent.end > received) break;
      done++;
    }
    if (done > 0) this.#unacked.splice(0, done);
    if (this.#endOffset !== undefined && received > this.#endOffset) this.#acked = received;
    this.#adapt();
    this.#pump();
    return true;
  }

  #pump(): void {
    if (this.#carrier === undefined || !this.#flowing || this.#closed) return;
    while (this.#waitingBytes > 0) {
      const room = this.#window - (this.#sent - this.#acked);
      if (room <= 0) {
        this.#wasFull = true;
        break;
      }
      const bytes = this.#take(Math.min(room, MAX_PAYLOAD));
      const frame = encodeData(this.#sent, this.#consumed, bytes);
      this.#acknowledged = this.#consumed;
      this.#unacked.push({ offset: this.#sent, end: this.#sent + bytes.length, frame });
      this.#sent += bytes.length;
      this.#carrier.send(frame);
    }
    if (this.#endWanted && this.#waitingBytes === 0 && this.#endOffset === undefined) {
      this.#endOffset = this.#sent;
      this.#sendEnd();
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

  /**
   * The other end consumes: where the window was full and bytes wait, a larger one keeps the line busy. Once all is
   * acknowledged and nothing waits, the memory goes back.
   */
  #adapt(): void {
    if (this.#wasFull && this.#waitingBytes > 0 && this.#window < MAX_WINDOW) {
      const more = Math.min(this.#window, MAX_WINDOW - this.#window);
      if (this.#options.budget?.take(more) ?? true) this.#window += more;
      this.#wasFull = false;
    } else if (this.#waitingBytes === 0 && this.#acked >= this.#sent) this.#shrink();
  }

  #shrink(): void {
    if (this.#window === this.#smallest) return;
    this.#options.budget?.give(this.#window - this.#smallest);
    this.#window = this.#smallest;
  }

  #sendEnd(): void {
    if (this.#endOffset !== undefined) this.#carrier?.send(encodeFrame({ type: "end", offset: this.#endOffset }));
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

  // --- inbound ---

  #onData(carrier: Carrier, offset: number, bytes: Uint8Array): void {
    if (offset > this.#arrived) {
      this.detach(carrier, "bytes missing");
      return;
    }
    const fresh = bytes.subarray(this.#arrived - offset);
    if (fresh.length === 0) return;
    this.#arrived += fresh.length;
    if (this.#arrived - this.#consumed > MAX_WINDOW || this.#inbox.length > MAX_WAITING_FRAMES) {
      this.#fail("the other end sent more than its window");
      return;
    }
    this.#inbox.push(fresh);
    if (!this.#consuming) this.#consume();
  }

  #consume(): void {
    while (this.#inbox.length > 0 && !this.#closed) {
      const bytes = this.#inbox.shift() as Uint8Array;
      const busy = this.#options.onData(bytes);
      if (busy !== undefined) {
        this.#consuming = true;
        busy.then(
          () => {
            this.#consuming = false;
            this.#onConsumed(bytes.length);
            this.#consume();
          },
          (error: unknown) => this.close("internal", error instanceof Error ? error.message : String(error)),
        );
        return;
      }
      this.#onConsumed(bytes.length);
    }
  }

  #onConsumed(count: number): void {
    this.#consumed += count;
    this.#checkPeerEnd();
    this.#acknowledge();
  }

  #checkPeerEnd(): void {
    if (this.#peerEnd === undefined || this.#consumed !== this.#peerEnd || this.#closed) return;
    this.#consumed = this.#peerEnd + 1;
    this.#arrived = this.#consumed;
    this.#acknowledge();
    this.#options.onEnd();
  }

  /** At once when much is owed; else soon, or along with the next data, which saves most of the frames. */
  #acknowledge(): void {
    if (this.#consumed - this.#acknowledged >= ACK_BYTES) this.#sendAck();
    else this.#ackTimer ??= setTimeout(() => this.#sendAck(), ACK_DELAY_MS);
  }

  #sendAck(): void {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    if (this.#carrier === undefined || this.#acknowledged === this.#consumed) return;
    this.#acknowledged = this.#consumed;
    this.#carrier.send(encodeFrame({ type: "ack", received: this.#consumed }));
  }

  // --- the end ---

  #fail(message: string): void {
    this.#carrier?.send(encodeFrame({ type: "close", code: "session_gone", message }));
    this.#finish({ code: "session_gone", message, by: "protocol" });
  }

  #finish(reason: CloseReason): void {
    if (this.#closed) return;
    this.#sendAck();
    this.#closed = reason;
    const carrier = this.#carrier;
    this.#carrier = undefined;
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#unacked = [];
    this.#inbox = [];
    this.#shrink();
    clearTimeout(this.#ackTimer);
    this.#drain?.resolve();
    this.#flush?.resolve();
    carrier?.close(reason.code);
    this.#options.onClose(reason);
  }

  #defer(run: () => void): void {
    if (this.#options.defer === undefined) setImmediate(run);
    else this.#options.defer(run);
  }

  #now(): number {
    return this.#options.now?.() ?? performance.now();
  }
}
