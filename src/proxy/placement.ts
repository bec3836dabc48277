/**
 * Which of several agents that offer an app gets a new session: one that answers and whose servers of it don't fail, rather
 * one that has few sessions of it, then one that has few sessions at all; and of those that are alike, each in its turn.
 */
import { HEARTBEAT_LOST_MS } from "../link/to-agent.ts";
import type { App } from "../store/apps.ts";
import type { Load } from "../store/sessions.ts";

export interface PlacementOptions {
  load: ReadonlyMap<string, Load>;
  failing(agentId: string): boolean;
}

export class Placement {
  /** Agent → when it was last the first; the numbers are nothing but an order. */
  readonly #turns = new Map<string, number>();
  /** Agent → until when it is not the first to be asked, as `#now` has it. */
  readonly #silent = new Map<string, number>();
  readonly #now: () => number;
  #turn = 0;

  /** `now`: monotonic milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** The agent did not answer in time: by then it does, or its connection is given up. */
  silent(agentId: string): void {
    this.#silent.set(agentId, this.#now() + HEARTBEAT_LOST_MS);
  }

  /** The offers, the best first; the others are for the case that it does not take the session. */
  order(offers: readonly App[], { load, failing }: PlacementOptions): App[] {
    const ranked = offers.map((offer) => {
      const { app, all } = load.get(offer.agentId) ?? { app: 0, all: 0 };
      const turn = this.#turns.get(offer.agentId) ?? 0;
      const silent = (this.#silent.get(offer.agentId) ?? 0) > this.#now();
      return { offer, rank: [Number(silent || failing(offer.agentId)), app, all, turn] };
    });
    ranked.sort((a, b) => compare(a.rank, b.rank));
    const sorted = ranked.map(({ offer }) => offer);
    const [first] = sorted;
    if (first !== undefined) this.#turns.set(first.agentId, ++this.#turn);
    return sorted;
  }
}

function compare(a: readonly number[], b: readonly number[]): number {
  const i = a.findIndex((each, at) => each !== b[at]);
  return i < 0 ? 0 : (a[i] ?? 0) - (b[i] ?? 0);
}
