/** Counts processes: `spawned = exited + running`, always. Whoever finds it otherwise has found a leak. */
export interface LedgerCounts {
  spawned: number;
  exited: number;
  running: number;
}

export class Ledger {
  #spawned = 0;
  #exited = 0;
  // Kept apart from the two counts, so that the sum is a check and no tautology.
  readonly #running = new Set<number>();

  spawn(pid: number): void {
    this.#spawned += 1;
    this.#running.add(pid);
  }

  /** The process has been reaped. */
  exit(pid: number): void {
    if (this.#running.delete(pid)) this.#exited += 1;
  }

  counts(): LedgerCounts {
    return { spawned: this.#spawned, exited: this.#exited, running: this.#running.size };
  }

  pids(): number[] {
    return [...this.#running];
  }
}

/** The ledger of this agent process. */
export const serverLedger = new Ledger();
