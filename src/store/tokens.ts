/** Join tokens: multi-use until they expire, good for one type of service, kept hashed. */
import { Failure } from "../errors.ts";
import { hashSecret, isSecret, newSecret } from "./secret.ts";
import type { Store } from "./store.ts";

export type TokenType = "app";

export interface Token {
  /** First 16 hexadecimal digits of the SHA-256 of the token: names it, and gives nothing away. */
  id: string;
  type: TokenType;
  createdAt: number;
  expiresAt: number;
  createdBy: string;
}

/** Seconds. */
export const TOKEN_TTL = { default: 30 * 60, min: 1, max: 24 * 60 * 60 } as const;
const ID_LENGTH = 16;
/** Expired tokens stay this long, so that a late agent hears "expired" and not "unknown". Milliseconds. */
const KEEP_EXPIRED = 7 * 24 * 60 * 60 * 1000;

/**
 * Makes a token; `secret` is told here and never again. `ttl`: seconds, 1 to 86 400. `secret`: one that was made elsewhere
 * (`isSecret`). Throws `Failure("invalid")`, and `Failure("already_exists")` for a secret that is there already.
 */
export async function addToken(
  store: Store,
  o: { type: TokenType; ttl?: number | undefined; secret?: string | undefined; createdBy: string; now: number },
): Promise<Token & { secret: string }> {
  const ttl = o.ttl ?? TOKEN_TTL.default;
  if (!(ttl >= TOKEN_TTL.min && ttl <= TOKEN_TTL.max)) {
    throw new Failure("invalid", `a token lives ${TOKEN_TTL.min} second to 24 hours, not ${ttl} seconds`, {
      hint: "mcpgate tokens add --type=app --ttl=30m",
    });
  }
  await store
    .deleteFrom("tokens")
    .where("expires_at", "<", o.now - KEEP_EXPIRED)
    .execute();
  const secret = o.secret ?? newSecret();
  const hash = hashSecret(secret);
  const known = await store.selectFrom("tokens").select("id").where("hash", "=", hash).executeTakeFirst();
  if (known !== undefined) {
    throw new Failure("already_exists", `there is a token ${known.id} with this secret already`, {
      hint: "mcpgate tokens ls",
    });
  }
  const token: Token = {
    id: hash.slice(0, ID_LENGTH),
    type: o.type,
    createdAt: o.now,
    expiresAt: o.now + ttl * 1000,
    createdBy: o.createdBy,
  };
  await store
    .insertInto("tokens")
    .values({
      id: token.id,
      hash,
      type: token.type,
      created_at: token.createdAt,
      expires_at: token.expiresAt,
      created_by: token.createdBy,
    })
    .execute();
  return { ...token, secret };
}

/** The tokens that still let agents in, the oldest first. */
export async function listTokens(store: Store, now: number): Promise<Token[]> {
  const rows = await store
    .selectFrom("tokens")
    .selectAll()
    .where("expires_at", ">", now)
    .orderBy("created_at")
    .orderBy("id")
    .execute();
  return rows.map(toToken);
}

/** Removes a token, named by itself or by its id; answers with what it was. Throws `Failure("not_found")`. */
export async function removeToken(store: Store, tokenOrId: string): Promise<Token> {
  const id = isSecret(tokenOrId) ? hashSecret(tokenOrId).slice(0, ID_LENGTH) : tokenOrId;
  const row = await store.deleteFrom("tokens").where("id", "=", id).returningAll().executeTakeFirst();
  if (row === undefined) throw new Failure("not_found", "no such token", { hint: "mcpgate tokens ls" });
  return toToken(row);
}

/** The token behind `secret`. Throws `Failure("token_invalid")` when it is unknown, of another type or expired. */
export async function checkToken(store: Store, secret: string, o: { type: TokenType; now: number }): Promise<Token> {
  const hint = "make a new one on the proxy's host: mcpgate tokens add --type=app";
  // by its hash: the time that the look-up takes tells nothing about the token
  const row = isSecret(secret)
    ? await store.selectFrom("tokens").selectAll().where("hash", "=", hashSecret(secret)).executeTakeFirst()
    : undefined;
  if (row === undefined || row.type !== o.type) {
    throw new Failure("token_invalid", "the join token is not valid, or was removed", { hint });
  }
  if (row.expires_at <= o.now) throw new Failure("token_invalid", "the join token has expired", { hint });
  return toToken(row);
}

function toToken(row: { id: string; created_at: number; expires_at: number; created_by: string }): Token {
  return { id: row.id, type: "app", createdAt: row.created_at, expiresAt: row.expires_at, createdBy: row.created_by };
}
