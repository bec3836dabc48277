/** The audit log's hash chains: whose they are, how far they got, and the signed heads. The lines are rows of `events`. */
import type { Selectable } from "kysely";
import { getMeta, setMeta } from "./meta.ts";
import type { Store } from "./store.ts";
import type { Tables } from "./tables.ts";

export type Chain = Selectable<Tables["chains"]>;

/** `hash` of a chain without lines, and so the `prev` of its first. */
const NO_LINES = "0".repeat(64);

export function findChain(store: Store, chain: string): Promise<Chain | undefined> {
  return store.selectFrom("chains").selectAll().where("chain", "=", chain).executeTakeFirst();
}

export interface NewChain {
  chain: string;
  owner: string;
  /** The agent whose chain it is, and its public key as JSON; none for a proxy. */
  agent?: { id: string; publicJwk: string };
  now: number;
}

export async function createChain(store: Store, { chain, owner, agent, now }: NewChain): Promise<Chain> {
  const row: Chain = {
    chain,
    kind: agent === undefined ? "proxy" : "agent",
    agent_id: agent?.id ?? null,
    owner,
    public_jwk: agent?.publicJwk ?? null,
    n: 0,
    hash: NO_LINES,
    head: null,
    head_n: 0,
    retired_n: 0,
    retired_hash: null,
    checkpoint_n: 0,
    created_at: now,
  };
  await store.insertInto("chains").values(row).execute();
  return row;
}

/** The chain of the proxy's own events: one for as long as its database lives. */
export async function ownChain(store: Store, now: number): Promise<Chain> {
  const id = await getMeta(store, "audit_chain");
  const known = id === undefined ? undefined : await findChain(store, id);
  if (known !== undefined) return known;
  const chain = crypto.randomUUID();
  await setMeta(store, "audit_chain", chain);
  return createChain(store, { chain, owner: "proxy", now });
}

/** Any columns of one chain. */
export async function updateChain(store: Store, chain: string, set: Partial<Omit<Chain, "chain">>): Promise<void> {
  await store.updateTable("chains").set(set).where("chain", "=", chain).execute();
}

/** The newest first: `before` is the last chain of the page before. */
export function listChains(
  store: Store,
  o: { limit: number; before?: { created_at: number; chain: string } | undefined },
): Promise<Chain[]> {
  let query = store.selectFrom("chains").selectAll();
  const { before } = o;
  if (before !== undefined) {
    query = query.where((eb) =>
      eb.or([
        eb("created_at", "<", before.created_at),
        eb.and([eb("created_at", "=", before.created_at), eb("chain", "<", before.chain)]),
      ]),
    );
  }
  return query.orderBy("created_at", "desc").orderBy("chain", "desc").limit(o.limit).execute();
}
