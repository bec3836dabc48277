/** The bytes on their way to a server's stdin: how many wait, and when there is room again. */

/** Bytes that wait for the server before `writable` says so. */
const HIGH_WATER = 256 * 1024;

export class ServerInput {
  readonly #sink: Bun.FileSink;
  readonly #onClosed: () => void;
  #waitingBytes = 0;
  #flushing: Promise<void> | undefined;
  #drained: (() => void)[] = [];
  #ended = false;
  #broken = false;

  /** `onClosed`: the server closed its stdin while something was to be written. */
  constructor(sink: Bun.FileSink, onClosed: () => void) {
    this.#sink = sink;
    this.#onClosed = onClosed;
  }

  get writable(): boolean {
    return this.#waitingBytes < HIGH_WATER;
  }

  /** Takes all of it, whether `writable` or not; returns `writable`. Dropped after the end, or when nobody reads. */
  write(bytes: Uint8Array): boolean {
    if (this.#ended || this.#broken) return true;
    this.#waitingBytes += bytes.length;
    try {
      // Once the server has closed its stdin, a large write rejects (and `flush` is content then), a small one doesn't
      // (and `flush` throws).
      Promise.resolve(this.#sink.write(bytes)).catch(() => this.#close());
      this.#flush();
    } catch {
      this.#close();
    }
    return this.writable;
  }

  /** Resolves when `writable`; at the latest when nobody reads any more. */
  drain(): Promise<void> {
    if (this.writable) return Promise.resolve();
    return new Promise((resolve) => this.#drained.push(resolve));
  }

  /** End of file, after all that was written. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    void this.#finish();
  }

  /** Nobody reads any more: what waits is dropped. */
  break(): void {
    if (this.#broken) return;
    this.#broken = true;
    this.#flushing = undefined;
    this.#handedOver(this.#waitingBytes);
    this.end();
  }

  #close(): void {
    if (!this.#broken) this.#onClosed();
    this.break();
  }

  #flush(): void {
    if (this.#flushing !== undefined) return;
    const bytes = this.#waitingBytes;
    const flushed = this.#sink.flush();
    if (typeof flushed === "number") {
      this.#handedOver(bytes);
      return;
    }
    this.#flushing = Promise.resolve(flushed)
      .then(() => {
        this.#flushing = undefined;
        this.#handedOver(bytes);
        if (this.#waitingBytes > 0 && !this.#broken) this.#flush();
      })
      .catch(() => this.#close());
  }

  #handedOver(bytes: number): void {
    this.#waitingBytes = Math.max(0, this.#waitingBytes - bytes);
    if (!this.writable) return;
    for (const resolve of this.#drained.splice(0)) resolve();
  }

  async #finish(): Promise<void> {
    while (this.#flushing !== undefined) await this.#flushing;
    try {
      await this.#sink.end();
    } catch {
      // The server closed it first.
    }
  }
}
