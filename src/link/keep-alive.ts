/**
 * When a client asks whether the other end is there, and when it gives it up. The question and its answer pass all hops
 * both ways: load balancers cut what is silent for 30 s, and TCP alone may say nothing for a quarter of an hour.
 */

/** With nothing heard for this long, the other end is asked; and after that long, its connection is given up. */
const ASK_MS = 12_000;
const LOST_MS = 25_000;
/** How often to look. */
export const WATCH_MS = 3_000;

export class KeepAlive {
  #asked: number | undefined;

  /** A new connection. */
  reset(): void {
    this.#asked = undefined;
  }

  /** `now` and `lastHeard`: monotonic milliseconds. */
  look(now: number, lastHeard: number): "fine" | "ask" | "lost" {
    const silent = now - lastHeard;
    if (silent > LOST_MS) return "lost";
    if (silent <= ASK_MS || (this.#asked !== undefined && now - this.#asked <= ASK_MS)) return "fine";
    this.#asked = now;
    return "ask";
  }
}
