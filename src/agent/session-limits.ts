/** How long a session may take: to its server's first answer, without a message, and as a whole. */
import type { Limits } from "../config/config.ts";

/** Seconds to the first answer, unless told. `npx` downloads. */
export const START_TIMEOUT_S = 120;

export interface Overdue {
  reason: string;
  /** Whether it is the server that is at fault. */
  failed: boolean;
}

export class SessionLimits {
  readonly #limits: Limits;
  readonly #began: number;
  #lastActive: number;
  /** When the server was first asked something. */
  #asked: number | undefined;
  #answered = false;

  /** `now`, here and below: monotonic milliseconds. */
  constructor(limits: Limits, now: number) {
    this.#limits = limits;
    this.#began = now;
    this.#lastActive = now;
  }

  toServer(now: number): void {
    this.#asked ??= now;
    this.#lastActive = now;
  }

  /** Something was said. */
  active(now: number): void {
    this.#lastActive = now;
  }

  /** The server's first answer came. */
  answered(): void {
    this.#answered = true;
  }

  get hasAnswered(): boolean {
    return this.#answered;
  }

  /** Why the session has to end now, if it has to. `open`: requests of either side that wait for an answer. */
  overdue(now: number, open: number): Overdue | undefined {
    const { startTimeout = START_TIMEOUT_S, idleTimeout, sessionTimeout } = this.#limits;
    if (!this.#answered && open > 0 && this.#asked !== undefined && now - this.#asked > startTimeout * 1000) {
      return { reason: `the server gave no answer within ${startTimeout} s (start_timeout)`, failed: true };
    }
    if (sessionTimeout !== undefined && now - this.#began > sessionTimeout * 1000) {
      return { reason: `the session lasted ${sessionTimeout} s, as long as one may (session_timeout)`, failed: false };
    }
    if (idleTimeout !== undefined && open === 0 && now - this.#lastActive > idleTimeout * 1000) {
      return { reason: `nothing was said for ${idleTimeout} s (idle_timeout)`, failed: false };
    }
    return undefined;
  }
}
