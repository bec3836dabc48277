/** Key pairs of the cluster itself: what signs grants, the CA of our own and the proxy's TLS key. */
import { inTransaction, type Store } from "./store.ts";

export type KeyPurpose = "signing" | "ca" | "tls";

export interface StoredKey {
  /** Tells keys of one purpose apart; for signing keys the RFC 7638 thumbprint. */
  id: string;
  purpose: KeyPurpose;
  /** JWK as JSON, or PEM: as its owner put it in. */
  public: string;
  private: string;
  /** Milliseconds since the epoch. */
  createdAt: number;
}

export type NewKey = Pick<StoredKey, "id" | "public" | "private">;

/** The keys of one purpose, the newest first: that one signs, the others are still good to verify with. */
export async function listKeys(store: Store, purpose: KeyPurpose): Promise<StoredKey[]> {
  const rows = await store
    .selectFrom("keys")
    .selectAll()
    .where("purpose", "=", purpose)
    .orderBy("created_at", "desc")
    .orderBy("id")
    .execute();
  return rows.map((row) => ({
    id: row.id,
    purpose,
    public: row.public,
    private: row.private,
    createdAt: row.created_at,
  }));
}

/** Adds a key; one of the same purpose and id is replaced. */
export async function putKey(store: Store, purpose: KeyPurpose, key: NewKey, now: number): Promise<void> {
  const rest = { public: key.public, private: key.private, created_at: now };
  await store
    .insertInto("keys")
    .values({ id: key.id, purpose, ...rest })
    .onConflict((oc) => oc.columns(["purpose", "id"]).doUpdateSet(rest))
    .execute();
}

/** The keys of one purpose; where there is none, `make` makes the first. */
export async function ensureKeys(
  store: Store,
  purpose: KeyPurpose,
  make: () => Promise<NewKey>,
  now: number,
): Promise<StoredKey[]> {
  const known = await listKeys(store, purpose);
  if (known.length > 0) return known;
  const made = await make();
  return inTransaction(store, async (tx) => {
    // another opener may have been faster; its key stands
    if ((await listKeys(tx, purpose)).length === 0) await putKey(tx, purpose, made, now);
    return listKeys(tx, purpose);
  });
}
