/**
 * Cuts a byte stream into lines. A line that lies within one chunk is a view of that chunk, not a copy: whoever calls
 * `push` gives the chunk away and must not write to it again.
 */
import { LF } from "./chars.ts";

export type Line = WholeLine | LongLine;

/** One line with its final line feed (only the last line of a stream may lack it). */
export interface WholeLine {
  bytes: Uint8Array;
}

/** What lines of which only a part has come may take. */
export interface LineBudget {
  /** False: there is no room, and nothing was taken. What was taken, whoever uses the lines gives back. */
  take(bytes: number): boolean;
}

/** Bytes of a line's buffer that come out of no budget: ordinary messages pass, whatever large ones are under way. */
export const FREE_BYTES = 256 * 1024;

/** A line over the cap, or one that the budget had no room for, reported once, when it has ended. Its bytes are gone but for both edges, where an id may stand. */
export interface LongLine {
  /** Bytes of the whole line, with its line feed. */
  overflow: number;
  /** It was the budget. */
  crowded: boolean;
  /** The first bytes of the line, at most 512. */
  head: Uint8Array;
  /** The last bytes of the line, at most 512. */
  tail: Uint8Array;
}

const EDGE = 512;
const EMPTY = new Uint8Array(0);

export class LineSplitter {
  readonly #max: number;
  /** The line whose end has not come: a view of one chunk, or a buffer of our own when it spans several. */
  #held: Uint8Array = EMPTY;
  #owned = false;
  /** Bytes of that line so far; those of a long line are counted only. */
  #size = 0;
  #long: { head: Uint8Array; tail: Uint8Array; crowded: boolean } | undefined;
  readonly #budget: LineBudget | undefined;

  /** `maxLineBytes` counts the line feed. */
  constructor(maxLineBytes: number, budget?: LineBudget) {
    this.#max = maxLineBytes;
    this.#budget = budget;
  }

  /** What the unfinished line has taken of the budget. */
  get taken(): number {
    return this.#owned ? beyondFree(this.#held.length) : 0;
  }

  /** The lines that this chunk completed, in order. Linear in the bytes, however they are cut into chunks. */
  push(chunk: Uint8Array): Line[] {
    const lines: Line[] = [];
    let start = 0;
    while (start < chunk.length) {
      const lf = chunk.indexOf(LF, start);
      const end = lf === -1 ? chunk.length : lf + 1;
      this.#take(start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end));
      if (lf !== -1) lines.push(this.#finish());
      start = end;
    }
    return lines;
  }

  /** What was left without a line feed when the stream ended. */
  end(): Line | undefined {
    return this.#size === 0 ? undefined : this.#finish();
  }

  #take(piece: Uint8Array): void {
    const before = this.#size;
    this.#size += piece.length;
    if (this.#long) {
      this.#long.tail = lastBytes(this.#long.tail, piece);
    } else if (this.#size > this.#max) {
      this.#drop(before, piece, false);
    } else if (before === 0) {
      this.#held = piece;
    } else if (this.#reserve(before)) {
      this.#held.set(piece, before);
    } else {
      this.#drop(before, piece, true);
    }
  }

  /** Of this line only the edges are kept. */
  #drop(before: number, piece: Uint8Array, crowded: boolean): void {
    const held = this.#held.subarray(0, before);
    const head = held.length >= EDGE ? held.slice(0, EDGE) : join(held, piece.subarray(0, EDGE - held.length));
    this.#long = { head, tail: lastBytes(lastBytes(EMPTY, held), piece), crowded };
    this.#held = EMPTY;
    this.#owned = false;
  }

  /**
   * Room for `#size` bytes in a buffer of our own, doubling, so that bytes that come one by one stay linear. False: there
   * is none.
   */
  #reserve(filled: number): boolean {
    if (this.#owned && this.#held.length >= this.#size) return true;
    const room = Math.max(this.#size, Math.min(this.#max, this.#size * 2), 256);
    const more = beyondFree(room) - this.taken;
    if (more > 0 && this.#budget?.take(more) === false) return false;
    const grown = new Uint8Array(room);
    grown.set(this.#held.subarray(0, filled));
    this.#held = grown;
    this.#owned = true;
    return true;
  }

  #finish(): Line {
    const { overflow, bytes, long } = { overflow: this.#size, bytes: this.#held, long: this.#long };
    this.#held = EMPTY;
    this.#owned = false;
    this.#long = undefined;
    this.#size = 0;
    if (long) return { overflow, ...long };
    return { bytes: bytes.length === overflow ? bytes : bytes.subarray(0, overflow) };
  }
}

const beyondFree = (bytes: number): number => Math.max(0, bytes - FREE_BYTES);

/** The last `EDGE` bytes of both, as a copy: a view would keep a whole chunk alive. */
function lastBytes(before: Uint8Array, piece: Uint8Array): Uint8Array {
  if (piece.length >= EDGE) return piece.slice(piece.length - EDGE);
  return join(before.subarray(Math.max(0, before.length + piece.length - EDGE)), piece);
}

function join(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}
