/** Users, the roles they hold, their traits, and the invites with which they set their passwords. */
import { Failure } from "../errors.ts";
import { parseTraits, type Traits } from "../rbac/traits.ts";
import { bumpPolicyRevision } from "./meta.ts";
import { hashSecret, isSecret, newSecret } from "./secret.ts";
import { inTransaction, type Store } from "./store.ts";

export interface User {
  name: string;
  /** In the order in which they were given. */
  roles: string[];
  traits: Traits;
  /** False until an invite was accepted: there is no password yet. */
  active: boolean;
  /** Milliseconds since the epoch. */
  createdAt: number;
}

/** Seconds that an invite is good for. */
export const INVITE_TTL = 60 * 60;

/** What `updateUser` changes: the roles as a whole, the traits one by one; `null` takes a trait away. */
export interface UserChange {
  roles?: readonly string[] | undefined;
  traits?: Readonly<Record<string, readonly string[] | null>> | undefined;
}

/** Adds a user without a password. Throws `Failure("already_exists")`, or `invalid` for a role that isn't there. */
export function addUser(
  store: Store,
  o: { name: string; roles: readonly string[]; traits?: Traits | undefined; now: number },
): Promise<User> {
  const traits = JSON.stringify(parseTraits(o.traits ?? {}));
  return inTransaction(store, async (tx) => {
    const row = await tx
      .insertInto("users")
      .values({ name: o.name, password_hash: null, created_at: o.now, traits })
      .onConflict((oc) => oc.column("name").doNothing())
      .returning("name")
      .executeTakeFirst();
    if (row === undefined) {
      throw new Failure("already_exists", `there is a user ${o.name} already`, { hint: "mcpgate users ls" });
    }
    await giveRoles(tx, o.name, o.roles);
    await bumpPolicyRevision(tx);
    return getUser(tx, o.name);
  });
}

/** Throws `Failure("not_found")`. */
export async function getUser(store: Store, name: string): Promise<User> {
  const row = await store
    .selectFrom("users")
    .select(["name", "password_hash", "created_at", "traits"])
    .where("name", "=", name)
    .executeTakeFirst();
  if (row === undefined) throw noSuchUser(name);
  return toUser(row, await rolesOf(store, name));
}

/** All users by name. */
export async function listUsers(store: Store): Promise<User[]> {
  const users = await store
    .selectFrom("users")
    .select(["name", "password_hash", "created_at", "traits"])
    .orderBy("name")
    .execute();
  const held = await store.selectFrom("user_roles").selectAll().orderBy("position").execute();
  const roles = Map.groupBy(held, (row) => row.user);
  return users.map((row) =>
    toUser(
      row,
      (roles.get(row.name) ?? []).map((r) => r.role),
    ),
  );
}

/** Changes roles or traits. Throws `Failure("not_found")`, or `invalid` for a role that isn't there or a broken trait. */
export function updateUser(store: Store, name: string, { roles, traits }: UserChange): Promise<User> {
  return inTransaction(store, async (tx) => {
    const user = await getUser(tx, name);
    if (roles !== undefined) {
      await tx.deleteFrom("user_roles").where("user", "=", name).execute();
      await giveRoles(tx, name, roles);
    }
    if (traits !== undefined) {
      const kept = Object.entries({ ...user.traits, ...traits }).filter(([, values]) => values !== null);
      const changed = JSON.stringify(parseTraits(Object.fromEntries(kept)));
      await tx.updateTable("users").set({ traits: changed }).where("name", "=", name).execute();
    }
    await bumpPolicyRevision(tx);
    return getUser(tx, name);
  });
}

/** Removes the user with invites and logins. Throws `Failure("not_found")`. */
export function removeUser(store: Store, name: string): Promise<void> {
  return inTransaction(store, async (tx) => {
    const row = await tx.deleteFrom("users").where("name", "=", name).returning("name").executeTakeFirst();
    if (row === undefined) throw noSuchUser(name);
    await bumpPolicyRevision(tx);
  });
}

/** argon2id in PHC form; undefined where there is no such user, or no password yet. */
export async function passwordHash(store: Store, name: string): Promise<string | undefined> {
  const row = await store.selectFrom("users").select("password_hash").where("name", "=", name).executeTakeFirst();
  return row?.password_hash ?? undefined;
}

/** A new invite; an older one of the same user is void. Throws `Failure("not_found")`. */
export function addInvite(store: Store, user: string, now: number): Promise<{ secret: string; expiresAt: number }> {
  return inTransaction(store, async (tx) => {
    await getUser(tx, user);
    const secret = newSecret();
    const expiresAt = now + INVITE_TTL * 1000;
    await tx
      .deleteFrom("invites")
      .where((eb) => eb.or([eb("user", "=", user), eb("expires_at", "<=", now)]))
      .execute();
    await tx
      .insertInto("invites")
      .values({ hash: hashSecret(secret), user, expires_at: expiresAt })
      .execute();
    return { secret, expiresAt };
  });
}

/** Whose invite this is. Throws `Failure("token_invalid")` when it is unknown, used or expired. */
export async function checkInvite(store: Store, secret: string, now: number): Promise<string> {
  const row = isSecret(secret)
    ? await store.selectFrom("invites").selectAll().where("hash", "=", hashSecret(secret)).executeTakeFirst()
    : undefined;
  if (row === undefined || row.expires_at <= now) {
    throw new Failure("token_invalid", "the invite is not valid: it was used, has expired or was replaced", {
      hint: "ask your mcpgate admin for a new one",
    });
  }
  return row.user;
}

/** Uses up the invite and sets the password; answers with the user. Throws as `checkInvite`. */
export function acceptInvite(store: Store, secret: string, newHash: string, now: number): Promise<string> {
  return inTransaction(store, async (tx) => {
    const user = await checkInvite(tx, secret, now);
    await tx.deleteFrom("invites").where("user", "=", user).execute();
    await tx.updateTable("users").set({ password_hash: newHash }).where("name", "=", user).execute();
    return user;
  });
}

async function giveRoles(tx: Store, user: string, roles: readonly string[]): Promise<void> {
  const wanted = [...new Set(roles)];
  if (wanted.length === 0) {
    throw new Failure("invalid", "a user needs at least one role", {
      hint: `mcpgate users update ${user} --set-roles=mcp-user`,
    });
  }
  const known = await tx.selectFrom("roles").select("name").where("name", "in", wanted).execute();
  const missing = wanted.filter((name) => !known.some((role) => role.name === name));
  if (missing.length > 0) {
    throw new Failure("invalid", `there is no role ${missing.join(", ")}`, { hint: "mcpgate get role" });
  }
  await tx
    .insertInto("user_roles")
    .values(wanted.map((role, position) => ({ user, role, position })))
    .execute();
}

async function rolesOf(store: Store, user: string): Promise<string[]> {
  const rows = await store
    .selectFrom("user_roles")
    .select("role")
    .where("user", "=", user)
    .orderBy("position")
    .execute();
  return rows.map((row) => row.role);
}

interface Row {
  name: string;
  password_hash: string | null;
  created_at: number;
  traits: string;
}

function toUser(row: Row, roles: string[]): User {
  return {
    name: row.name,
    roles,
    traits: parseTraits(JSON.parse(row.traits)),
    active: row.password_hash !== null,
    createdAt: row.created_at,
  };
}

function noSuchUser(name: string): Failure {
  return new Failure("not_found", `there is no user ${name}`, { hint: "mcpgate users ls" });
}
