/** One chain, line by line: what is missing, changed or out of place in it, seen from the chain itself. */
import { GENESIS, hashLine } from "./chain.ts";

export type ProblemKind = "removed" | "changed" | "reordered" | "cut_off" | "added" | "misattributed" | "bad_signature";

export interface Problem {
  kind: ProblemKind;
  chain: string;
  /** The agent's name, or `proxy`. */
  owner: string;
  /** The place in the chain; with `to`: from there to there. */
  n: number;
  to?: number;
  /** Of the event that stands there. */
  uid?: string;
  /** The last event that is there before it. */
  after?: string;
  text: string;
}

/** A row of the log: the line, and what the proxy's columns say. */
export interface LineRecord {
  seq: number;
  n: number;
  uid: string;
  event: string;
  time: string;
  user: string | null;
  app: string | null;
  agent: string | null;
  sid: string | null;
  verdict: string | null;
  line: string;
}

export interface Hole {
  from: number;
  to: number;
  /** `prev` of the line behind it; undefined at the end of the chain. */
  hash: string | undefined;
  tail: boolean;
  /** uid of the line before it. */
  after: string | undefined;
}

export interface Disputed {
  uid: string;
  verdict: string;
  whose: (string | null)[];
}

type Line = Record<string, unknown>;

export class ChainWalk {
  readonly holes: Hole[] = [];
  /** Lines that the proxy does not take at their word, by place. */
  readonly disputed = new Map<number, Disputed>();
  /** Places that were reported as changed. */
  readonly changed = new Set<number>();
  first = 0;
  last = 0;
  lastUid: string | undefined;
  hash = GENESIS;
  count = 0;
  readonly #chain: string;
  readonly #owner: string;
  readonly #found: (problem: Problem) => void;
  /** What others say about the line at a place. */
  readonly #expected = new Map<number, { hash: string; by: string }[]>();
  #seq = 0;
  /** The line at this place has another `prev` than the line before it has as hash; whose fault it is shows later. */
  #broken: { n: number; uid: string; before: string | undefined } | undefined;

  constructor(chain: string, owner: string, found: (problem: Problem) => void) {
    this.#chain = chain;
    this.#owner = owner;
    this.#found = found;
  }

  expect(n: number, hash: string, by: string): void {
    this.#expected.set(n, [...(this.#expected.get(n) ?? []), { hash, by }]);
  }

  /** The next line; answers with what it says. `anywhere`: the walk begins in the middle of the chain. */
  take(row: LineRecord, anywhere = false): Line {
    const line = parse(row.line);
    const begins = this.count === 0;
    if (begins) this.first = row.n;
    const contiguous = begins ? row.n === 1 : row.n === this.last + 1;
    if (!contiguous && !(begins && anywhere)) {
      const { prev } = line;
      const hash = typeof prev === "string" ? prev : "";
      this.holes.push({ from: this.last + 1, to: row.n - 1, hash, tail: false, after: this.lastUid });
    }
    const linked = !contiguous || line.prev === this.hash;
    const placed = line.chain === this.#chain && line.n === row.n;
    if (!placed) this.#outOfPlace(row, line);
    this.#link(row, linked || !placed);
    if (placed) this.#columns(row, line);
    if (row.seq <= this.#seq) this.#problem("reordered", row, "it was stored before the one that precedes it");

    this.count += 1;
    this.#seq = Math.max(this.#seq, row.seq);
    this.last = row.n;
    this.lastUid = row.uid;
    this.hash = hashLine(row.line);
    this.#compare(row);
    return line;
  }

  /** No line follows. */
  finish(): void {
    if (this.#broken === undefined) return;
    const { n, uid, before } = this.#broken;
    this.#broken = undefined;
    if (!this.changed.has(n)) this.#change(n - 1, before, "the next event has another hash for it", uid);
  }

  /** How many of the places from `from` to `to` fall into holes. */
  missingOf({ from, to }: { from: number; to: number }): number {
    const overlap = (hole: Hole) => Math.min(hole.to, to) - Math.max(hole.from, from) + 1;
    return this.holes.reduce((sum, hole) => sum + Math.max(0, overlap(hole)), 0);
  }

  /**
   * A link between two lines that does not hold: where the next one breaks too, the line between them was changed; else the
   * line before.
   */
  #link(row: LineRecord, linked: boolean): void {
    const broken = this.#broken;
    this.#broken = undefined;
    if (linked) {
      if (broken !== undefined) this.#change(broken.n - 1, broken.before, "the next event has another hash for it");
      return;
    }
    if (broken !== undefined)
      this.#change(broken.n, broken.uid, "it fits neither the event before it nor the one after it");
    else this.#broken = { n: row.n, uid: row.uid, before: this.lastUid };
  }

  #change(place: number, uid: string | undefined, text: string, instead?: string): void {
    const n = Math.max(this.first, place);
    if (this.changed.has(n)) return;
    this.changed.add(n);
    const which = uid ?? instead;
    this.#found({
      kind: "changed",
      chain: this.#chain,
      owner: this.#owner,
      n,
      ...(which === undefined ? {} : { uid: which }),
      text,
    });
  }

  #outOfPlace(row: LineRecord, line: Line): void {
    this.changed.add(row.n);
    const moved = line.chain === this.#chain && typeof line.n === "number";
    if (moved) this.#problem("reordered", row, `the event of place ${line.n} stands here`);
    else this.#problem("changed", row, "it is no line of this chain");
  }

  /** Signatures over this very line. */
  #compare(row: LineRecord): void {
    for (const { hash, by } of this.#expected.get(row.n) ?? []) {
      if (hash === this.hash || this.changed.has(row.n)) continue;
      // of the two sides of a broken link it is this one
      this.#broken = undefined;
      this.#change(row.n, row.uid, `${by} has another hash here: this event, or one before it, was changed`);
    }
  }

  /** The columns are the proxy's word; without a verdict they say what the line says. */
  #columns(row: LineRecord, line: Line): void {
    const { verdict, user, app, agent, sid } = row;
    if (verdict !== null) this.disputed.set(row.n, { uid: row.uid, verdict, whose: [user, app, agent, sid] });
    const keys =
      verdict === null
        ? (["uid", "event", "time", "user", "app", "agent", "sid"] as const)
        : (["event", "time"] as const);
    const wrong = keys.find((key) => (line[key] ?? null) !== row[key]);
    if (wrong === undefined) return;
    const kind = wrong === "uid" || wrong === "event" || wrong === "time" ? "changed" : "misattributed";
    this.#problem(kind, row, `the log has another ${wrong} for it than its line`);
  }

  #problem(kind: ProblemKind, { n, uid }: LineRecord, text: string): void {
    this.#found({ kind, chain: this.#chain, owner: this.#owner, n, uid, text });
  }
}

function parse(line: string): Line {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Line) : {};
  } catch {
    return {};
  }
}
