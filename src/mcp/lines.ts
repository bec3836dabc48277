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
/** Pieces from here on are kept as they came; shorter ones are gathered in blocks. */
const LARGE = 8 * 1024;
const [MIN_BLOCK, MAX_BLOCK] = [256, 64 * 1024];

export class LineSplitter {
  readonly #max: number;
  /** The line whose end has not come, in pieces. They are put together once, when all are there. */
  #pieces: Uint8Array[] = [];
  /** The last piece is the beginning of this block of our own, which has room for more. */
  #block: Uint8Array = EMPTY;
  /** Bytes of that line so far; those of a long line are counted only. */
  #size = 0;
  #long: { head: Uint8Array; tail: Uint8Array; crowded: boolean } | undefined;
  readonly #budget: LineBudget | undefined;
  #taken = 0;

  /** `maxLineBytes` counts the line feed. */
  constructor(maxLineBytes: number, budget?: LineBudget) {
    this.#max = maxLineBytes;
    this.#budget = budget;
  }

  /** What the unfinished line has taken of the budget. */
  get taken(): number {
    return this.#taken;
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
      this.#long.tail = lastBytes([this.#long.tail, piece]);
    } else if (this.#size > this.#max) {
      this.#drop(piece, false);
    } else if (before === 0) {
      this.#pieces.push(piece);
    } else if (this.#reserve()) {
      this.#append(piece);
    } else {
      this.#drop(piece, true);
    }
  }

  /** Of this line only the edges are kept. */
  #drop(piece: Uint8Array, crowded: boolean): void {
    this.#pieces.push(piece);
    this.#long = { head: firstBytes(this.#pieces), tail: lastBytes(this.#pieces), crowded };
    this.#forget();
  }

  /** False: the budget has no room for it. */
  #reserve(): boolean {
    const more = beyondFree(this.#size) - this.#taken;
    if (more > 0 && this.#budget?.take(more) === false) return false;
    this.#taken += more;
    return true;
  }

  #append(piece: Uint8Array): void {
    const [first] = this.#pieces;
    // A few bytes would keep the whole chunk alive in which they came.
    if (this.#pieces.length === 1 && this.#block === EMPTY && first !== undefined && !isKeepable(first)) {
      this.#pieces = [];
      this.#gather(first);
    }
    if (isKeepable(piece)) {
      this.#pieces.push(piece);
      this.#block = EMPTY;
    } else this.#gather(piece);
  }

  /** Blocks grow with the line, so that bytes that come one by one stay linear. */
  #gather(piece: Uint8Array): void {
    const filled = this.#block === EMPTY ? 0 : (this.#pieces.pop()?.length ?? 0);
    const room = Math.min(piece.length, this.#block.length - filled);
    if (room > 0) this.#block.set(piece.subarray(0, room), filled);
    if (filled + room > 0) this.#pieces.push(this.#block.subarray(0, filled + room));
    if (room === piece.length) return;
    const rest = piece.subarray(room);
    this.#block = new Uint8Array(Math.max(rest.length, Math.min(MAX_BLOCK, Math.max(MIN_BLOCK, this.#size))));
    this.#block.set(rest);
    this.#pieces.push(this.#block.subarray(0, rest.length));
  }

  #finish(): Line {
    const { overflow, pieces, long } = { overflow: this.#size, pieces: this.#pieces, long: this.#long };
    this.#forget();
    this.#long = undefined;
    this.#size = 0;
    if (long) return { overflow, ...long };
    const [only] = pieces;
    return { bytes: pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces, overflow) };
  }

  #forget(): void {
    this.#pieces = [];
    this.#block = EMPTY;
    this.#taken = 0;
  }
}

/** Lines that are written at once: the very same bytes where there is one. */
export const joinLines = (lines: readonly Uint8Array[]): Uint8Array =>
  lines.length === 1 ? (lines[0] as Uint8Array) : Buffer.concat(lines);

const isKeepable = (piece: Uint8Array): boolean => piece.length >= LARGE && piece.length * 2 >= piece.buffer.byteLength;

const beyondFree = (bytes: number): number => Math.max(0, bytes - FREE_BYTES);

/** The first `EDGE` bytes, as a copy: a view would keep a whole chunk alive. */
function firstBytes(pieces: readonly Uint8Array[]): Uint8Array {
  const found: Uint8Array[] = [];
  let missing = EDGE;
  for (const piece of pieces) {
    if (missing <= 0) break;
    found.push(piece.subarray(0, missing));
    missing -= piece.length;
  }
  return Buffer.concat(found);
}

/** The last `EDGE` bytes, as a copy too. */
function lastBytes(pieces: readonly Uint8Array[]): Uint8Array {
  const found: Uint8Array[] = [];
  let missing = EDGE;
  for (const piece of pieces.toReversed()) {
    if (missing <= 0) break;
    found.unshift(piece.subarray(Math.max(0, piece.length - missing)));
    missing -= piece.length;
  }
  return Buffer.concat(found);
}
