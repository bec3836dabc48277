/**
 * The event loop belongs to everybody: a server that prints without end has its next bytes ready whenever they are asked for,
 * and whoever reads them one after the other leaves no turn to the other sessions, to timers and to signals.
 */
import { LF } from "../mcp/chars.ts";

/** Milliseconds that one server's output has of a turn of the loop, about. */
const SLICE_MS = 5;
/** A stream that had so much of that many milliseconds has to rest in the next ones: as long as it works. */
const [WINDOW_MS, MOST] = [1_000, 0.8];
/** Lines that are handed over in one go: each costs something, however short it is. */
const MAX_LINES = 256;

/** What is spent on one stream, and the turns of the loop in between. */
export class Turns {
  #slice = 0;
  #window = { began: performance.now(), spent: 0 };
  #tired = false;

  /** Does the work, and resolves when the loop has had its turn where one is due. */
  async take(work: () => void | Promise<void>): Promise<void> {
    const began = performance.now();
    const waits = work();
    const now = performance.now();
    this.#slice += now - began;
    this.#window.spent += now - began;
    if (waits !== undefined) await waits;
    if (this.#slice < SLICE_MS) return;
    const spent = this.#slice;
    this.#slice = 0;
    const lasted = now - this.#window.began;
    if (lasted > WINDOW_MS) {
      this.#tired = this.#window.spent > lasted * MOST;
      this.#window = { began: now, spent: 0 };
    }
    if (this.#tired) await Bun.sleep(Math.min(spent, WINDOW_MS));
    else await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

/** The bytes in parts of at most so many lines. */
export function* portions(chunk: Uint8Array, maxLines = MAX_LINES): Generator<Uint8Array> {
  let start = 0;
  let lines = 0;
  for (let at = chunk.indexOf(LF) + 1; at > 0; at = chunk.indexOf(LF, at) + 1) {
    lines += 1;
    if (lines < maxLines) continue;
    yield chunk.subarray(start, at);
    [start, lines] = [at, 0];
  }
  if (start < chunk.length) yield start === 0 ? chunk : chunk.subarray(start);
}
