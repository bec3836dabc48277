/**
 * How many bytes one end of a link may have sent without an acknowledgement: few to begin with, and more where that is
 * what holds the bytes back and the budget has room.
 */

/** What windows may take beyond their smallest size, shared by the links of one user, or of one process. */
export interface WindowBudget {
  /** False: there is no room, and nothing was taken. */
  take(bytes: number): boolean;
  give(bytes: number): void;
}

/** The window that every link has; it grows where it is what holds the bytes back, as far as the budget goes. */
export const MIN_WINDOW = 256 * 1024;
/** The largest window that a peer may use, so what an honest end can be made to hold. */
export const MAX_WINDOW = 4 * 1024 * 1024;

export class Window {
  readonly #smallest: number;
  readonly #budget: WindowBudget | undefined;
  #size: number;
  /** Whether it was full since it last grew: only then is it what holds the bytes back. */
  #wasFull = false;

  /** Without a budget, it grows freely. */
  constructor(smallest = MIN_WINDOW, budget?: WindowBudget) {
    this.#smallest = Math.min(smallest, MAX_WINDOW);
    this.#budget = budget;
    this.#size = this.#smallest;
  }

  /** Bytes. */
  get size(): number {
    return this.#size;
  }

  noteFull(): void {
    this.#wasFull = true;
  }

  /** The other end consumes and more bytes wait: where the window was full, a larger one keeps the line busy. */
  grow(): void {
    if (!this.#wasFull || this.#size >= MAX_WINDOW) return;
    const more = Math.min(this.#size, MAX_WINDOW - this.#size);
    if (this.#budget?.take(more) ?? true) this.#size += more;
    this.#wasFull = false;
  }

  /** The memory goes back. */
  shrink(): void {
    if (this.#size === this.#smallest) return;
    this.#budget?.give(this.#size - this.#smallest);
    this.#size = this.#smallest;
  }
}
