/**
 * Signed heads: how far a chain had got, signed by whose chain it is (the agent's registered key, or the cluster's signing
 * key). A head covers every line before it, because each line holds the hash of the one before.
 */

import { CompactSign } from "jose/jws/compact/sign";
import { compactVerify } from "jose/jws/compact/verify";
import * as v from "valibot";
import { Failure } from "../errors.ts";
import { ALGORITHM, type KeyPair, type PublicJwk } from "../identity/keys.ts";
import type { ChainEnd } from "./chain.ts";

const HEAD_TYPE = "mcpgate-head+jwt";
/** Characters of a head at the most. */
export const MAX_HEAD = 2048;

export interface Head extends ChainEnd {
  /** Nothing follows: the chain was closed in order. */
  final?: boolean | undefined;
}

const payload = v.object({
  chain: v.pipe(v.string(), v.maxLength(128)),
  n: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  hash: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  final: v.optional(v.boolean()),
});

/** A compact JWS (RFC 7515) over `{v, chain, n, hash, time, final?}`. */
export function signHead(head: Head, key: KeyPair, now = Date.now()): Promise<string> {
  const { chain, n, hash, final } = head;
  const text = JSON.stringify({ v: 1, chain, n, hash, time: new Date(now).toISOString(), ...(final ? { final } : {}) });
  return new CompactSign(new TextEncoder().encode(text))
    .setProtectedHeader({ typ: HEAD_TYPE, alg: ALGORITHM, kid: key.jkt })
    .sign(key.privateJwk);
}

/** What a head says, when one of `keys` signed it. Throws `Failure("bad_proof")` otherwise. */
export async function verifyHead(jws: string, keys: readonly PublicJwk[]): Promise<Head> {
  if (jws.length > MAX_HEAD) throw new Failure("bad_proof", "the signed head is too long");
  for (const key of keys) {
    try {
      const verified = await compactVerify(jws, key, { algorithms: [ALGORITHM] });
      if (verified.protectedHeader.typ !== HEAD_TYPE) continue;
      const { chain, n, hash, final } = v.parse(payload, JSON.parse(new TextDecoder().decode(verified.payload)));
      return { chain, n, hash, ...(final === true ? { final } : {}) };
    } catch {
      // another key may have signed it
    }
  }
  throw new Failure("bad_proof", "the head is not signed by the key of its chain");
}
