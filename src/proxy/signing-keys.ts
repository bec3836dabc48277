/** The cluster's signing keys: what grants and the audit log are signed with. Made at the proxy's first start. */
import type { JWK } from "jose";
import { generateKeyPair, type KeyPair, parseKeyPair } from "../identity/keys.ts";
import { ensureKeys } from "../store/keys.ts";
import type { Store } from "../store/store.ts";

export interface SigningKeys {
  /** The one to sign with. */
  current: KeyPair;
  /** All, as agents and clients pin them: JWKs. */
  public: JWK[];
}

export async function loadSigningKeys(store: Store, now: number): Promise<SigningKeys> {
  const keys = await ensureKeys(store, "signing", makeKey, now);
  return {
    current: await parseKeyPair(JSON.parse(keys[0]?.private ?? "null")),
    public: keys.map((key) => JSON.parse(key.public)),
  };
}

async function makeKey(): Promise<{ id: string; public: string; private: string }> {
  const pair = await generateKeyPair();
  return { id: pair.jkt, public: JSON.stringify(pair.publicJwk), private: JSON.stringify(pair.privateJwk) };
}
