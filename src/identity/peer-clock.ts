/** The other side's clock, as heard over a connection to it: ours may be wrong. */
export class PeerClock {
  readonly #monotonic: () => number;
  #offset: number | undefined;

  /** `monotonic`: milliseconds, never set back. */
  constructor(monotonic: () => number = () => performance.now()) {
    this.#monotonic = monotonic;
  }

  /**
   * The peer said, just now, that its clock shows `epochMs`. The reading lags by the network's delay, and after this
   * machine slept until the next one: times by it are never ahead of the peer's own.
   */
  learn(epochMs: number): void {
    const offset = epochMs - this.#monotonic();
    if (Number.isFinite(offset)) this.#offset = offset;
  }

  /** Seconds since the epoch by the peer's clock; `undefined` before it said anything. */
  now(): number | undefined {
    return this.#offset === undefined ? undefined : (this.#offset + this.#monotonic()) / 1000;
  }
}
