/** Single values of the cluster. */
import { inTransaction, type Store } from "./store.ts";

export async function getMeta(store: Store, key: string): Promise<string | undefined> {
  const row = await store.selectFrom("meta").select("value").where("key", "=", key).executeTakeFirst();
  return row?.value;
}

export async function setMeta(store: Store, key: string, value: string): Promise<void> {
  await store
    .insertInto("meta")
    .values({ key, value })
    .onConflict((oc) => oc.column("key").doUpdateSet({ value }))
    .execute();
}

/** Counts every change of roles and of who holds them; a grant carries the number that it was made under. */
export async function policyRevision(store: Store): Promise<number> {
  return Number((await getMeta(store, "policy_revision")) ?? "0");
}

/** To be called in the transaction that changes roles or users. */
export function bumpPolicyRevision(store: Store): Promise<number> {
  return inTransaction(store, async (tx) => {
    const next = (await policyRevision(tx)) + 1;
    await setMeta(tx, "policy_revision", String(next));
    return next;
  });
}
