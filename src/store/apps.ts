/** Apps as their agents enrolled them. */
import { RESERVED_LABEL } from "../config/app-resource.ts";
import { inTransaction, type Store } from "./store.ts";

/** One agent's offer of an app. A shared app has several. */
export interface App {
  name: string;
  agentId: string;
  /** The agent's name. */
  agent: string;
  labels: Record<string, string>;
  description: string;
  type: "stdio";
  shared: boolean;
  /** It is an app resource, and no app of the agent's own file. */
  resource: boolean;
  enrolledAt: number;
}

export interface OfferedApp {
  name: string;
  labels: Record<string, string>;
  description: string;
  shared: boolean;
  resource?: boolean;
}

export interface RefusedApp {
  name: string;
  reason: string;
}

const NAME = /^[a-z0-9][a-z0-9_-]{0,62}$/;
/**
 * Makes `apps` the whole of what this agent offers: apps that it no longer names are freed. A name belongs to the
 * agent that enrolled it until that agent drops it or is removed, unless both declare the app shared; the refused ones
 * are told, the others are enrolled. Of an app resource the labels are the resource's, whatever the agent says.
 *
 * `kept`: of the app resources that it offered before, those that stay although it does not name them, as it could not
 * know of them yet.
 */
export function enrolApps(
  store: Store,
  agentId: string,
  apps: readonly OfferedApp[],
  now: number,
  kept: readonly string[] = [],
): Promise<{ enrolled: string[]; refused: RefusedApp[]; freed: string[] }> {
  return inTransaction(store, async (tx) => {
    const before = await tx
      .selectFrom("apps")
      .select(["name", "enrolled_at", "resource"])
      .where("agent_id", "=", agentId)
      .execute();
    const since = new Map(before.map((row) => [row.name, row.enrolled_at]));
    await tx.deleteFrom("apps").where("agent_id", "=", agentId).execute();

    const enrolled: string[] = [];
    const refused: RefusedApp[] = [];
    const unnamed = before.filter(
      ({ name, resource }) => resource === 1 && kept.includes(name) && !apps.some((app) => app.name === name),
    );
    const remembered = unnamed.map(({ name }) => ({ name, labels: {}, description: "", shared: true, resource: true }));
    for (const said of [...apps, ...remembered]) {
      const app = said.resource ? await ofResource(tx, said) : said;
      const reason = enrolled.includes(said.name)
        ? "the agent offers two apps of this name"
        : app === undefined
          ? "there is no app resource of this name any more"
          : (faultOf(app) ?? (await conflictOf(tx, app)));
      if (app === undefined || reason !== undefined) {
        refused.push({ name: said.name, reason: reason ?? "" });
        continue;
      }
      await enrol(tx, agentId, app, since.get(app.name) ?? now);
      enrolled.push(app.name);
    }
    const freed = [...since.keys()].filter((name) => !enrolled.includes(name));
    // What the agent had told of their tools goes with them; there is no end to names.
    if (freed.length > 0) {
      await tx.deleteFrom("tool_pins").where("agent_id", "=", agentId).where("app", "in", freed).execute();
    }
    return { enrolled, refused, freed };
  });
}

/** Enrols one more app resource that the agent offers, in this version. False: there is none such, or another agent has the name. */
export async function enrolResource(
  tx: Store,
  agentId: string,
  { name, revision }: { name: string; revision: string },
  now: number,
): Promise<boolean> {
  const app = await ofResource(tx, { name, labels: {}, description: "", shared: true }, revision);
  if (app === undefined || (await conflictOf(tx, app)) !== undefined) return false;
  await enrol(tx, agentId, app, now);
  return true;
}

async function enrol(tx: Store, agentId: string, app: OfferedApp, enrolledAt: number): Promise<void> {
  await tx
    .insertInto("apps")
    .values({
      name: app.name,
      agent_id: agentId,
      labels: JSON.stringify(app.labels),
      description: app.description,
      type: "stdio",
      shared: app.shared ? 1 : 0,
      resource: app.resource ? 1 : 0,
      enrolled_at: enrolledAt,
    })
    .execute();
}

/** Every agent's offer of the app, by agent name: none, one, or several where it is shared. */
export async function findApps(store: Store, name: string): Promise<App[]> {
  return (await joined(store).where("apps.name", "=", name).execute()).map(toApp);
}

/** All apps by name, then by agent; of one agent, when its id is given. */
export async function listApps(store: Store, agentId?: string): Promise<App[]> {
  const query = joined(store);
  return (await (agentId === undefined ? query : query.where("apps.agent_id", "=", agentId)).execute()).map(toApp);
}

/** As the resource has it: shared, and under its labels. `revision`: where only that version of it will do. */
async function ofResource(tx: Store, app: OfferedApp, revision?: string): Promise<OfferedApp | undefined> {
  const row = await tx
    .selectFrom("app_resources")
    .select(["labels", "description", "revision"])
    .where("name", "=", app.name)
    .executeTakeFirst();
  if (row === undefined || (revision !== undefined && row.revision !== revision)) return undefined;
  const labels = JSON.parse(row.labels) as Record<string, string>;
  return { name: app.name, labels, description: row.description, shared: true, resource: true };
}

function faultOf(app: OfferedApp): string | undefined {
  if (!NAME.test(app.name)) return "not a name for an app: a-z, 0-9, - and _, at most 63";
  const reserved = Object.keys(app.labels).find((key) => RESERVED_LABEL.test(key));
  return reserved === undefined ? undefined : `the label ${reserved} is the proxy's to give`;
}

async function conflictOf(tx: Store, app: OfferedApp): Promise<string | undefined> {
  const owner = (await findApps(tx, app.name)).find((other) => !(app.shared && other.shared));
  if (owner === undefined) return undefined;
  return owner.shared || app.shared
    ? `the agent ${owner.agent} offers it too, and not both say shared: true`
    : `it belongs to the agent ${owner.agent}; one of them needs another name, or both say shared: true`;
}

function joined(store: Store) {
  return store
    .selectFrom("apps")
    .innerJoin("agents", "agents.id", "apps.agent_id")
    .selectAll("apps")
    .select("agents.name as agent")
    .orderBy("apps.name")
    .orderBy("agents.name");
}

interface Row {
  name: string;
  agent_id: string;
  agent: string;
  labels: string;
  description: string;
  shared: number;
  resource: number;
  enrolled_at: number;
}

function toApp(row: Row): App {
  return {
    name: row.name,
    agentId: row.agent_id,
    agent: row.agent,
    labels: JSON.parse(row.labels) as Record<string, string>,
    description: row.description,
    type: "stdio",
    shared: row.shared === 1,
    resource: row.resource === 1,
    enrolledAt: row.enrolled_at,
  };
}
