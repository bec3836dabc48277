/**
 * The strict JSON scanner (RFC 8259): walks over bytes, checks the grammar, the nesting and duplicate keys, and decodes
 * nothing. Every text ends in a line feed, which no value may hold, so that no loop needs a bound of its own.
 *
 * UTF-8 is checked before, natively (`codec.ts`).
 */
import {
  BACKSLASH,
  CLOSE_ARRAY,
  CLOSE_OBJECT,
  COLON,
  COMMA,
  CR,
  DOT,
  LF,
  MINUS,
  NINE,
  OPEN_ARRAY,
  OPEN_OBJECT,
  QUOTE,
  SPACE,
  TAB,
  ZERO,
} from "./chars.ts";
import { Fault, INVALID_REQUEST, PARSE_ERROR } from "./fault.ts";
import { HASH_SEED, hashByte, KeyStack } from "./keys.ts";
import { decodeString, encodeText } from "./strings.ts";
import { Words } from "./words.ts";

const EMPTY = new Uint8Array(0);

/** A string that goes on after this many bytes is searched a word at a time; the first one pays for the view of words. */
const LONG_STRING = 16;
const FIRST_LONG_STRING = 128;

export class Scanner {
  readonly #keys = new KeyStack();
  #bytes: Uint8Array = EMPTY;
  /** The same memory as `#bytes` in words; made when the first long string comes. */
  #words: Words | undefined;
  #maxDepth = 0;
  /** A level each: where the keys of the object begin, or -1 in an array. */
  #levels = new Int32Array(64);

  /** `bytes` must end in a line feed. `maxDepth`: how many arrays and objects may lie in each other. */
  start(bytes: Uint8Array, maxDepth: number): void {
    // Without it a string that does not end would be searched for ever.
    if (bytes[bytes.length - 1] !== LF) throw new Fault(PARSE_ERROR, "the text has no line feed at its end");
    this.#bytes = bytes;
    this.#words = undefined;
    this.#maxDepth = maxDepth;
    if (this.#levels.length <= maxDepth) this.#levels = new Int32Array(maxDepth + 1);
    this.#keys.reset();
  }

  /** Let go of the message's memory. */
  stop(): void {
    this.#bytes = EMPTY;
    this.#words = undefined;
  }

  /** The first index from `at` that is no white space. Only space and tab: a line holds no line breaks. */
  space(at: number): number {
    const bytes = this.#bytes;
    let i = at;
    let byte = bytes[i] as number;
    while (byte === SPACE || byte === TAB) {
      i += 1;
      byte = bytes[i] as number;
    }
    return i;
  }

  /** The index after the value that begins at `at`, which lies inside `depth` arrays and objects. */
  value(at: number, depth: number): number {
    const byte = this.#bytes[at] as number;
    if (byte === QUOTE) return this.string(at);
    if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) return this.#container(at, depth);
    return this.#scalar(at);
  }

