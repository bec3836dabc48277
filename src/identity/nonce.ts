/**
 * Nonces for proofs (RFC 9449, section 8). Issuing one stores nothing: a nonce is its own time and randomness under an
 * HMAC. Only a nonce that was taken is remembered, for as long as it would be valid, so that it works once.
 */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";

/** How long a nonce can be taken after it was issued, in milliseconds. */
export const NONCE_TTL_MS = 60_000;
const TIME_BYTES = 8;
const BODY_BYTES = TIME_BYTES + 16;
const MAC_BYTES = 32;
const NONCE = /^[A-Za-z0-9_-]{75}$/; // 56 bytes, base64url

export interface NoncesOptions {
  /** 32 bytes; random unless given, so that a restart forgets all nonces. */
  secret?: Uint8Array;
  /** Milliseconds, monotonic. Processes that share a secret must share a clock too. */
  now?: () => number;
  /** How many taken nonces are remembered. At the bound none is taken until some have aged: used ones are never forgotten. */
  maxTaken?: number;
}

export class Nonces {
  readonly #secret: Uint8Array;
  readonly #now: () => number;
  readonly #maxTaken: number;
  // Two generations: one that is filled, and the one before it, dropped when the newer is a whole lifetime old.
  #taken = new Set<string>();
  #takenBefore = new Set<string>();
  #since: number;

  constructor(options: NoncesOptions = {}) {
    this.#secret = options.secret ?? randomBytes(32);
    this.#now = options.now ?? (() => performance.now());
    this.#maxTaken = options.maxTaken ?? 200_000;
    this.#since = this.#now();
  }

  /** A new nonce: 75 characters of base64url. */
  issue(): string {
    const body = randomBytes(BODY_BYTES);
    body.writeBigUInt64BE(BigInt(Math.floor(this.#now())));
    return Buffer.concat([body, this.#mac(body)]).toString("base64url");
  }

  /** True once for each nonce that this secret issued within the last minute; never throws. */
  take(nonce: string): boolean {
    if (typeof nonce !== "string" || !NONCE.test(nonce)) return false;
    const bytes = Buffer.from(nonce, "base64url");
    // base64url can spell the same bytes in more than one way; only one spelling is a nonce
    if (bytes.length !== BODY_BYTES + MAC_BYTES || bytes.toString("base64url") !== nonce) return false;
    const body = bytes.subarray(0, BODY_BYTES);
    if (!timingSafeEqual(this.#mac(body), bytes.subarray(BODY_BYTES))) return false;
    const now = this.#now();
    const age = Math.floor(now) - Number(body.readBigUInt64BE());
    if (age < 0 || age > NONCE_TTL_MS) return false;
    this.#forget(now);
    if (this.#taken.has(nonce) || this.#takenBefore.has(nonce)) return false;
    if (this.#taken.size + this.#takenBefore.size >= this.#maxTaken) return false;
    this.#taken.add(nonce);
    return true;
  }

  #forget(now: number): void {
    const age = now - this.#since;
    if (age <= NONCE_TTL_MS) return;
    this.#takenBefore = age > 2 * NONCE_TTL_MS ? new Set() : this.#taken;
    this.#taken = new Set();
    this.#since = now;
  }

  #mac(body: Uint8Array): Buffer {
    return createHmac("sha256", this.#secret).update(body).digest();
  }
}
