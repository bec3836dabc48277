/**
 * The resumable byte stream under a session: one end of it. Bytes go out exactly once and in order while both ends
 * live, whatever happens to the connections (carriers) beneath.
 *
 * What was sent stays until the other end acknowledged it. `window` bounds what is sent and not acknowledged, and is at
 * once the replay buffer and the flow control: an end that does not consume does not acknowledge, and the other stops
 * sending. Reading a carrier never stops, so acknowledgements and pings are never stuck behind data.
 */
import { messageOf } from "../errors.ts";
import type { Carrier } from "./carrier.ts";
import { decodeFrame, encodeFrame, LINK_VERSION } from "./frame.ts";
import { type Consumer, Incoming } from "./incoming.ts";
import { Outgoing } from "./outgoing.ts";
import { Window, type WindowBudget } from "./window.ts";

export interface CloseReason {
  /** An error code of ours (`errors.ts`) or `end`. */
  code: string;
  message: string;
  /** The other end closed, this end did, or the two disagree on what was sent. */
  by: "peer" | "self" | "protocol";
}

export interface LinkOptions extends Consumer {
  /** Bytes sent and not acknowledged at the most, to begin with; it doubles up to `MAX_WINDOW` where the link needs it. */
  window?: number;
  /** Asked before the window grows; without it, it grows freely. */
  budget?: WindowBudget;
  /** Once, and nothing after it. */
  onClose(reason: CloseReason): void;
  /** The carrier was given up: the client dials again, the agent waits for it. */
  onLost?(reason: string): void;
  now?(): number;
  /** Runs at the end of this turn of the event loop; `setImmediate` unless a test says otherwise. */
  defer?(run: () => void): void;
}

export class Link {
  readonly #options: LinkOptions;
  readonly #in: Incoming;
  readonly #out: Outgoing;
  #carrier: Carrier | undefined;
  #attachedBefore = false;
  #closed: CloseReason | undefined;
  /** When the last frame came, in milliseconds of `now`: what liveness checks go by. */
  lastHeard: number;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#in = new Incoming({
      consumer: options,
      send: (frame) => this.#send(frame),
      onFailed: (error) => this.close("internal", messageOf(error)),
    });
    this.#out = new Outgoing(new Window(options.window, options.budget), this.#in, options.defer ?? setImmediate);
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
    return this.#out.held;
  }

  /** Whether `write` would say `false`. */
  get full(): boolean {
    return this.#out.full;
  }

  /** Begins on a new connection; an older one is fenced off. */
  attach(carrier: Carrier): void {
    if (this.#closed) {
      carrier.close("closed");
      return;
    }
    const older = this.#carrier;
    this.#carrier = carrier;
    this.#out.pause();
    older?.close("replaced by a newer connection");
    this.lastHeard = this.#now();
    carrier.send(encodeFrame({ type: "hello", version: LINK_VERSION, received: this.#in.acknowledge() }));
    // On the very first connection both ends know that nothing was sent, so data may follow at once.
    if (!this.#attachedBefore) this.#out.flow(carrier);
    this.#attachedBefore = true;
  }

  /** The connection is gone. Nothing is lost: what was not acknowledged waits for the next one. */
  detach(carrier: Carrier, reason = "connection lost"): void {
    if (this.#carrier !== carrier) return;
    this.#carrier = undefined;
    this.#out.pause();
    carrier.close(reason);
    if (!this.#closed) this.#options.onLost?.(reason);
  }

  /** Gives up the connection: it is dead, though nobody said so. */
  drop(reason: string): void {
    if (this.#carrier !== undefined) this.detach(this.#carrier, reason);
  }

  /** Takes the bytes. `false`: the window is full; await `drained()` before writing more. */
  write(bytes: Uint8Array): boolean {
    return this.#out.write(bytes);
  }

  /** Resolves when everything written was acknowledged, or the link is closed. */
  flushed(): Promise<void> {
    return this.#out.flushed();
  }

  /** Resolves when the window has room, or the link is closed. */
  drained(): Promise<void> {
    return this.#out.drained();
  }

  /** No more bytes from this end; those written before still arrive. */
  end(): void {
    this.#out.end();
  }

  /** The session is over, for both ends. `message` reaches the person; never a secret. */
  close(code: string, message: string): void {
    if (this.#closed) return;
    this.#send(encodeFrame({ type: "close", code, message: message.slice(0, 2000) }));
    this.#finish({ code, message, by: "self" });
  }

  ping(token = 0): void {
    this.#send(encodeFrame({ type: "ping", token }));
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
        if (frame.version !== LINK_VERSION) this.detach(carrier, `link version ${frame.version} is not known here`);
        else if (this.#onAcknowledged(frame.received)) this.#out.flow(carrier);
        break;
      case "data":
        if (this.#onAcknowledged(frame.received)) this.#onData(carrier, frame.offset, frame.bytes);
        break;
      case "ack":
        this.#onAcknowledged(frame.received);
        break;
      case "end":
        this.#in.takeEnd(frame.offset);
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

  #onData(carrier: Carrier, offset: number, bytes: Uint8Array): void {
    const fault = this.#in.take(offset, bytes);
    if (fault === "gap") this.detach(carrier, "bytes missing");
    else if (fault === "flood") this.#fail("the other end sent more than its window");
  }

  /** False: what it acknowledges can't be, and the link is closed. */
  #onAcknowledged(received: number): boolean {
    const fault = this.#out.acknowledged(received);
    if (fault !== undefined) this.#fail(fault);
    return fault === undefined;
  }

  #send(frame: Uint8Array): boolean {
    this.#carrier?.send(frame);
    return this.#carrier !== undefined;
  }

  #fail(message: string): void {
    this.#send(encodeFrame({ type: "close", code: "session_gone", message }));
    this.#finish({ code: "session_gone", message, by: "protocol" });
  }

  #finish(reason: CloseReason): void {
    if (this.#closed) return;
    this.#in.flush();
    this.#closed = reason;
    const carrier = this.#carrier;
    this.#carrier = undefined;
    this.#in.close();
    this.#out.close();
    carrier?.close(reason.code);
    this.#options.onClose(reason);
  }

  #now(): number {
    return this.#options.now?.() ?? performance.now();
  }
}
