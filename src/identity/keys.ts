/** Ed25519 keys as JWKs: of a login, of an agent, and of the cluster that signs grants. */
import { decode, encode } from "jose/base64url";
import { calculateJwkThumbprint } from "jose/jwk/thumbprint";
import { exportJWK } from "jose/key/export";
import { generateKeyPair as generate } from "jose/key/generate/keypair";
import { Failure } from "../errors.ts";

/** The one signature algorithm: `EdDSA` (RFC 8037) with Ed25519 keys. A header that names another is refused. */
export const ALGORITHM = "EdDSA";

/** RFC 8037: an Ed25519 public key. `x`: 32 bytes, base64url in its one canonical spelling. */
export interface PublicJwk {
  kty: "OKP";
  crv: "Ed25519";
  x: string;
}

/** A public key with its private half `d`: never in a log, a message or a URL. */
export interface PrivateJwk extends PublicJwk {
  d: string;
}

export interface KeyPair {
  publicJwk: PublicJwk;
  privateJwk: PrivateJwk;
  /** RFC 7638 thumbprint (SHA-256, base64url, 43 characters): the key's name everywhere. */
  jkt: string;
}

/** A fresh key pair from the system's random source. */
export async function generateKeyPair(): Promise<KeyPair> {
  const { privateKey } = await generate(ALGORITHM, { crv: "Ed25519", extractable: true });
  return parseKeyPair(await exportJWK(privateKey));
}

/**
 * A key pair as it was written to a file (`JSON.stringify(pair.privateJwk)`, parsed again). Members beyond the key
 * itself are ignored. Throws `Failure("invalid")` on anything else; the message holds nothing of the key.
 */
export async function parseKeyPair(value: unknown): Promise<KeyPair> {
  const { kty, crv, x, d } = members(value);
  if (kty !== "OKP" || crv !== "Ed25519" || !isKeyBytes(x) || !isKeyBytes(d)) {
    throw new Failure("invalid", "not an Ed25519 private key in JWK form");
  }
  const publicJwk: PublicJwk = { kty, crv, x };
  return { publicJwk, privateJwk: { ...publicJwk, d }, jkt: await thumbprint(publicJwk) };
}

/**
 * A public key as another party sent it. Throws `Failure("bad_proof")` when it is not an Ed25519 key, is spelled in a
 * second way (one key, one thumbprint), or carries a private or symmetric part. Other members are dropped.
 */
export function parsePublicJwk(value: unknown): PublicJwk {
  const { kty, crv, x, d, k, priv } = members(value);
  if (d !== undefined || k !== undefined || priv !== undefined) {
    throw new Failure("bad_proof", "a public key must not carry a private part");
  }
  if (kty !== "OKP" || crv !== "Ed25519" || !isKeyBytes(x)) throw new Failure("bad_proof", "not an Ed25519 public key");
  return { kty, crv, x };
}

/** RFC 7638 thumbprint of a public key: SHA-256, base64url. */
export const thumbprint = (jwk: PublicJwk): Promise<string> => calculateJwkThumbprint(jwk, "sha256");

function members(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

/** 32 bytes in base64url, unpadded, with the two unused bits zero: so that two spellings of one key don't exist. */
function isKeyBytes(text: unknown): text is string {
  if (typeof text !== "string" || !/^[A-Za-z0-9_-]{43}$/.test(text)) return false;
  return encode(decode(text)) === text;
}
