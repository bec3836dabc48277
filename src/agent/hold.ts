/**
 * Holds what is new while the proxy has not been heard for `HOLD_AFTER_MS`, and until it has said what changed meanwhile. A lock
 * that can't reach this agent would bite nobody otherwise.
 */
import { HOLD_AFTER_MS } from "../link/to-agent.ts";

export class Hold {
  #freshAt = performance.now();
  #over: PromiseWithResolvers<void> | undefined;

  /** When to go on; undefined: now. */
  get held(): Promise<void> | undefined {
    if (performance.now() - this.#freshAt <= HOLD_AFTER_MS) return undefined;
    this.#over ??= Promise.withResolvers<void>();
    return this.#over.promise;
  }

  /** The proxy was heard, and everything that it said before is in force. */
  fresh(): void {
    this.#freshAt = performance.now();
    this.#over?.resolve();
    this.#over = undefined;
  }
}
