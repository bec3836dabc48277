/** The lines of one direction of a session, and what they hold of the budget until the other side has taken them. */
import type { WindowBudget } from "../link/window.ts";
import { LineSplitter } from "../mcp/lines.ts";
import { DEFAULT_CODEC_LIMITS } from "../mcp/message.ts";

export class Inbound {
  readonly lines: LineSplitter;
  readonly #budget: WindowBudget;
  #taken = 0;
  #closed = false;

  constructor(budget: WindowBudget) {
    this.#budget = budget;
    this.lines = new LineSplitter(DEFAULT_CODEC_LIMITS.maxBytes, { take: (bytes) => this.#take(bytes) });
  }

  /** Of the lines that were cut out, nothing is held any more. */
  settle(): void {
    if (!this.#closed) this.#giveBack(this.lines.taken);
  }

  /** Nothing is held, and nothing will be. */
  close(): void {
    this.#closed = true;
    this.#giveBack(0);
  }

  #take(bytes: number): boolean {
    if (this.#closed || !this.#budget.take(bytes)) return false;
    this.#taken += bytes;
    return true;
  }

  #giveBack(kept: number): void {
    this.#budget.give(this.#taken - kept);
    this.#taken = kept;
  }
}
