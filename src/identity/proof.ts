/**
 * Proofs of possession, shaped as RFC 9449 (DPoP): a JWT that the holder of a key signs for one request. It names the
 * method, the URL (of `public_addr`) and a nonce that the verifier issued, so a copied proof is worth nothing. No clock is
 * compared: a nonce's age is measured by the side that issued it, so a wrong clock locks nobody out. `iat` is there because
 * the RFC requires it, and is ignored.
 */
import { compactVerify } from "jose/jws/compact/verify";
import { SignJWT } from "jose/jwt/sign";
import { Failure } from "../errors.ts";
import { ALGORITHM, type KeyPair, type PublicJwk, parsePublicJwk, thumbprint } from "./keys.ts";

export const PROOF_TYPE = "dpop+jwt";
/** The longest proof that is looked at, in characters. */
export const MAX_PROOF_LENGTH = 4096;
const MAX_CLAIMS = 16;
const MAX_CLAIM_LENGTH = 1024;
const CLAIM_NAME = /^[a-z][a-z0-9_]{0,31}$/;
const RESERVED = new Set(["jti", "htm", "htu", "iat", "nonce", "iss", "sub", "aud", "exp", "nbf", "ath"]);

export interface ProofRequest {
  key: KeyPair;
  /** HTTP method, upper case: `GET` for a WebSocket's handshake. */
  method: string;
  /** The absolute URL as the verifier knows it; query and fragment don't count, `wss:` counts as `https:`. */
  url: string;
  /** As the verifier issued it. */
  nonce: string;
  /** What else the key's holder says, such as `sid` or `app`: names `[a-z][a-z0-9_]*`, at most 16. */
  claims?: Record<string, string>;
}

export interface ProofCheck {
  method: string;
  /** This verifier's own idea of the URL: built from `public_addr`, never from the request's `Host`. */
  url: string;
  /** The nonce of this connection, or the one that takes it: called last, once, when all else holds. */
  nonce: string | ((nonce: string) => boolean);
  /** Thumbprint of the one key that may have signed; without it any key may, and the caller looks it up. */
  jkt?: string;
}

export interface Proof {
  jkt: string;
  publicJwk: PublicJwk;
  claims: Record<string, string>;
}

/** Signs a proof. Throws `Failure("internal")` on a claim that a verifier would refuse. */
export async function signProof(request: ProofRequest): Promise<string> {
  const { key, method, url, nonce, claims = {} } = request;
  const names = Object.keys(claims);
  if (names.length > MAX_CLAIMS || !names.every((name) => isClaim(name, claims[name]))) {
    throw new Failure("internal", "a proof was asked to carry a claim that no verifier accepts");
  }
  const payload = { ...claims, jti: crypto.randomUUID(), htm: method, htu: proofUrl(url), nonce };
  const proof = await new SignJWT(payload)
    .setProtectedHeader({ typ: PROOF_TYPE, alg: ALGORITHM, jwk: key.publicJwk })
    .setIssuedAt()
    .sign(key.privateJwk);
  if (proof.length > MAX_PROOF_LENGTH) throw new Failure("internal", "a proof's claims are too long");
  return proof;
}

/**
 * Checks a proof and says whose key signed it. Any fault throws `Failure("bad_proof")`. That the key belongs to a login or
 * an agent is the caller's question.
 */
export async function verifyProof(jwt: unknown, check: ProofCheck): Promise<Proof> {
  if (typeof jwt !== "string" || jwt.length > MAX_PROOF_LENGTH) throw bad("is missing or too long");
  let publicJwk: PublicJwk | undefined;
  let payload: Record<string, unknown>;
  try {
    const verified = await compactVerify(
      jwt,
      (header) => {
        if (header.typ !== PROOF_TYPE) throw bad("is of another type");
        if (header.crit !== undefined) throw bad("asks for extensions");
        publicJwk = parsePublicJwk(header.jwk);
        return publicJwk;
      },
      { algorithms: [ALGORITHM] },
    );
    payload = parsePayload(verified.payload);
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw bad("does not verify", error);
  }
  if (publicJwk === undefined) throw bad("carries no key");
  const { jti, iat, htm, htu, nonce, ...rest } = payload;
  if (typeof jti !== "string" || jti === "" || typeof iat !== "number") throw bad("lacks jti or iat");
  if (htm !== check.method) throw bad("is for another method");
  if (typeof htu !== "string" || parseProofUrl(htu) !== proofUrl(check.url)) throw bad("is for another address");
  const claims = parseClaims(rest);
  const jkt = await thumbprint(publicJwk);
  if (check.jkt !== undefined && check.jkt !== jkt) throw bad("was signed by another key");
  const known =
    typeof check.nonce === "string" ? nonce === check.nonce : typeof nonce === "string" && check.nonce(nonce);
  if (!known) throw bad("has a nonce that is unknown, used or too old");
  return { jkt, publicJwk, claims };
}

/** `htu` of RFC 9449, section 4.2: the URL without query and fragment, normalised (RFC 3986, 6.2.2 and 6.2.3). */
export function proofUrl(url: string): string {
  const { protocol, host, pathname } = new URL(url);
  const scheme = protocol === "wss:" ? "https:" : protocol === "ws:" ? "http:" : protocol;
  // `host` of a ws URL has lost port 443 or 80 as an https or http one does
  return `${scheme}//${host}${pathname}`;
}

function parseProofUrl(htu: string): string | undefined {
  return URL.canParse(htu) ? proofUrl(htu) : undefined;
}

function parsePayload(bytes: Uint8Array): Record<string, unknown> {
  const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw bad("is not a set of claims");
  return value as Record<string, unknown>;
}

function parseClaims(rest: Record<string, unknown>): Record<string, string> {
  const claims: Record<string, string> = {};
  const entries = Object.entries(rest);
  if (entries.length > MAX_CLAIMS) throw bad("has too many claims");
  for (const [name, value] of entries) {
    if (!isClaim(name, value)) throw bad("has a claim of a wrong form");
    claims[name] = value;
  }
  return claims;
}

function isClaim(name: string, value: unknown): value is string {
  return typeof value === "string" && value.length <= MAX_CLAIM_LENGTH && CLAIM_NAME.test(name) && !RESERVED.has(name);
}

function bad(fault: string, cause?: unknown): Failure {
  return new Failure("bad_proof", `the proof of possession ${fault}`, { cause });
}
