/** What events say about other events: where chains ended, what was retired or dropped, and what the proxy disputed. */
import type { ChainWalk, Problem } from "./verify-chain.ts";

export interface Interval {
  kind: "retired" | "dropped";
  from: number;
  to: number;
  /** Of the line at `to`. */
  hash: string;
}

interface End {
  n: number;
  hash: string;
}

interface Dispute {
  from: number;
  to: number;
  reason: unknown;
  whose: unknown;
}

type Line = Record<string, unknown>;

/** What an agent says counts for chains of its own key only. */
const place = (jkt: string | null, chain: string): string => `${jkt} ${chain}`;

export class Witnesses {
  readonly #ends = new Map<string, End>();
  /** Chain → its newest checkpoint. */
  readonly checkpoints = new Map<string, End & { jkt: unknown }>();
  readonly #retired = new Map<string, End>();
  readonly #dropped = new Map<string, Interval[]>();
  readonly #disputes = new Map<string, Dispute[]>();

  /** What a line says that stands in a chain signed with the key `jkt` (null: the cluster's). */
  hear(kind: "agent" | "proxy", jkt: string | null, line: Line): void {
    const details = (typeof line.details === "object" && line.details !== null ? line.details : {}) as Line;
    if (kind === "agent") {
      if (line.event === "audit.chain.start") this.#hearEnd(jkt, details.previous);
      if (line.event === "audit.gap") this.#hearDropped(jkt, details);
      return;
    }
    if (line.event === "audit.gap") for (const entry of list(details.retired)) this.#hearRetired(entry);
    if (line.event === "audit.checkpoint") for (const entry of list(details.chains)) this.#hearCheckpoint(entry);
    if (line.event === "audit.disputed") this.#hearDispute(details);
  }

  /** A chain's end, as the boot after it says. */
  endOf(jkt: string | null, chain: string): End | undefined {
    return this.#ends.get(place(jkt, chain));
  }

  /** Every chain that checkpoints and later boots tell of. */
  *named(): Generator<{ chain: string; jkt: string | null; n: number }> {
    for (const [chain, { n, jkt }] of this.checkpoints) yield { chain, jkt: typeof jkt === "string" ? jkt : null, n };
    for (const [key, { n }] of this.#ends) {
      const [jkt = "", chain = ""] = key.split(" ");
      yield { chain, jkt, n };
    }
  }

  /** All that accounts for missing lines of a chain, in order. */
  cover(jkt: string | null, chain: string): Interval[] {
    const retired = this.#retired.get(chain);
    const first: Interval[] =
      retired === undefined ? [] : [{ kind: "retired", from: 1, to: retired.n, hash: retired.hash }];
    return [
      ...first,
      ...(this.#dropped.get(place(jkt, chain)) ?? []).toSorted((a, b) => a.from - b.from || a.to - b.to),
    ];
  }

  /** Verdicts that the proxy's chain does not have, and those of its verdicts that are not on their lines any more. */
  *disputeFaults(chain: string, walk: ChainWalk): Generator<Omit<Problem, "chain" | "owner">> {
    const disputes = this.#disputes.get(chain) ?? [];
    const settled = new Set<number>();
    for (const [n, { uid, verdict, whose }] of walk.disputed) {
      settled.add(n);
      const agrees = disputes.some(
        (dispute) =>
          dispute.from <= n &&
          n <= dispute.to &&
          dispute.reason === verdict &&
          JSON.stringify(dispute.whose) === JSON.stringify(whose),
      );
      if (agrees) continue;
      const text = "whose it is differs from its line, and the proxy's chain does not say so";
      yield { kind: "misattributed", n, uid, text };
    }
    for (const { from, to } of disputes) {
      for (let n = Math.max(from, walk.first); n <= Math.min(to, walk.last); n++) {
        if (settled.has(n) || walk.missingOf({ from: n, to: n }) > 0) continue;
        yield { kind: "misattributed", n, text: "the proxy's chain disputes whose it is, and the log does not" };
      }
    }
  }

  #hearEnd(jkt: string | null, previous: unknown): void {
    const { chain, n, hash } = (previous ?? {}) as Line;
    if (typeof chain === "string" && typeof n === "number" && typeof hash === "string")
      this.#ends.set(place(jkt, chain), { n, hash });
  }

  #hearDropped(jkt: string | null, { chain, from, to, hash }: Line): void {
    if (typeof chain !== "string" || typeof from !== "number" || typeof to !== "number" || typeof hash !== "string")
      return;
    const key = place(jkt, chain);
    this.#dropped.set(key, [...(this.#dropped.get(key) ?? []), { kind: "dropped", from, to, hash }]);
  }

  #hearRetired([chain, n, hash]: unknown[]): void {
    if (typeof chain === "string" && typeof n === "number" && typeof hash === "string")
      this.#retired.set(chain, { n, hash });
  }

  #hearCheckpoint([chain, n, hash, jkt]: unknown[]): void {
    if (typeof chain !== "string" || typeof n !== "number" || typeof hash !== "string") return;
    this.checkpoints.set(chain, { n, hash, jkt });
  }

  #hearDispute({ chain, from, to, reason, whose }: Line): void {
    if (typeof chain !== "string" || typeof from !== "number" || typeof to !== "number") return;
    this.#disputes.set(chain, [...(this.#disputes.get(chain) ?? []), { from, to, reason, whose }]);
  }
}

const list = (value: unknown): unknown[][] => (Array.isArray(value) ? value.filter(Array.isArray) : []);
