/** Logins: which key speaks for which user, and until when. */
import { Failure } from "../errors.ts";
import { inTransaction, type Store } from "./store.ts";

export interface Login {
  /** RFC 7638 thumbprint of the key that the client made for this login. */
  jkt: string;
  user: string;
  createdAt: number;
  expiresAt: number;
}

/** Seconds that a login is good for. */
export const LOGIN_TTL = 12 * 60 * 60;
/** Rows of past logins stay this long, so that their owners hear "expired". Milliseconds. */
const KEEP_PAST = 30 * 24 * 60 * 60 * 1000;

/** Registers the key for the user, for 12 hours. A login that the key had before is replaced, whoever's it was. */
export function addLogin(store: Store, o: { jkt: string; user: string; now: number }): Promise<Login> {
  const row = { user: o.user, created_at: o.now, expires_at: o.now + LOGIN_TTL * 1000, revoked_at: null };
  return inTransaction(store, async (tx) => {
    await tx
      .deleteFrom("logins")
      .where("expires_at", "<", o.now - KEEP_PAST)
      .execute();
    await tx
      .insertInto("logins")
      .values({ jkt: o.jkt, ...row })
      .onConflict((oc) => oc.column("jkt").doUpdateSet(row))
      .execute();
    return { jkt: o.jkt, user: o.user, createdAt: row.created_at, expiresAt: row.expires_at };
  });
}

/** The login of a proven key. Throws `Failure("not_logged_in")` where there is none, `login_expired` when it is over. */
export async function checkLogin(store: Store, jkt: string, now: number): Promise<Login> {
  const row = await store.selectFrom("logins").selectAll().where("jkt", "=", jkt).executeTakeFirst();
  if (row === undefined || row.revoked_at !== null) {
    throw new Failure("not_logged_in", "not logged in", { hint: "mcpgate client login" });
  }
  if (row.expires_at <= now) {
    throw new Failure("login_expired", "the login has expired", { hint: "mcpgate client login" });
  }
  return { jkt, user: row.user, createdAt: row.created_at, expiresAt: row.expires_at };
}

/** Ends one login, or all of a user's. Answers with the thumbprints of the keys that are no good any more. */
export async function revokeLogins(
  store: Store,
  of: { jkt: string } | { user: string },
  now: number,
): Promise<string[]> {
  const rows = await store
    .updateTable("logins")
    .set({ revoked_at: now })
    .where("revoked_at", "is", null)
    .where((eb) => ("jkt" in of ? eb("jkt", "=", of.jkt) : eb("user", "=", of.user)))
    .returning("jkt")
    .execute();
  return rows.map((row) => row.jkt);
}
