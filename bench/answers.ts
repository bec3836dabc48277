/**
 * Cuts a stream of MCP messages into lines and reads the ids of answers, whatever the lines' size and the order of their
 * members, without parsing or keeping them: the id of an answer stands in its first or its last bytes.
 */

/** Bytes at a line's either end in which its id is looked for. */
const EDGE = 96;
const LF = 10;

export interface AnswerTaker {
  answer(id: number): void;
  notification(): void;
}

export class Answers {
  /** Read into this, from `offset` on; what lies before it is the end of what came before. */
  readonly buffer: Uint8Array;
  readonly offset = EDGE;
  /** Bytes of the line that is still open. */
  #open = 0;
  readonly #head = new Uint8Array(EDGE);

  constructor(size = 1 << 18) {
    this.buffer = new Uint8Array(EDGE + size);
  }

  /** `count` more bytes lie in `buffer` from `offset` on. */
  take(count: number, to: AnswerTaker): void {
    const { buffer } = this;
    const end = EDGE + count;
    for (let at = EDGE; at < end; ) {
      const found = buffer.indexOf(LF, at);
      const stop = found === -1 || found >= end ? end : found;
      this.#keepHead(at, stop);
      this.#open += stop - at;
      if (stop === end) break;
      this.#line(stop, to);
      this.#open = 0;
      at = stop + 1;
    }
    buffer.copyWithin(0, end - EDGE, end);
  }

  #keepHead(from: number, to: number): void {
    for (let i = from, at = this.#open; i < to && at < EDGE; i++, at++) this.#head[at] = this.buffer[i] as number;
  }

  /** A line ends before `end`. */
  #line(end: number, to: AnswerTaker): void {
    const head = Math.min(this.#open, EDGE);
    if (indexOf(this.#head, 0, head, METHOD) !== -1) {
      to.notification();
      return;
    }
    const id = idIn(this.#head, 0, head);
    const found = id === -1 ? idIn(this.buffer, end - Math.min(this.#open, EDGE), end) : id;
    if (found === -1)
      throw new Error(`an answer without an id: ${new TextDecoder().decode(this.#head.subarray(0, head))}`);
    to.answer(found);
  }
}

const bytes = (text: string) => new TextEncoder().encode(text);
const METHOD = bytes('"method"');
const ID = bytes('"id":');

function indexOf(buffer: Uint8Array, from: number, end: number, word: Uint8Array): number {
  const last = end - word.length;
  next: for (let at = from; at <= last; at++) {
    for (let i = 0; i < word.length; i++) if (buffer[at + i] !== word[i]) continue next;
    return at;
  }
  return -1;
}

function idIn(buffer: Uint8Array, from: number, end: number): number {
  const at = indexOf(buffer, from, end, ID);
  if (at === -1) return -1;
  let id = 0;
  let i = at + ID.length;
  for (; i < end; i++) {
    const digit = (buffer[i] as number) - 48;
    if (digit < 0 || digit > 9) break;
    id = id * 10 + digit;
  }
  return i === at + ID.length ? -1 : id;
}
