/** Roles: documents as an admin wrote them, checked when they go in and again when they come out. */
import { Failure } from "../errors.ts";
import { PRESET_ROLES } from "../rbac/presets.ts";
import { parseRole, type Role } from "../rbac/role.ts";
import { checkRole } from "../rbac/role-tests.ts";
import { parseTraits, type Traits } from "../rbac/traits.ts";
import { bumpPolicyRevision, getMeta, setMeta } from "./meta.ts";
import { inTransaction, type Store } from "./store.ts";

export interface StoredRole {
  name: string;
  /** As it was given. */
  document: unknown;
  /** One of the roles that come with mcpgate: may be changed, not removed. */
  preset: boolean;
  /** Milliseconds since the epoch. */
  updatedAt: number;
}

/** Puts the preset roles into a new store. Later openings leave them as the admin has them. */
export function seedPresets(store: Store, now: number): Promise<void> {
  return inTransaction(store, async (tx) => {
    if ((await getMeta(tx, "presets_seeded")) !== undefined) return;
    for (const document of PRESET_ROLES) {
      const { name } = document.metadata;
      const row = { name, document: JSON.stringify(document), preset: 1, updated_at: now };
      await tx.insertInto("roles").values(row).execute();
    }
    await setMeta(tx, "presets_seeded", "1");
  });
}

/**
 * Stores a role's document under its `metadata.name`. Throws what `checkRole` throws (also when a test of its own fails), and `Failure("already_exists")`
 * when there is a role of that name and `replace` is not set.
 */
export function putRole(
  store: Store,
  document: unknown,
  o: { replace: boolean; now: number },
): Promise<{ role: StoredRole; created: boolean }> {
  const { name } = checkRole(document).metadata;
  return inTransaction(store, async (tx) => {
    const row = { document: JSON.stringify(document), updated_at: o.now };
    const known = await tx.selectFrom("roles").select("name").where("name", "=", name).executeTakeFirst();
    if (known === undefined) {
      await tx
        .insertInto("roles")
        .values({ name, preset: 0, ...row })
        .execute();
    } else if (o.replace) {
      await tx.updateTable("roles").set(row).where("name", "=", name).execute();
    } else {
      throw new Failure("already_exists", `there is a role ${name} already`, { hint: `mcpgate get role/${name}` });
    }
    await bumpPolicyRevision(tx);
    return { role: await getRole(tx, name), created: known === undefined };
  });
}

/** Throws `Failure("not_found")`. */
export async function getRole(store: Store, name: string): Promise<StoredRole> {
  const row = await store.selectFrom("roles").selectAll().where("name", "=", name).executeTakeFirst();
  if (row === undefined) throw noSuchRole(name);
  return toRole(row);
}

/** All roles by name. */
export async function listRoles(store: Store): Promise<StoredRole[]> {
  return (await store.selectFrom("roles").selectAll().orderBy("name").execute()).map(toRole);
}

/** Throws `Failure("not_found")`, or `conflict` for a preset and while users hold the role. */
export function removeRole(store: Store, name: string): Promise<void> {
  return inTransaction(store, async (tx) => {
    const { preset } = await getRole(tx, name);
    if (preset) throw new Failure("conflict", `${name} is a preset role and stays`);
    const holders = await tx.selectFrom("user_roles").select("user").where("role", "=", name).orderBy("user").execute();
    if (holders.length > 0) {
      const users = holders.slice(0, 5).map((row) => row.user);
      const more = holders.length > users.length ? ` and ${holders.length - users.length} more` : "";
      throw new Failure("conflict", `users hold the role ${name}: ${users.join(", ")}${more}`, {
        hint: `mcpgate users update ${users[0]} --set-roles=…`,
      });
    }
    await tx.deleteFrom("roles").where("name", "=", name).execute();
    await bumpPolicyRevision(tx);
  });
}

/** All that decides what a user may do. */
export interface Subject {
  name: string;
  /** In the order in which they were given. */
  roles: Role[];
  traits: Traits;
}

/**
 * The user with what decides what they may do. Throws `Failure("not_found")` for no such user; a document that this
 * release cannot read throws too, for it may hold a deny rule: nothing is allowed on the strength of the rest.
 */
export async function loadSubject(store: Store, user: string): Promise<Subject> {
  const rows = await store
    .selectFrom("users")
    .leftJoin("user_roles", "user_roles.user", "users.name")
    .leftJoin("roles", "roles.name", "user_roles.role")
    .select(["users.traits", "roles.document"])
    .where("users.name", "=", user)
    .orderBy("user_roles.position")
    .execute();
  const [first] = rows;
  if (first === undefined) throw new Failure("not_found", `there is no user ${user}`, { hint: "mcpgate users ls" });
  const roles = rows.flatMap(({ document }) => (document === null ? [] : [roleOf(document)]));
  return { name: user, roles, traits: parseTraits(JSON.parse(first.traits)) };
}

/** By their documents' texts, so that none is ever out of date. A role's patterns take longer to compile than all else here. */
const parsed = new Map<string, Role>();
const [MAX_PARSED, MAX_REMEMBERED_CHARS] = [64, 32 * 1024];

function roleOf(document: string): Role {
  const known = parsed.get(document);
  if (known !== undefined) return known;
  const role = parseRole(JSON.parse(document));
  if (document.length > MAX_REMEMBERED_CHARS) return role;
  if (parsed.size >= MAX_PARSED) parsed.clear();
  parsed.set(document, role);
  return role;
}

function toRole(row: { name: string; document: string; preset: number; updated_at: number }): StoredRole {
  return {
    name: row.name,
    document: JSON.parse(row.document) as unknown,
    preset: row.preset === 1,
    updatedAt: row.updated_at,
  };
}

function noSuchRole(name: string): Failure {
  return new Failure("not_found", `there is no role ${name}`, { hint: "mcpgate get role" });
}
