/** Locks in the store. One whose time is over counts no more, and is removed when the next one is made. */
import type { Selectable } from "kysely";
import { Failure } from "../errors.ts";
import { LOCK_TARGETS, type Lock, type LockSpec, type LockTarget } from "../rbac/lock.ts";
import { bumpPolicyRevision } from "./meta.ts";
import { inTransaction, type Store } from "./store.ts";
import type { Tables } from "./tables.ts";

export interface StoredLock extends Lock {
  /** Milliseconds since the epoch. */
  createdAt: number;
  createdBy: string;
}

/**
 * Stores a lock; one without a name gets a UUID. Throws `Failure("already_exists")` for a name that is taken where
 * `replace` is not set.
 */
export function putLock(
  store: Store,
  lock: LockSpec,
  o: { replace: boolean; createdBy: string; now: number },
): Promise<{ lock: StoredLock; created: boolean }> {
  const name = lock.name ?? crypto.randomUUID();
  return inTransaction(store, async (tx) => {
    await tx.deleteFrom("locks").where("expires_at", "<=", o.now).execute();
    const known = await tx.selectFrom("locks").select("name").where("name", "=", name).executeTakeFirst();
    if (known !== undefined && !o.replace) {
      throw new Failure("already_exists", `there is a lock ${name} already`, { hint: "mcpgate locks ls" });
    }
    const row = {
      name,
      target_kind: lock.kind,
      target: lock.target,
      message: lock.message,
      created_at: o.now,
      created_by: o.createdBy,
      expires_at: lock.expiresAt ?? null,
    };
    await tx.deleteFrom("locks").where("name", "=", name).execute();
    await tx.insertInto("locks").values(row).execute();
    await bumpPolicyRevision(tx);
    return { lock: toLock(row), created: known === undefined };
  });
}

/** The locks that are in force, the oldest first. */
export async function activeLocks(store: Store, now: number): Promise<StoredLock[]> {
  const rows = await store
    .selectFrom("locks")
    .selectAll()
    .where((eb) => eb.or([eb("expires_at", "is", null), eb("expires_at", ">", now)]))
    .orderBy("created_at")
    .orderBy("name")
    .execute();
  return rows.map(toLock);
}

/** A lock that is in force. Throws `Failure("not_found")`. */
export async function getLock(store: Store, name: string, now: number): Promise<StoredLock> {
  const lock = (await activeLocks(store, now)).find((each) => each.name === name);
  if (lock === undefined) throw noSuchLock(name);
  return lock;
}

/** Answers with what was removed. Throws `Failure("not_found")`. */
export function removeLock(store: Store, name: string): Promise<StoredLock> {
  return inTransaction(store, async (tx) => {
    const row = await tx.deleteFrom("locks").where("name", "=", name).returningAll().executeTakeFirst();
    if (row === undefined) throw noSuchLock(name);
    await bumpPolicyRevision(tx);
    return toLock(row);
  });
}

type Row = Selectable<Tables["locks"]>;

function toLock(row: Row): StoredLock {
  return {
    name: row.name,
    kind: kindOf(row.target_kind),
    target: row.target,
    message: row.message,
    createdAt: row.created_at,
    createdBy: row.created_by,
    expiresAt: row.expires_at ?? undefined,
  };
}

/** A kind of a newer release can't be enforced, so nothing goes on without it. */
function kindOf(text: string): LockTarget {
  const kind = LOCK_TARGETS.find((known) => known === text);
  if (kind === undefined) throw new Failure("data_dir", `a lock of the unknown kind ${text} is in the store`);
  return kind;
}

const noSuchLock = (name: string): Failure =>
  new Failure("not_found", `there is no lock ${name}`, { hint: "mcpgate locks ls" });
