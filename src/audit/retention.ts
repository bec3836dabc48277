/**
 * Takes the oldest events out of the log, by age and by size, a batch at a time. Each batch leaves an `audit.gap` event in the
 * proxy's own chain, in the same transaction: for every chain that begins later now, the last place that is gone and its
 * hash, which the first line that is left has as `prev`. So `audit verify` tells what was retired from what was removed.
 */
import { sql } from "kysely";
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";
import { updateChain } from "../store/chains.ts";
import { inTransaction, type Store } from "../store/store.ts";
import { hashLine } from "./chain.ts";
import { recordEvents } from "./store.ts";

export interface RetentionLimits {
  /** Milliseconds since the proxy stored an event. */
  maxAgeMs?: number | undefined;
  /** Bytes of the database, pages that are free for reuse aside. */
  maxBytes?: number | undefined;
}

/** Events of one transaction. */
const BATCH = 500;
/** Between two batches, for whoever else waits for the store; milliseconds. */
const PAUSE_MS = 20;
/** How much too old or too large the log may get, as a part of the limit: a gap event for every single event helps nobody. */
const SLACK = 0.01;

/** Retires what is beyond the limits. Answers with how many events went. */
export async function retire(store: Store, limits: RetentionLimits, now: () => number): Promise<number> {
  const { maxAgeMs, maxBytes } = limits;
  let retired = 0;
  const before = maxAgeMs === undefined ? undefined : now() - maxAgeMs;
  if (before !== undefined && (await oldest(store)) < before - (maxAgeMs ?? 0) * SLACK) {
    for (let count = BATCH; count === BATCH; retired += count) {
      if (retired > 0) await Bun.sleep(PAUSE_MS);
      count = await retireBatch(store, { before }, now());
    }
  }
  if (maxBytes !== undefined && (await databaseSize(store)) > maxBytes) {
    while ((await databaseSize(store)) > maxBytes * (1 - SLACK)) {
      const count = await retireBatch(store, {}, now());
      retired += count;
      if (count < BATCH) break; // what is left is not events
      await Bun.sleep(PAUSE_MS);
    }
  }
  return retired;
}

async function oldest(store: Store): Promise<number> {
  const row = await store.selectFrom("events").select("stored_at").orderBy("seq").limit(1).executeTakeFirst();
  return row?.stored_at ?? Number.POSITIVE_INFINITY;
}

async function databaseSize(store: Store): Promise<number> {
  const size = sql<{ bytes: number }>`
    select (p.page_count - f.freelist_count) * s.page_size as bytes
    from pragma_page_count p, pragma_freelist_count f, pragma_page_size s`;
  return (await size.execute(store)).rows[0]?.bytes ?? 0;
}

/** The oldest events, up to the first that was stored at `before` or later. */
function retireBatch(store: Store, o: { before?: number }, now: number): Promise<number> {
  return inTransaction(store, async (tx) => {
    const rows = await tx
      .selectFrom("events")
      .select(["seq", "stored_at", "chain", "n"])
      .orderBy("seq")
      .limit(BATCH)
      .execute();
    const { before } = o;
    const kept = before === undefined ? -1 : rows.findIndex(({ stored_at }) => stored_at >= before);
    const due = kept === -1 ? rows : rows.slice(0, kept);
    const last = due.at(-1);
    if (last === undefined) return 0;
    const ends = new Map<string, number>();
    for (const { chain, n } of due) ends.set(chain, Math.max(n, ends.get(chain) ?? 0));
    for (const [chain, n] of ends) {
      const line = await tx
        .selectFrom("events")
        .select("body")
        .where("chain", "=", chain)
        .where("n", "=", n)
        .executeTakeFirstOrThrow();
      await updateChain(tx, chain, { retired_n: n, retired_hash: hashLine(line.body) });
    }
    await tx.deleteFrom("events").where("seq", "<=", last.seq).execute();
    // all that begin later, not this batch's alone: the gap events before this one are retired too, one day
    const cut = await tx
      .selectFrom("chains")
      .select(["chain", "n", "retired_n", "retired_hash"])
      .where("retired_n", ">", 0)
      .execute();
    const retired = cut.map(({ chain, retired_n, retired_hash }) => [chain, retired_n, retired_hash]);
    const details = { reason: "retention", events: due.length, until: new Date(last.stored_at).toISOString(), retired };
    await recordEvents(tx, [{ event: "audit.gap", details }], now);
    await dropEmptyChains(tx);
    return due.length;
  });
}

/** Chains of which nothing is left and nothing comes: their agent has begun another, or is gone. */
async function dropEmptyChains(tx: Store): Promise<void> {
  await tx
    .deleteFrom("chains")
    .where("kind", "=", "agent")
    .whereRef("retired_n", ">=", "n")
    .where((eb) =>
      eb.or([
        eb("agent_id", "not in", eb.selectFrom("agents").select("id")),
        eb.exists(
          eb
            .selectFrom("chains as later")
            .select("later.chain")
            .whereRef("later.agent_id", "=", "chains.agent_id")
            .whereRef("later.created_at", ">", "chains.created_at"),
        ),
      ]),
    )
    .execute();
}

export interface RetentionOptions {
  store: Store;
  limits: RetentionLimits;
  log: Log;
  now(): number;
  /** Milliseconds between two looks; ten minutes unless told, and a minute before the first. */
  everyMs?: number;
}

/** Looks from time to time, until `stop`. */
export class Retention {
  readonly #options: RetentionOptions;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #work: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: RetentionOptions) {
    this.#options = options;
    const { maxAgeMs, maxBytes } = options.limits;
    const { everyMs = 600_000 } = options;
    if (maxAgeMs !== undefined || maxBytes !== undefined) this.#later(Math.min(60_000, everyMs));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#work;
  }

  #later(ms: number): void {
    if (!this.#stopped) this.#timer = setTimeout(() => void this.#look(), ms);
  }

  #look(): Promise<void> {
    const { store, limits, log, now, everyMs = 600_000 } = this.#options;
    this.#work = (async () => {
      try {
        const events = await retire(store, limits, now);
        if (events > 0) log.info("audit.retired", { events });
      } catch (error) {
        log.error("audit.not_retired", { error: Failure.from(error).message });
      }
      this.#later(everyMs);
    })();
    return this.#work;
  }
}
