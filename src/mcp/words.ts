/** A line's bytes four at a time: most of a long string needs no look at its single bytes. */
import { BACKSLASH, QUOTE, SPACE } from "./chars.ts";

/** Bit 7 of every byte of a word. */
const HIGH_BITS = 0x80808080 | 0;

export class Words {
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  /** How many bytes of the first word lie before the line. */
  readonly #shift: number;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#shift = bytes.byteOffset & 3;
    this.#words = new Int32Array(bytes.buffer, bytes.byteOffset - this.#shift, (bytes.length + this.#shift) >> 2);
  }

  /** An index up to which no quote, backslash or control character stands from `at`, and soon after which one does. */
  skipPlain(at: number): number {
    const bytes = this.#bytes;
    const words = this.#words;
    const shift = this.#shift;
    // The first word that begins at or after `at`; the bytes before it are looked at one by one.
    let word = (at + shift + 3) >> 2;
    for (let i = at; i < (word << 2) - shift; i += 1) {
      const byte = bytes[i] as number;
      if (byte === QUOTE || byte === BACKSLASH || byte < SPACE) return i;
    }
    const last = words.length - 1;
    while (word < last) {
      const a = words[word] as number;
      const b = words[word + 1] as number;
      if (((special(a) | special(b)) & HIGH_BITS) !== 0) break;
      word += 2;
    }
    return (word << 2) - shift;
  }
}

/**
 * Bit 7 of each byte that is a control character, `"` or a backslash (Hacker's Delight, 6-1). Flipping bit 1 puts `"`
 * right above the control characters. Bytes above a marked one may be marked as well.
 */
function special(word: number): number {
  return (((word ^ 0x02020202) - 0x21212121) | ((word ^ 0x5c5c5c5c) - 0x01010101)) & ~word;
}
