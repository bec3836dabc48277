/** The members of one scanned object, as places in the line. Nothing is decoded until somebody asks. */
import { fold } from "../fold.ts";
import { CLOSE_OBJECT, COMMA, QUOTE } from "./chars.ts";
import { Fault, INVALID_PARAMS, INVALID_REQUEST } from "./fault.ts";
import type { Scanner } from "./scan.ts";
import { decodeString, isText, shortText } from "./strings.ts";

/** Half-open range of bytes. */
export interface Span {
  start: number;
  end: number;
}

export class ObjectView {
  /** The line that the places below are in. */
  readonly bytes: Uint8Array;
  /** Key start, key end (without quotes), value start, value end: four numbers a member. */
  readonly places: number[] = [];

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** Scans the object that begins at `at` and lies inside `depth - 1` others; the index after it. */
  scan(scanner: Scanner, at: number, depth: number): number {
    const { bytes, places } = this;
    const base = scanner.openObject();
    let i = scanner.space(at + 1);
    if (bytes[i] === CLOSE_OBJECT) return i + 1;
    for (;;) {
      const keyStart = i + 1;
      const value = scanner.key(i);
      const keyEnd = lastQuote(bytes, value);
      const end = scanner.value(value, depth);
      places.push(keyStart, keyEnd, value, end);
      i = scanner.space(end);
      const byte = bytes[i];
      if (byte === CLOSE_OBJECT) break;
      if (byte !== COMMA) throw scanner.unexpected(i);
      i = scanner.space(i + 1);
    }
    scanner.closeObject(base);
    return i + 1;
  }

  /** Where the value of this key stands; the key must be written without escapes. */
  span(key: string): Span | undefined {
    const at = this.find(key);
    return at === -1 ? undefined : { start: this.places[at + 2] as number, end: this.places[at + 3] as number };
  }

  /** The place of the member in `places`, or -1. */
  find(key: string): number {
    const { bytes, places } = this;
    for (let at = 0; at < places.length; at += 4) {
      if (isText(bytes, places[at] as number, places[at + 1] as number, key)) return at;
    }
    return -1;
  }

  /** The key at a place in `places`, decoded. */
  keyAt(at: number): string {
    return decodeString(this.bytes, this.places[at] as number, this.places[at + 1] as number);
  }

  /** The text of a string member: undefined when it is not there, a `Fault` when it is no string or no clean one. */
  name(key: string, maxChars: number): string | undefined {
    const at = this.find(key);
    if (at === -1) return undefined;
    const start = this.places[at + 2] as number;
    if (this.bytes[start] !== QUOTE) throw new Fault(INVALID_PARAMS, `"${key}" is not a string`);
    return cleanString(this.bytes, start + 1, (this.places[at + 3] as number) - 1, key, maxChars);
  }

  /** Whether the member is there with exactly these bytes as its value. */
  is(key: string, value: string): boolean {
    const span = this.span(key);
    return span !== undefined && isText(this.bytes, span.start, span.end, value);
  }

  /**
   * Throws a `Fault` when a key is not one of `known` but may be read as one: another case, letters that fold to it,
   * or escapes.
   */
  refuseLookalikes(known: Lookalikes): void {
    const { bytes, places } = this;
    for (let at = 0; at < places.length; at += 4) {
      known.check(bytes, places[at] as number, places[at + 1] as number);
    }
  }
}

/** The keys that one level of the protocol has. */
export class Lookalikes {
  readonly #keys: readonly string[];
  readonly #lower: readonly string[];

  constructor(keys: readonly string[]) {
    this.#keys = keys;
    this.#lower = keys.map((key) => key.toLowerCase());
  }

  check(bytes: Uint8Array, start: number, end: number): void {
    const keys = this.#keys;
    const length = end - start;
    for (let i = 0; i < keys.length; i += 1) {
      const key = keys[i] as string;
      if (key.length === length && isText(bytes, start, end, key)) return;
    }
    let plain = true;
    for (let i = start; i < end; i += 1) {
      const byte = bytes[i] as number;
      if (byte >= 0x80 || byte === 0x5c) {
        plain = false;
        break;
      }
    }
    if (plain) {
      for (const lower of this.#lower) {
        if (lower.length === length && isFolded(bytes, start, end, lower)) lookalike(lower);
      }
      return;
    }
    const folded = fold(decodeString(bytes, start, end));
    if (this.#lower.includes(folded)) lookalike(folded);
  }
}

function lookalike(lower: string): never {
  throw new Fault(INVALID_REQUEST, `a key that may be mistaken for "${lower}"`);
}

function isFolded(bytes: Uint8Array, start: number, end: number, lower: string): boolean {
  if (end - start !== lower.length) return false;
  for (let i = 0; i < lower.length; i += 1) {
    const byte = bytes[start + i] as number;
    const small = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
    if (small !== lower.charCodeAt(i)) return false;
  }
  return true;
}

/**
 * The text between these quotes, which is compared with rules: no lone surrogates, no control characters, not empty, not
 * endless. `maxChars` is at least 64.
 */
export function cleanString(bytes: Uint8Array, start: number, end: number, what: string, maxChars: number): string {
  const short = shortText(bytes, start, end);
  if (short !== undefined && short !== "") return short;
  const text = decodeString(bytes, start, end);
  if (text.length === 0) throw new Fault(INVALID_PARAMS, `"${what}" is empty`);
  if (text.length > maxChars) throw new Fault(INVALID_PARAMS, `"${what}" is longer than ${maxChars} characters`);
  if (!text.isWellFormed()) throw new Fault(INVALID_PARAMS, `"${what}" holds a lone surrogate`);
  if (/[\u0000-\u001f\u007f]/.test(text)) throw new Fault(INVALID_PARAMS, `"${what}" holds a control character`);
  return text;
}

/** The closing quote of the key before this value. */
function lastQuote(bytes: Uint8Array, value: number): number {
  let i = value - 1;
  while (bytes[i] !== QUOTE) i -= 1;
  return i;
}
