/** Agents: who joined, and the key that each of them proves. */

import type { JWK } from "jose";
import type { Selectable } from "kysely";
import { Failure } from "../errors.ts";
import { inTransaction, type Store } from "./store.ts";
import type { Tables } from "./tables.ts";

export interface Agent {
  id: string;
  /** The host name that it gave; unique. */
  name: string;
  /** RFC 7638 thumbprint of its key. */
  jkt: string;
  publicJwk: JWK;
  joinedAt: number;
  lastSeenAt: number | undefined;
}

/**
 * Registers an agent's key under its name. The same key again is the same agent, under its new name if that is free.
 * Throws `Failure("already_exists")` when another key holds the name.
 */
export function joinAgent(store: Store, o: { name: string; jkt: string; publicJwk: JWK; now: number }): Promise<Agent> {
  return inTransaction(store, async (tx) => {
    const holder = await findAgent(tx, { name: o.name });
    if (holder !== undefined && holder.jkt !== o.jkt) {
      throw new Failure("already_exists", `an agent with another key is already called ${o.name}`, {
        hint: `if it is no more, on the proxy's host: mcpgate agents rm ${o.name}; else give this one a mcpgate.nodename`,
      });
    }
    const known = await findAgent(tx, { jkt: o.jkt });
    if (known !== undefined) {
      await tx.updateTable("agents").set({ name: o.name }).where("id", "=", known.id).execute();
      return { ...known, name: o.name };
    }
    const agent: Agent = {
      id: crypto.randomUUID(),
      name: o.name,
      jkt: o.jkt,
      publicJwk: o.publicJwk,
      joinedAt: o.now,
      lastSeenAt: undefined,
    };
    await tx
      .insertInto("agents")
      .values({
        id: agent.id,
        name: agent.name,
        jkt: agent.jkt,
        public_jwk: JSON.stringify(agent.publicJwk),
        joined_at: agent.joinedAt,
        last_seen_at: null,
      })
      .execute();
    return agent;
  });
}

/** How many have joined. */
export async function countAgents(store: Store): Promise<number> {
  const row = await store
    .selectFrom("agents")
    .select(({ fn }) => fn.countAll<number>().as("count"))
    .executeTakeFirst();
  return Number(row?.count ?? 0);
}

/** The agent with this id, name or key thumbprint. */
export async function findAgent(
  store: Store,
  by: { id: string } | { name: string } | { jkt: string },
): Promise<Agent | undefined> {
  const [column, value] =
    "id" in by ? (["id", by.id] as const) : "name" in by ? (["name", by.name] as const) : (["jkt", by.jkt] as const);
  const row = await store.selectFrom("agents").selectAll().where(column, "=", value).executeTakeFirst();
  return row === undefined ? undefined : toAgent(row);
}

/** All agents by name. */
export async function listAgents(store: Store): Promise<Agent[]> {
  const rows = await store.selectFrom("agents").selectAll().orderBy("name").execute();
  return rows.map(toAgent);
}

/** Notes that the agent's control connection is up, or was until now. */
export async function touchAgent(store: Store, id: string, now: number): Promise<void> {
  await store.updateTable("agents").set({ last_seen_at: now }).where("id", "=", id).execute();
}

/** Forgets the agent and its key and frees its apps. Throws `Failure("not_found")`. */
export async function removeAgent(store: Store, id: string): Promise<void> {
  const row = await store.deleteFrom("agents").where("id", "=", id).returning("id").executeTakeFirst();
  if (row === undefined) throw noSuchAgent();
}

export const noSuchAgent = (): Failure => new Failure("not_found", "no such agent", { hint: "mcpgate agents ls" });

type Row = Selectable<Tables["agents"]>;

function toAgent(row: Row): Agent {
  return {
    id: row.id,
    name: row.name,
    jkt: row.jkt,
    publicJwk: JSON.parse(row.public_jwk) as JWK,
    joinedAt: row.joined_at,
    lastSeenAt: row.last_seen_at ?? undefined,
  };
}
