/** One WebSocket to the proxy, from its challenge on: whoever dials has to answer with a proof before anything else. */
import type { ServerWebSocket } from "bun";
import { Failure } from "../errors.ts";
import { HANDSHAKE_TIMEOUT_MS } from "../link/protocol.ts";
import { VERSION } from "../version.ts";
import type { Tally } from "./tally.ts";

/** What a path accepts. The object lives as long as its socket. */
export interface Endpoint {
  /** Characters of the first message at the most: whoever sends it has proven nothing yet. */
  readonly maxAnswer: number;
  readonly tally: Tally;
  /** The first text message: the answer to the challenge. What it throws, the other side is told, and the socket closes. */
  onAnswer(socket: Socket, text: string): Promise<void>;
  onText(socket: Socket, text: string): void;
  /** A binary message of a connection that is not joined to another. What it is given is its own. */
  onBytes?(socket: Socket, bytes: Buffer): void;
  onClose(socket: Socket): void;
}

export interface SocketData {
  socket: Socket | undefined;
  endpoint: Endpoint;
  remote: string;
  /** To be called once, when the other side has proved who it is, or is gone. */
  known(): void;
}

/** What a timer can count: 2^31 - 1. */
const MAX_TIMER_MS = 2_147_483_647;

export type Ws = ServerWebSocket<SocketData>;

export class Socket {
  readonly remote: string;
  readonly nonce = crypto.randomUUID();
  readonly #ws: Ws;
  readonly #endpoint: Endpoint;
  readonly #timer: ReturnType<typeof setTimeout>;
  #known = false;
  #expiry: ReturnType<typeof setTimeout> | undefined;
  #state: "challenged" | "answering" | "open" | "closed" = "challenged";
  /** The other end's socket of the same session: frames go there as they are. */
  peer: Socket | undefined;

  constructor(ws: Ws) {
    this.#ws = ws;
    this.#endpoint = ws.data.endpoint;
    this.remote = ws.data.remote;
    this.#endpoint.tally.open += 1;
    this.#timer = setTimeout(
      () => this.refuse(new Failure("timeout", "no answer to the challenge")),
      HANDSHAKE_TIMEOUT_MS,
    );
    this.sendText({ t: "challenge", nonce: this.nonce, version: VERSION });
  }

  get closed(): boolean {
    return this.#state === "closed";
  }

  sendText(message: object): void {
    if (this.#state !== "closed") this.#ws.sendText(JSON.stringify(message));
  }

  close(reason: string): void {
    if (this.#state === "closed") return;
    this.#ended();
    this.#ws.close(1000, reason.slice(0, 100));
  }

  /** Closes it in `ms`, unless it is closed before. */
  closeAfter(ms: number, reason: string): void {
    clearTimeout(this.#expiry);
    this.#expiry = setTimeout(() => this.close(reason), Math.min(Math.max(0, ms), MAX_TIMER_MS));
  }

  refuse(error: unknown): void {
    const failure = Failure.from(error);
    if (this.#state !== "closed") this.#endpoint.tally.refuse(failure.code);
    this.sendText({ t: "refused", ...failure.toJSON() });
    this.close(failure.code);
  }

  // --- from the listener ---

  onMessage(message: string | Buffer): void {
    if (typeof message !== "string") {
      this.#endpoint.tally.frames += 1;
      this.#endpoint.tally.bytes += message.length;
      // Once joined, a relay: no reading, no queue of our own. What is in flight is bounded by the link's window.
      if (this.peer !== undefined) this.peer.sendFrame(message);
      else if (this.#state === "open") this.#endpoint.onBytes?.(this, message);
      return;
    }
    if (this.#state === "open") {
      this.#endpoint.onText(this, message);
    } else if (this.#state === "challenged") {
      if (message.length > this.#endpoint.maxAnswer) {
        this.refuse(new Failure("invalid", "the answer to the challenge is too long"));
        return;
      }
      this.#state = "answering";
      clearTimeout(this.#timer); // from here on whoever answers bounds its own steps
      this.#endpoint.onAnswer(this, message).then(
        () => {
          if (this.#state === "answering") this.#state = "open";
          this.#becomeKnown();
        },
        (error: unknown) => this.refuse(error),
      );
    }
  }

  sendFrame(frame: Buffer): void {
    if (this.#state !== "closed") this.#ws.sendBinary(frame);
  }

  onClose(): void {
    if (this.#state !== "closed") this.#ended();
  }

  #becomeKnown(): void {
    if (this.#known) return;
    this.#known = true;
    this.#ws.data.known();
  }

  #ended(): void {
    this.#state = "closed";
    this.#endpoint.tally.open -= 1;
    clearTimeout(this.#timer);
    clearTimeout(this.#expiry);
    this.#becomeKnown();
    this.#endpoint.onClose(this);
  }
}
