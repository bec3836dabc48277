/**
 * Duplicate keys, found in linear time: RFC 8259 leaves their meaning open, so that the gate could read the first and
 * the server the last. Keys are compared decoded: `"a"` and `"\u0061"` are the same key.
 */
import { Fault, INVALID_REQUEST } from "./fault.ts";

const FNV_PRIME = 0x01000193;
const STRIDE = 3;
const FIRST_ENTRIES = 1024;
/** Objects up to this size are compared pair by pair. */
const PAIRWISE = 12;
/** Keys that may be open at a time (those of an object and of the objects around it). */
const MAX_OPEN_KEYS = 1_000_000;

/** A sender that knew the seed could make keys collide; even then `#sorted` keeps the cost bounded. */
export const HASH_SEED = crypto.getRandomValues(new Int32Array(1))[0] as number;

export const hashByte = (hash: number, byte: number): number => Math.imul(hash ^ byte, FNV_PRIME);

/** The keys of the objects that the scanner is inside of, as a stack. */
export class KeyStack {
  /** hash, start, end a key; an escaped key has `~index` into `#decoded` for its start. */
  #entries = new Int32Array(FIRST_ENTRIES * STRIDE);
  #top = 0;
  #decoded: Uint8Array[] = [];
  #table = new Int32Array(64);

  /** Forget everything, also after a fault in the middle of a message. */
  reset(): void {
    this.#top = 0;
    if (this.#decoded.length > 0) this.#decoded = [];
    if (this.#entries.length > FIRST_ENTRIES * STRIDE * 64) {
      this.#entries = new Int32Array(FIRST_ENTRIES * STRIDE);
      this.#table = new Int32Array(64);
    }
  }

  /** Where the keys of an object begin that opens now. */
  get top(): number {
    return this.#top;
  }

  push(hash: number, start: number, end: number): void {
    const at = this.#top;
    if (at === this.#entries.length) this.#grow();
    const entries = this.#entries;
    entries[at] = hash;
    entries[at + 1] = start;
    entries[at + 2] = end;
    this.#top = at + STRIDE;
  }

  /** A key that was written with escapes, as its UTF-8 bytes after decoding. */
  pushDecoded(key: Uint8Array): void {
    let hash = HASH_SEED;
    for (const byte of key) hash = hashByte(hash, byte);
    this.#decoded.push(key);
    this.push(hash, ~(this.#decoded.length - 1), key.length);
  }

  /** The object whose keys began at `base` closes. Throws a `Fault` when two of its keys are the same. */
  close(bytes: Uint8Array, base: number): void {
    const top = this.#top;
    this.#top = base;
    const count = (top - base) / STRIDE;
    if (count <= 1) return;
    if (count > PAIRWISE) {
      this.#many(bytes, base, count);
      return;
    }
    const entries = this.#entries;
    for (let i = base + STRIDE; i < top; i += STRIDE) {
      const hash = entries[i];
      for (let j = base; j < i; j += STRIDE) {
        if (entries[j] === hash && this.#order(bytes, i, j) === 0) duplicate();
      }
    }
  }

  #many(bytes: Uint8Array, base: number, count: number): void {
    let size = 64;
    while (size < count * 2) size *= 2;
    if (this.#table.length < size) this.#table = new Int32Array(size);
    const table = this.#table.length > size ? this.#table.subarray(0, size) : this.#table;
    table.fill(-1);
    const entries = this.#entries;
    const mask = size - 1;
    let budget = count * 8 + 64;
    for (let i = base; i < base + count * STRIDE; i += STRIDE) {
      const hash = entries[i] as number;
      let slot = mix(hash) & mask;
      for (let other = table[slot] as number; other !== -1; other = table[slot] as number) {
        if (entries[other] === hash && this.#order(bytes, i, other) === 0) duplicate();
        budget -= 1;
        if (budget === 0) {
          this.#sorted(bytes, base, count);
          return;
        }
        slot = (slot + 1) & mask;
      }
      table[slot] = i;
    }
  }

  /** n log n whatever the keys. */
  #sorted(bytes: Uint8Array, base: number, count: number): void {
    const order = Array.from({ length: count }, (_, i) => base + i * STRIDE);
    order.sort((a, b) => this.#order(bytes, a, b));
    for (let i = 1; i < count; i += 1) {
      if (this.#order(bytes, order[i] as number, order[i - 1] as number) === 0) duplicate();
    }
  }

  /** A total order over keys; 0 for the same key. */
  #order(bytes: Uint8Array, a: number, b: number): number {
    const entries = this.#entries;
    let aStart = entries[a + 1] as number;
    let bStart = entries[b + 1] as number;
    let aBytes = bytes;
    let bBytes = bytes;
    let aLength = (entries[a + 2] as number) - aStart;
    let bLength = (entries[b + 2] as number) - bStart;
    if (aStart < 0) {
      aBytes = this.#decoded[~aStart] as Uint8Array;
      aStart = 0;
      aLength = aBytes.length;
    }
    if (bStart < 0) {
      bBytes = this.#decoded[~bStart] as Uint8Array;
      bStart = 0;
      bLength = bBytes.length;
    }
    if (aLength !== bLength) return aLength - bLength;
    for (let i = 0; i < aLength; i += 1) {
      const difference = (aBytes[aStart + i] as number) - (bBytes[bStart + i] as number);
      if (difference !== 0) return difference;
    }
    return 0;
  }

  #grow(): void {
    if (this.#top >= MAX_OPEN_KEYS * STRIDE) throw new Fault(INVALID_REQUEST, "more keys than the gate reads");
    const grown = new Int32Array(this.#entries.length * 2);
    grown.set(this.#entries);
    this.#entries = grown;
  }
}

function duplicate(): never {
  throw new Fault(INVALID_REQUEST, "a key is there twice");
}

/** The finaliser of MurmurHash3: FNV alone is weak in its low bits. */
function mix(hash: number): number {
  let h = hash;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
