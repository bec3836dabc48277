/** Join tokens that are no secret: a name, and the rules by which AWS's identities may join with it. */
import { Failure } from "../errors.ts";
import { parseTokenDocument, type TokenResource, tokenDocument } from "../identity/token-resource.ts";
import { inTransaction, type Store } from "./store.ts";

export interface StoredToken extends TokenResource {
  /** Milliseconds since the epoch. */
  createdAt: number;
  createdBy: string;
}

/** Stores a token. Throws `Failure("already_exists")` for a name that is taken where `replace` is not set. */
export function putTokenResource(
  store: Store,
  token: TokenResource,
  o: { replace: boolean; createdBy: string; now: number },
): Promise<{ token: StoredToken; created: boolean }> {
  return inTransaction(store, async (tx) => {
    const known = await findTokenResource(tx, token.name, o.now);
    if (known !== undefined && !o.replace) {
      throw new Failure("already_exists", `there is a token ${token.name} already`, { hint: "mcpgate tokens ls" });
    }
    await tx.deleteFrom("token_resources").where("name", "=", token.name).execute();
    await tx
      .insertInto("token_resources")
      .values({
        name: token.name,
        document: JSON.stringify(tokenDocument(token)),
        expires_at: token.expiresAt ?? null,
        created_at: o.now,
        created_by: o.createdBy,
      })
      .execute();
    return { token: { ...token, createdAt: o.now, createdBy: o.createdBy }, created: known === undefined };
  });
}

/** Those that still let agents in, the oldest first. */
export async function listTokenResources(store: Store, now: number): Promise<StoredToken[]> {
  const rows = await store
    .selectFrom("token_resources")
    .selectAll()
    .where((eb) => eb.or([eb("expires_at", "is", null), eb("expires_at", ">", now)]))
    .orderBy("created_at")
    .orderBy("name")
    .execute();
  return rows.map(toToken);
}

/** The token of that name, unless it has expired. */
export async function findTokenResource(store: Store, name: string, now: number): Promise<StoredToken | undefined> {
  const row = await store
    .selectFrom("token_resources")
    .selectAll()
    .where("name", "=", name)
    .where((eb) => eb.or([eb("expires_at", "is", null), eb("expires_at", ">", now)]))
    .executeTakeFirst();
  return row === undefined ? undefined : toToken(row);
}

/** Answers with whether there was one. */
export async function removeTokenResource(store: Store, name: string): Promise<boolean> {
  const row = await store.deleteFrom("token_resources").where("name", "=", name).returning("name").executeTakeFirst();
  return row !== undefined;
}

/** Checked again on its way out: a rule that this release can't read lets nobody in. */
function toToken(row: { document: string; created_at: number; created_by: string }): StoredToken {
  const token = parseTokenDocument(JSON.parse(row.document));
  if (token.method === "token") throw new Failure("data_dir", "a secret token is in the store's list of named ones");
  return { ...token, createdAt: row.created_at, createdBy: row.created_by };
}
