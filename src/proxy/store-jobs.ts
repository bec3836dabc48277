/**
 * Work on the store that goes to its thread as a whole (`store-thread.ts`), where every statement would be a way there and back.
 * What it takes and answers is plain data.
 */
import { type Ingested, ingest } from "../audit/ingest.ts";
import { Failure } from "../errors.ts";
import { MAX_BATCH_EVENTS } from "../link/from-agent.ts";
import type { Store } from "../store/store.ts";
import { beginSession, moveSession, readArrival, readStanding } from "./admission.ts";

const JOBS = {
  readArrival,
  beginSession,
  moveSession,
  readStanding,
  ingest: ingestLines,
};

/** Throws `Failure("invalid")` on more than a batch. */
async function ingestLines(
  store: Store,
  { agentId, lines, now }: { agentId: string; lines: Uint8Array; now: number },
): Promise<Ingested> {
  // What is no UTF-8 is not as it was written, and breaks its chain: for `audit verify` to say.
  const items = UTF8.decode(lines).split("\n", MAX_BATCH_EVENTS + 1);
  if (items.length > MAX_BATCH_EVENTS) throw new Failure("invalid", `more than ${MAX_BATCH_EVENTS} events in a batch`);
  return ingest(store, agentId, items, now);
}

const UTF8 = new TextDecoder("utf-8", { ignoreBOM: true });

export type JobName = keyof typeof JOBS;
type Given<N extends JobName> = Parameters<(typeof JOBS)[N]>[1];
type Answer<N extends JobName> = Awaited<ReturnType<(typeof JOBS)[N]>>;

/** Does a job where the store is. */
export type RunJob = <N extends JobName>(name: N, given: Given<N>) => Promise<Answer<N>>;

/** In this very thread. */
export function jobsHere(store: Store): RunJob {
  return <N extends JobName>(name: N, given: Given<N>) =>
    (JOBS[name] as (store: Store, given: Given<N>) => Promise<Answer<N>>)(store, given);
}