  /** The index after the string whose opening quote is at `at`. */
  string(at: number): number {
    const bytes = this.#bytes;
    let i = at + 1;
    let long = i + (this.#words === undefined ? FIRST_LONG_STRING : LONG_STRING);
    for (;;) {
      const byte = bytes[i] as number;
      if (byte === QUOTE) return i + 1;
      if (byte === BACKSLASH) {
        i = this.#escape(i);
        if (i > long) long = i + LONG_STRING;
      } else if (byte < SPACE) {
        this.#control(i);
      } else {
        i += 1;
        if (i >= long) {
          this.#words ??= new Words(bytes);
          i = this.#words.skipPlain(i);
          long = i + LONG_STRING;
        }
      }
    }
  }

  /**
   * A key, its colon and the space around it: the index where the member's value begins. Remembers the key for the check
   * against duplicates.
   */
  key(at: number): number {
    const bytes = this.#bytes;
    if (bytes[at] !== QUOTE) throw this.unexpected(at);
    let hash = HASH_SEED;
    let i = at + 1;
    for (;;) {
      const byte = bytes[i] as number;
      if (byte === QUOTE) {
        this.#keys.push(hash, at + 1, i);
        i += 1;
        break;
      }
      if (byte === BACKSLASH) {
        i = this.string(at);
        const text = decodeString(bytes, at + 1, i - 1);
        if (!text.isWellFormed()) throw new Fault(INVALID_REQUEST, "a key holds a lone surrogate");
        this.#keys.pushDecoded(encodeText(text));
        break;
      }
      if (byte < SPACE) this.#control(i);
      hash = hashByte(hash, byte);
      i += 1;
    }
    if (bytes[i] !== COLON) {
      i = this.space(i);
      if (bytes[i] !== COLON) throw this.unexpected(i);
    }
    return this.space(i + 1);
  }

  /** Where the keys of an object begin that opens now; give it to `closeObject`. */
  openObject(): number {
    return this.#keys.top;
  }

  closeObject(base: number): void {
    this.#keys.close(this.#bytes, base);
  }

  /** What is wrong at this place. */
  unexpected(at: number): Fault {
    const byte = this.#bytes[at];
    if (byte === CR) return new Fault(PARSE_ERROR, "a carriage return inside the line");
    if (byte === LF || byte === undefined)
      return new Fault(PARSE_ERROR, "the line ends in the middle of the JSON text");
    return new Fault(PARSE_ERROR, `invalid JSON at byte ${at}`);
  }

  #container(at: number, depth: number): number {
    const bytes = this.#bytes;
    const keys = this.#keys;
    const levels = this.#levels;
    const maxDepth = this.#maxDepth;
    let level = depth;
    let i = at;
    for (;;) {
      // A container opens at i, or a scalar stands there.
      let byte = bytes[i] as number;
      if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
        if (level >= maxDepth) throw new Fault(INVALID_REQUEST, `nested deeper than ${maxDepth} levels`);
        level += 1;
        const isObject = byte === OPEN_OBJECT;
        levels[level] = isObject ? keys.top : -1;
        i = this.space(i + 1);
        byte = bytes[i] as number;
        if (byte !== (isObject ? CLOSE_OBJECT : CLOSE_ARRAY)) {
          if (isObject) i = this.key(i);
          continue;
        }
      } else {
        i = byte === QUOTE ? this.string(i) : this.#scalar(i);
        byte = bytes[i] as number;
        if (byte === SPACE || byte === TAB) {
          i = this.space(i);
          byte = bytes[i] as number;
        }
      }
      // A value has ended before i, or i is the end of an empty container.
      for (;;) {
        const base = levels[level] as number;
        if (byte === COMMA) {
          i += 1;
          byte = bytes[i] as number;
          if (byte === SPACE || byte === TAB) i = this.space(i);
          if (base >= 0) i = this.key(i);
          break;
        }
        if (byte !== (base >= 0 ? CLOSE_OBJECT : CLOSE_ARRAY)) throw this.unexpected(i);
        if (base >= 0) keys.close(bytes, base);
        level -= 1;
        i += 1;
        if (level === depth) return i;
        i = this.space(i);
        byte = bytes[i] as number;
      }
    }
  }

  /** A number, `true`, `false` or `null`. */
  #scalar(at: number): number {
    const bytes = this.#bytes;
    let i = at;
    let byte = bytes[i] as number;
    if (byte === 0x74) return this.#word(at, 0x72, 0x75, 0x65, 0);
    if (byte === 0x66) return this.#word(at, 0x61, 0x6c, 0x73, 0x65);
    if (byte === 0x6e) return this.#word(at, 0x75, 0x6c, 0x6c, 0);
    if (byte === MINUS) {
      i += 1;
      byte = bytes[i] as number;
    }
    if (byte === ZERO) i += 1;
    else i = this.#digits(i);
    if (bytes[i] === DOT) i = this.#digits(i + 1);
    byte = bytes[i] as number;
    if (byte === 0x65 || byte === 0x45) {
      i += 1;
      byte = bytes[i] as number;
      if (byte === 0x2b || byte === MINUS) i += 1;
      i = this.#digits(i);
    }
    return i;
  }

  #digits(at: number): number {
    const bytes = this.#bytes;
    let i = at;
    let byte = bytes[i] as number;
    if (byte < ZERO || byte > NINE) throw this.unexpected(i);
    do {
      i += 1;
      byte = bytes[i] as number;
    } while (byte >= ZERO && byte <= NINE);
    return i;
  }

  #word(at: number, second: number, third: number, fourth: number, fifth: number): number {
    const bytes = this.#bytes;
    if (bytes[at + 1] !== second || bytes[at + 2] !== third || bytes[at + 3] !== fourth) throw this.unexpected(at);
    if (fifth === 0) return at + 4;
    if (bytes[at + 4] !== fifth) throw this.unexpected(at);
    return at + 5;
  }

  /** The index after the escape whose backslash is at `at`. */
  #escape(at: number): number {
    const bytes = this.#bytes;
    switch (bytes[at + 1]) {
      case QUOTE:
      case BACKSLASH:
      case 0x2f:
      case 0x62:
      case 0x66:
      case 0x6e:
      case 0x72:
      case 0x74:
        return at + 2;
      case 0x75:
        for (let i = at + 2; i < at + 6; i += 1) {
          const byte = (bytes[i] as number) | 0x20;
          const hex = (byte >= ZERO && byte <= NINE && (bytes[i] as number) >= ZERO) || (byte >= 0x61 && byte <= 0x66);
          if (!hex) throw this.unexpected(i);
        }
        return at + 6;
      default:
        throw this.unexpected(at + 1);
    }
  }

  #control(at: number): never {
    const byte = this.#bytes[at];
    if (byte === LF || byte === CR || byte === undefined) throw this.unexpected(at);
    throw new Fault(PARSE_ERROR, "a control character inside a string");
  }
}
