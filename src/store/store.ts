/** The store as every function of this folder takes it. */
import type { Kysely } from "kysely";
import type { Tables } from "./tables.ts";

/** The database, or one transaction on it. Made by `openStore`, closed with `destroy()`. */
export type Store = Kysely<Tables>;

/** Runs `work` in one transaction: the one that `store` already is, or a new one. */
export function inTransaction<T>(store: Store, work: (tx: Store) => Promise<T>): Promise<T> {
  return store.isTransaction ? work(store) : store.transaction().execute(work);
}
