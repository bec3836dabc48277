/** Every change of the tables, in order. A migration that was released is never edited. */
import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** Kysely hands migrations a database of unknown tables. */
type Schema = Kysely<unknown>;

export const migrations: Record<string, Migration> = {
  "0001_first": { up: first },
  "0002_tool_pins": { up: toolPins },
  "0003_join_methods": { up: joinMethods },
  "0004_app_resources": { up: appResources },
};

async function first(db: Schema): Promise<void> {
  await db.schema
    .createTable("meta")
    .addColumn("key", "text", (c) => c.primaryKey())
    .addColumn("value", "text", (c) => c.notNull())
    .execute();

  await db.schema
    .createTable("keys")
    .addColumn("id", "text", (c) => c.notNull())
    .addColumn("purpose", "text", (c) => c.notNull())
    .addColumn("public", "text", (c) => c.notNull())
    .addColumn("private", "text", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addPrimaryKeyConstraint("keys_pk", ["purpose", "id"])
    .execute();

  await db.schema
    .createTable("tokens")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("hash", "text", (c) => c.notNull().unique())
    .addColumn("type", "text", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("expires_at", "bigint", (c) => c.notNull())
    .addColumn("created_by", "text", (c) => c.notNull())
    .execute();

  await db.schema
    .createTable("agents")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("name", "text", (c) => c.notNull().unique())
    .addColumn("jkt", "text", (c) => c.notNull().unique())
    .addColumn("public_jwk", "text", (c) => c.notNull())
    .addColumn("joined_at", "bigint", (c) => c.notNull())
    .addColumn("last_seen_at", "bigint")
    .execute();

  await db.schema
    .createTable("apps")
    .addColumn("name", "text", (c) => c.notNull())
    .addColumn("agent_id", "text", (c) => c.notNull().references("agents.id").onDelete("cascade"))
    .addColumn("labels", "text", (c) => c.notNull())
    .addColumn("description", "text", (c) => c.notNull())
    .addColumn("type", "text", (c) => c.notNull())
    .addColumn("shared", "integer", (c) => c.notNull())
    .addColumn("enrolled_at", "bigint", (c) => c.notNull())
    .addPrimaryKeyConstraint("apps_pk", ["name", "agent_id"])
    .execute();
  await db.schema.createIndex("apps_agent").on("apps").column("agent_id").execute();

  await db.schema
    .createTable("users")
    .addColumn("name", "text", (c) => c.primaryKey())
    .addColumn("password_hash", "text")
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("traits", "text", (c) => c.notNull())
    .execute();

  await db.schema
    .createTable("roles")
    .addColumn("name", "text", (c) => c.primaryKey())
    .addColumn("document", "text", (c) => c.notNull())
    .addColumn("preset", "integer", (c) => c.notNull())
    .addColumn("updated_at", "bigint", (c) => c.notNull())
    .execute();

  await db.schema
    .createTable("user_roles")
    .addColumn("user", "text", (c) => c.notNull().references("users.name").onDelete("cascade"))
    .addColumn("role", "text", (c) => c.notNull().references("roles.name"))
    .addColumn("position", "integer", (c) => c.notNull())
    .addPrimaryKeyConstraint("user_roles_pk", ["user", "role"])
    .execute();
  await db.schema.createIndex("user_roles_role").on("user_roles").column("role").execute();

  await db.schema
    .createTable("invites")
    .addColumn("hash", "text", (c) => c.primaryKey())
    .addColumn("user", "text", (c) => c.notNull().unique().references("users.name").onDelete("cascade"))
    .addColumn("expires_at", "bigint", (c) => c.notNull())
    .execute();

  await db.schema
    .createTable("logins")
    .addColumn("jkt", "text", (c) => c.primaryKey())
    .addColumn("user", "text", (c) => c.notNull().references("users.name").onDelete("cascade"))
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("expires_at", "bigint", (c) => c.notNull())
    .addColumn("revoked_at", "bigint")
    .execute();
  await db.schema.createIndex("logins_user").on("logins").column("user").execute();

  await db.schema
    .createTable("locks")
    .addColumn("name", "text", (c) => c.primaryKey())
    .addColumn("target_kind", "text", (c) => c.notNull())
    .addColumn("target", "text", (c) => c.notNull())
    .addColumn("message", "text", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("created_by", "text", (c) => c.notNull())
    .addColumn("expires_at", "bigint")
    .execute();

  await db.schema
    .createTable("sessions")
    .addColumn("sid", "text", (c) => c.primaryKey())
    .addColumn("user", "text", (c) => c.notNull())
    .addColumn("app", "text", (c) => c.notNull())
    .addColumn("agent_id", "text", (c) => c.notNull())
    .addColumn("agent", "text", (c) => c.notNull())
    .addColumn("client_jkt", "text", (c) => c.notNull())
    .addColumn("remote", "text", (c) => c.notNull())
    .addColumn("started_at", "bigint", (c) => c.notNull())
    .addColumn("last_seen_at", "bigint", (c) => c.notNull())
    .addColumn("ended_at", "bigint")
    .addColumn("end_reason", "text")
    .execute();
  await db.schema.createIndex("sessions_ended").on("sessions").column("ended_at").execute();

  await db.schema
    .createTable("events")
    .addColumn("seq", "integer", (c) => c.primaryKey().autoIncrement())
    .addColumn("uid", "text", (c) => c.notNull().unique())
    .addColumn("time", "text", (c) => c.notNull())
    .addColumn("event", "text", (c) => c.notNull())
    .addColumn("user", "text")
    .addColumn("app", "text")
    .addColumn("agent", "text")
    .addColumn("sid", "text")
    .addColumn("body", "text", (c) => c.notNull())
    .addColumn("stored_at", "bigint", (c) => c.notNull())
    .addColumn("chain", "text", (c) => c.notNull())
    .addColumn("n", "bigint", (c) => c.notNull())
    .addColumn("verdict", "text")
    .addUniqueConstraint("events_place", ["chain", "n"])
    .execute();
  await db.schema.createIndex("events_time").on("events").columns(["time", "seq"]).execute();
  for (const column of ["event", "user", "app", "agent", "sid"]) {
    await db.schema.createIndex(`events_${column}`).on("events").columns([column, "time"]).execute();
  }
  await db.schema
    .createTable("chains")
    .addColumn("chain", "text", (c) => c.primaryKey())
    .addColumn("kind", "text", (c) => c.notNull())
    .addColumn("agent_id", "text")
    .addColumn("owner", "text", (c) => c.notNull())
    .addColumn("public_jwk", "text")
    .addColumn("n", "bigint", (c) => c.notNull())
    .addColumn("hash", "text", (c) => c.notNull())
    .addColumn("head", "text")
    .addColumn("head_n", "bigint", (c) => c.notNull())
    .addColumn("retired_n", "bigint", (c) => c.notNull())
    .addColumn("retired_hash", "text")
    .addColumn("checkpoint_n", "bigint", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .execute();
}

async function toolPins(db: Schema): Promise<void> {
  await db.schema
    .createTable("tool_pins")
    .addColumn("agent_id", "text", (c) => c.notNull().references("agents.id").onDelete("cascade"))
    .addColumn("app", "text", (c) => c.notNull())
    .addColumn("tool", "text", (c) => c.notNull())
    .addColumn("enforce", "integer", (c) => c.notNull())
    .addColumn("pinned", "text")
    .addColumn("pending", "text")
    .addColumn("diff", "text", (c) => c.notNull())
    .addColumn("approved", "text")
    .addColumn("approved_by", "text")
    .addColumn("approved_at", "bigint")
    .addColumn("reported_at", "bigint", (c) => c.notNull())
    .addPrimaryKeyConstraint("tool_pins_pk", ["agent_id", "app", "tool"])
    .execute();
}

async function joinMethods(db: Schema): Promise<void> {
  await db.schema
    .createTable("token_resources")
    .addColumn("name", "text", (c) => c.primaryKey())
    .addColumn("document", "text", (c) => c.notNull())
    .addColumn("expires_at", "bigint")
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("created_by", "text", (c) => c.notNull())
    .execute();

  await db.schema
    .createTable("instances")
    .addColumn("account", "text", (c) => c.notNull())
    .addColumn("instance", "text", (c) => c.notNull())
    .addColumn("jkt", "text", (c) => c.notNull())
    .addColumn("joined_at", "bigint", (c) => c.notNull())
    .addPrimaryKeyConstraint("instances_pk", ["account", "instance"])
    .execute();
}

async function appResources(db: Schema): Promise<void> {
  await db.schema
    .createTable("app_resources")
    .addColumn("name", "text", (c) => c.primaryKey())
    .addColumn("revision", "text", (c) => c.notNull())
    .addColumn("document", "text", (c) => c.notNull())
    .addColumn("labels", "text", (c) => c.notNull())
    .addColumn("description", "text", (c) => c.notNull())
    .addColumn("updated_at", "bigint", (c) => c.notNull())
    .addColumn("updated_by", "text", (c) => c.notNull())
    .execute();

  await db.schema
    .createTable("app_reports")
    .addColumn("agent_id", "text", (c) => c.notNull().references("agents.id").onDelete("cascade"))
    .addColumn("name", "text", (c) => c.notNull().references("app_resources.name").onDelete("cascade"))
    .addColumn("revision", "text", (c) => c.notNull())
    .addColumn("state", "text", (c) => c.notNull())
    .addColumn("reason", "text")
    .addColumn("reported_at", "bigint", (c) => c.notNull())
    .addPrimaryKeyConstraint("app_reports_pk", ["agent_id", "name"])
    .execute();

  await db.schema
    .alterTable("apps")
    .addColumn("resource", "integer", (c) => c.notNull().defaultTo(0))
    .execute();
}
