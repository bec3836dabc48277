/**
 * Bytes that the sessions of one process may hold, for each user and in all: windows beyond their smallest size, and
 * lines of which only a part has come. One user's large messages can't take the memory of the others.
 */
import type { WindowBudget } from "./window.ts";

export interface BudgetLimits {
  /** Bytes of the whole process. */
  total: number;
  /** Bytes of one user. */
  user: number;
}

export class Budget {
  readonly #limits: BudgetLimits;
  readonly #byUser = new Map<string, number>();
  #used = 0;

  constructor(limits: BudgetLimits) {
    this.#limits = limits;
  }

  get used(): number {
    return this.#used;
  }

  get total(): number {
    return this.#limits.total;
  }

  /** The part that one user's session draws on. */
  of(user: string): WindowBudget {
    return {
      take: (bytes) => {
        const mine = this.#byUser.get(user) ?? 0;
        if (mine + bytes > this.#limits.user || this.#used + bytes > this.#limits.total) return false;
        this.#byUser.set(user, mine + bytes);
        this.#used += bytes;
        return true;
      },
      give: (bytes) => {
        const mine = (this.#byUser.get(user) ?? 0) - bytes;
        if (mine > 0) this.#byUser.set(user, mine);
        else this.#byUser.delete(user);
        this.#used -= bytes;
      },
    };
  }
}
