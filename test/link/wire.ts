/** Two ends of a link over carriers in memory that can be cut at any frame: what the network does, without its timing. */
import type { Carrier } from "../../src/link/carrier.ts";
import type { CloseReason, LinkOptions } from "../../src/link/link.ts";
import { Link } from "../../src/link/link.ts";

export interface End {
  link: Link;
  received: Uint8Array[];
  ended: boolean;
  closed: CloseReason | undefined;
  lost: number;
}

export function end(options: Partial<LinkOptions> = {}): End {
  const state: End = { link: undefined as unknown as Link, received: [], ended: false, closed: undefined, lost: 0 };
  state.link = new Link({
    onData: (bytes) => {
      state.received.push(bytes.slice());
    },
    onEnd: () => {
      state.ended = true;
    },
    onClose: (reason) => {
      state.closed = reason;
    },
    onLost: () => {
      state.lost++;
    },
    defer: (run) => run(),
    ...options,
  });
  return state;
}

/** One connection between two links. Frames wait until `deliver` passes them on; `cut` loses those that wait. */
export class Wire {
  readonly a: End;
  readonly b: End;
  readonly #toA: Uint8Array[] = [];
  readonly #toB: Uint8Array[] = [];
  readonly #carrierA: Carrier;
  readonly #carrierB: Carrier;
  cutOff = false;

  constructor(a: End, b: End) {
    this.a = a;
    this.b = b;
    this.#carrierA = { send: (frame) => void this.#toB.push(frame.slice()), close: () => {} };
    this.#carrierB = { send: (frame) => void this.#toA.push(frame.slice()), close: () => {} };
    a.link.attach(this.#carrierA);
    b.link.attach(this.#carrierB);
  }

  /** Passes on up to `most` frames in each direction. False: nothing was waiting. */
  deliver(most = Number.POSITIVE_INFINITY): boolean {
    let moved = false;
    for (let i = 0; i < most && !this.cutOff; i++) {
      const forA = this.#toA.shift();
      const forB = this.#toB.shift();
      if (forA === undefined && forB === undefined) return moved;
      moved = true;
      if (forA !== undefined) this.a.link.receive(this.#carrierA, forA);
      if (forB !== undefined) this.b.link.receive(this.#carrierB, forB);
    }
    return moved;
  }

  get waitingForB(): number {
    return this.#toB.length;
  }

  cut(): void {
    this.cutOff = true;
    this.a.link.detach(this.#carrierA);
    this.b.link.detach(this.#carrierB);
  }

  /** What a hostile or broken peer might say to `b`. */
  inject(frame: Uint8Array): void {
    this.b.link.receive(this.#carrierB, frame);
  }
}

export const bytes = (chunks: Uint8Array[]): Buffer => Buffer.concat(chunks);
