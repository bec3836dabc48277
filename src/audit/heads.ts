/**
 * Who signs what at the proxy: it keeps the heads that agents send, signs its own chain with the cluster's key, and writes
 * checkpoints: how far every agent's chain had got, as an event of its own chain. So the end of an agent's chain, or the whole
 * of it, can't be cut off together with its head and go unnoticed.
 */
import { Failure } from "../errors.ts";
import { type KeyPair, parsePublicJwk, thumbprint } from "../identity/keys.ts";
import type { Log } from "../log.ts";
import { findAgent } from "../store/agents.ts";
import { findChain, ownChain, updateChain } from "../store/chains.ts";
import { inTransaction, type Store } from "../store/store.ts";
import { hashLine } from "./chain.ts";
import { signHead, verifyHead } from "./head.ts";
import { recordEvents } from "./store.ts";

/** Keeps an agent's signed head. Throws `Failure("bad_proof")` when it is not one over what is stored. */
export async function keepHead(store: Store, agentId: string, jws: string): Promise<void> {
  const agent = await findAgent(store, { id: agentId });
  const { chain: id, n, hash } = await verifyHead(jws, agent === undefined ? [] : [parsePublicJwk(agent.publicJwk)]);
  const chain = await findChain(store, id);
  if (chain?.agent_id !== agentId || n > chain.n)
    throw new Failure("bad_proof", "the head is of lines that are not here");
  if (n < chain.head_n || n <= chain.retired_n) return;
  const row = await store
    .selectFrom("events")
    .select("body")
    .where("chain", "=", id)
    .where("n", "=", n)
    .executeTakeFirst();
  if (row === undefined || hashLine(row.body) !== hash) {
    throw new Failure("bad_proof", "the head is of other lines than those that are here");
  }
  await updateChain(store, id, { head: jws, head_n: n });
}

/** Signs the proxy's own chain as far as it goes. */
export async function sealOwn(store: Store, key: KeyPair, now: number): Promise<void> {
  const { chain, n, hash, head_n } = await ownChain(store, now);
  if (n > head_n) await updateChain(store, chain, { head: await signHead({ chain, n, hash }, key, now), head_n: n });
}

/** Chains of one checkpoint event. */
const CHAINS_AT_ONCE = 100;

/** `details.chains`: `[chain, n, hash, thumbprint of the agent's key]` for each chain that grew since the last checkpoint. */
export async function checkpoint(store: Store, now: number): Promise<void> {
  for (let more = true; more; ) {
    more = await inTransaction(store, async (tx) => {
      const grown = await tx
        .selectFrom("chains")
        .selectAll()
        .where("kind", "=", "agent")
        .whereRef("n", ">", "checkpoint_n")
        .limit(CHAINS_AT_ONCE)
        .execute();
      if (grown.length === 0) return false;
      const chains = await Promise.all(
        grown.map(async ({ chain, n, hash, public_jwk }) => [chain, n, hash, await jktOf(public_jwk)]),
      );
      await recordEvents(tx, [{ event: "audit.checkpoint", details: { chains } }], now);
      for (const { chain, n } of grown) await updateChain(tx, chain, { checkpoint_n: n });
      return grown.length === CHAINS_AT_ONCE;
    });
  }
}

/** The thumbprint of a key that is stored as JSON; null for what is none. */
export async function jktOf(publicJwk: string | null): Promise<string | null> {
  try {
    return await thumbprint(parsePublicJwk(JSON.parse(publicJwk ?? "null")));
  } catch {
    return null;
  }
}

export interface NotaryOptions {
  store: Store;
  key: KeyPair;
  log: Log;
  now(): number;
  /** Milliseconds between signatures over the proxy's own chain, if it grew; 5 s unless told. */
  sealMs?: number;
  /** Milliseconds between checkpoints; a minute unless told. */
  checkpointMs?: number;
}

/** Signs in time, one thing after the other, until `stop`, which signs a last time. */
export class Notary {
  readonly #options: NotaryOptions;
  readonly #timer: ReturnType<typeof setInterval>;
  #work: Promise<void> = Promise.resolve();
  #checkpointAt: number;

  constructor(options: NotaryOptions) {
    this.#options = options;
    const { sealMs = 5_000, now } = options;
    this.#checkpointAt = now(); // what the last run left open is signed at the first beat
    this.#timer = setInterval(() => void this.#beat(), sealMs);
  }

  stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#checkpointAt = 0;
    return this.#beat();
  }

  #beat(): Promise<void> {
    const { store, key, log, now, checkpointMs = 60_000 } = this.#options;
    this.#work = this.#work.then(async () => {
      try {
        if (now() >= this.#checkpointAt) {
          await checkpoint(store, now());
          this.#checkpointAt = now() + checkpointMs;
        }
        await sealOwn(store, key, now());
      } catch (error) {
        log.error("audit.not_signed", { error: Failure.from(error).message });
      }
    });
    return this.#work;
  }
}
