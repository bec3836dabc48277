/** App resources, as admins wrote them, and what the agents that picked them up say became of them. */
import type { Selectable } from "kysely";
import { MAX_RESOURCE_CHARS, parseAppResource } from "../config/app-resource.ts";
import { Failure } from "../errors.ts";
import { bumpPolicyRevision } from "./meta.ts";
import { inTransaction, type Store } from "./store.ts";
import type { Tables } from "./tables.ts";

export interface AppResource {
  name: string;
  /** Another one for each version of the document. */
  revision: string;
  /** As it was given. */
  document: unknown;
  labels: Record<string, string>;
  description: string;
  /** Milliseconds since the epoch. */
  updatedAt: number;
  updatedBy: string;
}

/** What an agent made of a resource. */
export interface ResourceReport {
  name: string;
  revision: string;
  state: "offered" | "refused";
  reason: string | undefined;
  agentId: string;
  /** The agent's name. */
  agent: string;
}

/** All of them travel to an agent in one message (`link/to-agent.ts`). */
const MAX_RESOURCES = 1000;
const MAX_BYTES = 3 * 1024 * 1024;

/**
 * Stores a document under its `metadata.name`; what agents offer of it has its labels from now on. Throws what
 * `parseAppResource` throws, `Failure("already_exists")` when there is one of that name and `replace` is not set, and
 * `invalid` when there are too many.
 */
export function putAppResource(
  store: Store,
  document: unknown,
  o: { replace: boolean; by: string; now: number },
): Promise<{ resource: AppResource; created: boolean }> {
  const { name, labels, description } = parseAppResource(document);
  return inTransaction(store, async (tx) => {
    const row = {
      revision: crypto.randomUUID(),
      document: JSON.stringify(document),
      labels: JSON.stringify(labels),
      description,
      updated_at: o.now,
      updated_by: o.by,
    };
    const known = await tx.selectFrom("app_resources").select("name").where("name", "=", name).executeTakeFirst();
    if (known !== undefined && !o.replace) {
      throw new Failure("already_exists", `there is an app ${name} already`, { hint: `mcpgate get app/${name}` });
    }
    if (known === undefined) {
      await tx
        .insertInto("app_resources")
        .values({ name, ...row })
        .execute();
    } else {
      await tx.updateTable("app_resources").set(row).where("name", "=", name).execute();
    }
    await checkRoom(tx);
    await tx
      .updateTable("apps")
      .set({ labels: row.labels, description })
      .where("name", "=", name)
      .where("resource", "=", 1)
      .execute();
    await bumpPolicyRevision(tx);
    return { resource: await getAppResource(tx, name), created: known === undefined };
  });
}

async function checkRoom(tx: Store): Promise<void> {
  const rows = await tx.selectFrom("app_resources").select("document").execute();
  if (rows.length > MAX_RESOURCES) throw new Failure("invalid", `there may be ${MAX_RESOURCES} apps, not more`);
  if (rows.reduce((sum, { document }) => sum + Buffer.byteLength(document), 0) <= MAX_BYTES) return;
  throw new Failure("invalid", `all apps together have at most ${MAX_BYTES / 1024 / 1024} MiB`, {
    hint: `one may have ${MAX_RESOURCE_CHARS / 1024} KiB: mcpgate get apps`,
  });
}

/** Throws `Failure("not_found")`. */
export async function getAppResource(store: Store, name: string): Promise<AppResource> {
  const row = await store.selectFrom("app_resources").selectAll().where("name", "=", name).executeTakeFirst();
  if (row === undefined) throw noSuchApp(name);
  return toResource(row);
}

/** All of them by name. */
export async function listAppResources(store: Store): Promise<AppResource[]> {
  return (await store.selectFrom("app_resources").selectAll().orderBy("name").execute()).map(toResource);
}

/**
 * Removes it, and what agents offer of it; answers with these agents' ids. An app of the same name from an agent's own file
 * stays. Throws `Failure("not_found")`.
 */
export function removeAppResource(store: Store, name: string): Promise<string[]> {
  return inTransaction(store, async (tx) => {
    const gone = await tx.deleteFrom("app_resources").where("name", "=", name).returning("name").execute();
    if (gone.length === 0) throw noSuchApp(name);
    const offers = await tx
      .deleteFrom("apps")
      .where("name", "=", name)
      .where("resource", "=", 1)
      .returning("agent_id")
      .execute();
    await bumpPolicyRevision(tx);
    return offers.map((row) => row.agent_id);
  });
}

/**
 * What an agent says of the resources that it was sent, all of them: what it said of others is forgotten, and what it
 * refuses it offers no more. Answers with those that it refuses, and did not refuse for the same reason before.
 */
export function reportResources(
  store: Store,
  agentId: string,
  reports: readonly Pick<ResourceReport, "name" | "revision" | "state" | "reason">[],
  now: number,
): Promise<{ name: string; reason: string }[]> {
  return inTransaction(store, async (tx) => {
    const own = await tx.selectFrom("app_reports").selectAll().where("agent_id", "=", agentId).execute();
    const before = new Map(own.map((row) => [row.name, row]));
    const current = new Map(
      (await tx.selectFrom("app_resources").select(["name", "revision"]).execute()).map((row) => [
        row.name,
        row.revision,
      ]),
    );
    // Of a version that is gone nothing is kept; the agent was sent another one since.
    const said = new Map(
      reports.filter((each) => current.get(each.name) === each.revision).map((each) => [each.name, each]),
    );
    const forgotten = [...before.keys()].filter((name) => !said.has(name));
    const news: { name: string; reason: string }[] = [];
    for (const name of forgotten) await reportOf(tx, agentId, name).execute();
    for (const { name, revision, state, reason = null } of said.values()) {
      const known = before.get(name);
      if (known?.revision === revision && known.state === state && known.reason === reason) continue;
      await reportOf(tx, agentId, name).execute();
      const row = { agent_id: agentId, name, revision, state, reason, reported_at: now };
      await tx.insertInto("app_reports").values(row).execute();
      if (state !== "refused") continue;
      news.push({ name, reason: reason ?? "" });
      await tx
        .deleteFrom("apps")
        .where("agent_id", "=", agentId)
        .where("name", "=", name)
        .where("resource", "=", 1)
        .execute();
    }
    return news;
  });
}

const reportOf = (tx: Store, agentId: string, name: string) =>
  tx.deleteFrom("app_reports").where("agent_id", "=", agentId).where("name", "=", name);

/** By app, then by agent. */
export async function listReports(store: Store): Promise<ResourceReport[]> {
  const rows = await store
    .selectFrom("app_reports")
    .innerJoin("agents", "agents.id", "app_reports.agent_id")
    .selectAll("app_reports")
    .select("agents.name as agent")
    .orderBy("app_reports.name")
    .orderBy("agents.name")
    .execute();
  return rows.map((row) => ({
    name: row.name,
    revision: row.revision,
    state: row.state === "offered" ? "offered" : "refused",
    reason: row.reason ?? undefined,
    agentId: row.agent_id,
    agent: row.agent,
  }));
}

const noSuchApp = (name: string): Failure =>
  new Failure("not_found", `there is no app resource ${name}`, { hint: "mcpgate get apps" });

type Row = Selectable<Tables["app_resources"]>;

function toResource(row: Row): AppResource {
  return {
    name: row.name,
    revision: row.revision,
    document: JSON.parse(row.document) as unknown,
    labels: JSON.parse(row.labels) as Record<string, string>,
    description: row.description,
    updatedAt: row.updated_at,
    updatedBy: row.updated_by,
  };
}
