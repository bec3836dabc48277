/** Which grants count on this agent: signed by the cluster's pinned keys, for this agent, in time, and used once. */
import { Failure } from "../errors.ts";
import { type ReceivedGrant, verifyGrant } from "../identity/grant.ts";
import type { PublicJwk } from "../identity/keys.ts";
import { PeerClock } from "../identity/peer-clock.ts";

export class Grants {
  readonly #agent: string;
  readonly #keys: readonly PublicJwk[];
  /** Grants are dated by the proxy's clock; this host's own may be wrong. */
  readonly #clock = new PeerClock();
  /** Attachments whose grant was used, until it would be too old anyway. */
  readonly #used = new Map<string, number>();

  /** `agent`: this agent's id. `keys`: the cluster's, as they were pinned when it joined. */
  constructor(agent: string, keys: readonly PublicJwk[]) {
    this.#agent = agent;
    this.#keys = keys;
  }

  /** The proxy's clock shows `now`, milliseconds since the epoch. */
  learnClock(now: number): void {
    this.#clock.learn(now);
  }

  /** The grant, which is used with this. Throws `Failure("bad_proof")` for one that does not count. */
  async take(text: string): Promise<ReceivedGrant> {
    const grant = await verifyGrant(text, this.#keys, { agent: this.#agent, proxyNow: () => this.#clock.now() });
    const now = performance.now();
    for (const [used, until] of this.#used) if (until < now) this.#used.delete(used);
    if (this.#used.has(grant.attach)) throw new Failure("bad_proof", "the grant was used before");
    this.#used.set(grant.attach, now + grant.startWithinMs);
    return grant;
  }
}
