/** Bytes that wait for one session somewhere, and what they take of a budget beyond those that are free for everybody. */
import type { WindowBudget } from "../link/window.ts";
import { decode } from "../mcp/codec.ts";
import { encodeError } from "../mcp/encode.ts";
import { BAD_SERVER_ANSWER } from "../mcp/fault.ts";
import { FREE_BYTES } from "../mcp/lines.ts";

export class HeldBytes {
  readonly #budget: WindowBudget;
  #bytes = 0;
  #taken = 0;
  #closed = false;

  constructor(budget: WindowBudget) {
    this.#budget = budget;
  }

  /** False: there is no room for so many more, and nothing was taken. */
  add(bytes: number): boolean {
    const more = this.#bytes + bytes - FREE_BYTES - this.#taken;
    if (more > 0 && !this.#budget.take(more)) return false;
    this.#bytes += bytes;
    this.#taken += Math.max(0, more);
    return true;
  }

  remove(bytes: number): void {
    if (this.#closed) return;
    this.#bytes -= bytes;
    this.#giveBack(Math.max(0, this.#bytes - FREE_BYTES));
  }

  /** Nothing waits any more, and what is still removed counts no more. */
  close(): void {
    this.#closed = true;
    this.#giveBack(0);
  }

  #giveBack(kept: number): void {
    if (kept >= this.#taken) return;
    this.#budget.give(this.#taken - kept);
    this.#taken = kept;
  }
}

/** What stands in the place of an answer that there is no room for; undefined: it is none, and can be dropped. */
export function crowdedOut(line: Uint8Array): Uint8Array | undefined {
  const message = decode(line);
  if (message.kind !== "response") return undefined;
  const text = `no room for an answer of ${line.length} bytes: too many large messages are under way, try again later`;
  return encodeError(message.id, BAD_SERVER_ANSWER, text);
}
