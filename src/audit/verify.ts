/**
 * Verifies the audit log, chain by chain and page by page: agents' chains first, the newest before the older ones (each
 * boot's first event tells where the one before it ended), then the proxy's, whose checkpoints, gap and dispute events
 * answer what the others left open. What is held in memory grows with chains and with faults, not with events.
 *
 * Nothing that the proxy says is taken at its word here but the keys: compare `Verified.keys` with what you know of them.
 */
import type { PublicJwk } from "../identity/keys.ts";
import { hashLine } from "./chain.ts";
import { verifyHead } from "./head.ts";
import { ChainWalk, type LineRecord, type Problem } from "./verify-chain.ts";
import { type Interval, Witnesses } from "./witnesses.ts";

export interface ChainRecord {
  chain: string;
  kind: "agent" | "proxy";
  owner: string;
  /** The agent's key; null for a proxy. */
  public_jwk: PublicJwk | null;
  /** Its RFC 7638 thumbprint. */
  jkt: string | null;
  n: number;
  hash: string;
  head: string | null;
}

/** Where chains and lines come from: the proxy's API. */
export interface ChainSource {
  /** The newest first, a page of them; `before`: the last chain of the page before. */
  chains(before?: string): Promise<{ chains: ChainRecord[]; more: boolean; signing_keys: PublicJwk[] }>;
  /** Lines of one chain behind place `after`, in order, not before `since`; `limit` unless there is no telling. */
  lines(chain: string, o: { after: number; since?: string | undefined; limit?: number }): Promise<LineRecord[]>;
}

export interface ChainSummary {
  chain: string;
  owner: string;
  /** Thumbprint of the key that signs it; the cluster's own where it is null. */
  jkt: string | null;
  /** The first and the last line that is there; 0: none. */
  first: number;
  last: number;
  hash: string;
  /** How far it is signed by its owner. */
  signed: number;
  retired: number;
}

export interface Verified {
  chains: ChainSummary[];
  events: number;
  problems: number;
  /** Events that the retention took out of chains that are still known, and that agents had to drop. */
  retired: number;
  dropped: number;
  /** Events at chains' ends that no signature covers yet. */
  unsigned: number;
}

/** A chain's end as somebody outside of the proxy kept it; of `ChainSummary`. */
export type KnownEnd = Pick<ChainSummary, "chain" | "owner" | "jkt" | "last" | "hash">;

export interface VerifyOptions {
  /** Only lines of this time and after; RFC 3339. */
  since?: string | undefined;
  /** What an earlier run had seen: it must still be there. */
  known?: readonly KnownEnd[] | undefined;
  /** Called for each problem, as it is found. */
  report(problem: Problem): void;
}

interface Walked {
  record: ChainRecord;
  walk: ChainWalk;
  /** Where signatures say that it must at least reach. */
  end: number;
  signed: number;
}

export async function verifyLog(source: ChainSource, { since, known = [], report }: VerifyOptions): Promise<Verified> {
  const { records, keys } = await allChains(source);
  const witnesses = new Witnesses();
  let problems = 0;
  const found = (problem: Problem) => {
    problems += 1;
    report(problem);
  };
  const walked: Walked[] = [];
  const agents = records.filter(({ kind }) => kind === "agent");
  for (const record of agents) {
    const signers = record.public_jwk === null ? [] : [record.public_jwk];
    const result = await walkChain(source, record, { since, signers, witnesses, found });
    if (result !== undefined) walked.push(result);
  }
  // what is open may have been settled before `since`
  const open = walked.some(({ walk }) => walk.holes.length > 0 || walk.disputed.size > 0);
  for (const record of records.filter(({ kind }) => kind === "proxy")) {
    const from = open ? undefined : since;
    const result = await walkChain(source, record, { since: from, signers: keys, witnesses, found });
    if (result !== undefined) walked.push(result);
  }

  const totals = { retired: 0, dropped: 0, unsigned: 0 };
  const chains: ChainSummary[] = [];
  for (const { record, walk, end, signed } of walked) {
    const { chain, owner, jkt } = record;
    const pin = witnesses.checkpoints.get(chain);
    if (pin !== undefined) await checkPin(source, record, walk, { ...pin, by: "the proxy's checkpoint" }, found);
    const seen = known.find((each) => each.chain === chain);
    if (seen !== undefined)
      await checkPin(source, record, walk, { ...seen, n: seen.last, by: "the earlier run" }, found);
    const reach = Math.max(end, pin?.n ?? 0, seen?.last ?? 0);
    // the log goes on while it is verified: what the others told of may have come since
    if (walk.last < reach) await walkOn(source, record, walk, { witnesses });
    const cover = witnesses.cover(jkt, chain);
    if (walk.last < reach && !(since !== undefined && walk.last === 0)) {
      walk.holes.push({ from: walk.last + 1, to: reach, hash: undefined, tail: true, after: walk.lastUid });
    }
    for (const hole of walk.holes) {
      for (const missing of uncovered(hole, cover)) {
        const kind = hole.tail && missing.to === hole.to ? "cut_off" : "removed";
        const count = missing.to - missing.from + 1;
        const text = `${count === 1 ? "an event is" : `${count} events are`} missing`;
        const uid = hole.after === undefined || missing.from !== hole.from ? {} : { after: hole.after };
        found({ kind, chain, owner, n: missing.from, to: missing.to, text, ...uid });
      }
    }
    for (const problem of witnesses.disputeFaults(chain, walk)) found({ ...problem, chain, owner });
    const retired = Math.min(cover.find(({ kind }) => kind === "retired")?.to ?? 0, reach);
    totals.retired += since === undefined ? retired : 0;
    totals.dropped += cover.filter(({ kind }) => kind === "dropped").reduce((sum, g) => sum + walk.missingOf(g), 0);
    totals.unsigned += Math.max(0, walk.last - Math.max(signed, pin?.n ?? 0));
    chains.push({ chain, owner, jkt, first: walk.first, last: walk.last, hash: walk.hash, signed, retired });
  }
  if (since === undefined) problems += await reportVanished(source, records, witnesses, known, report);
  const events = walked.reduce((sum, { walk }) => sum + walk.count, 0);
  return { chains, events, problems, ...totals };
}

async function allChains(source: ChainSource): Promise<{ records: ChainRecord[]; keys: PublicJwk[] }> {
  const records: ChainRecord[] = [];
  for (let before: string | undefined; ; ) {
    const page = await source.chains(before);
    records.push(...page.chains);
    before = page.chains.at(-1)?.chain;
    if (!page.more || before === undefined) return { records, keys: page.signing_keys };
  }
}

interface WalkOptions {
  since: string | undefined;
  signers: PublicJwk[];
  witnesses: Witnesses;
  found(problem: Problem): void;
}

/** Undefined: nothing of it is asked for. */
async function walkChain(source: ChainSource, record: ChainRecord, o: WalkOptions): Promise<Walked | undefined> {
  const { chain, owner } = record;
  const walk = new ChainWalk(chain, owner, o.found);
  const told = o.witnesses.endOf(record.jkt, chain);
  if (told !== undefined) walk.expect(told.n, told.hash, "the next boot's first event");
  let signed = told?.n ?? 0;
  let final = false;
  if (record.head !== null) {
    try {
      const head = await verifyHead(record.head, o.signers);
      if (head.chain !== chain) throw new Error("of another chain");
      walk.expect(head.n, head.hash, "the signed head");
      signed = Math.max(signed, head.n);
      final = head.final === true;
    } catch {
      o.found({
        kind: "bad_signature",
        chain,
        owner,
        n: record.n,
        text: "the head is not signed by the key of its chain",
      });
    }
  }
  walk.expect(record.n, record.hash, "the proxy's record of the chain");
  await walkOn(source, record, walk, o);
  if (o.since !== undefined && walk.count === 0) return undefined;
  walk.finish();
  if (final && walk.last > signed) {
    o.found({ kind: "added", chain, owner, n: signed + 1, to: walk.last, text: "events follow the end of the chain" });
  }
  return { record, walk, end: Math.max(signed, record.n), signed };
}

/** All lines behind where the walk stands. */
async function walkOn(
  source: ChainSource,
  { chain, kind, jkt }: ChainRecord,
  walk: ChainWalk,
  o: { since?: string | undefined; witnesses: Witnesses },
): Promise<void> {
  let from = o.since;
  for (let after = walk.last; ; after = walk.last) {
    const lines = await source.lines(chain, { after, since: from });
    if (lines.length === 0) return;
    for (const line of lines) o.witnesses.hear(kind, jkt, walk.take(line, from !== undefined));
    from = undefined;
  }
}

/** A checkpoint is the proxy's signed word about an agent's chain: its line then, and its key. */
async function checkPin(
  source: ChainSource,
  { chain, owner, jkt }: ChainRecord,
  walk: ChainWalk,
  pin: { n: number; hash: string; jkt: unknown; by: string },
  found: (problem: Problem) => void,
): Promise<void> {
  if (pin.jkt !== jkt) {
    found({
      kind: "bad_signature",
      chain,
      owner,
      n: pin.n,
      text: `its key is not the one that ${pin.by} names`,
    });
  }
  if (pin.n < walk.first || pin.n > walk.last) return;
  const [line] = await source.lines(chain, { after: pin.n - 1, limit: 1 });
  if (line === undefined || line.n !== pin.n || hashLine(line.line) === pin.hash) return;
  const text = `${pin.by} has another line here: this one, or one before it, was changed`;
  if (!walk.changed.has(pin.n)) found({ kind: "changed", chain, owner, n: pin.n, uid: line.uid, text });
}

/** The parts of a hole that nothing accounts for. */
function uncovered(hole: Gap, cover: readonly Interval[]): { from: number; to: number }[] {
  const missing: { from: number; to: number }[] = [];
  let from = hole.from;
  let last: Interval | undefined;
  for (const interval of cover) {
    if (interval.to < from || interval.from > hole.to) continue;
    if (interval.from > from) missing.push({ from, to: interval.from - 1 });
    from = interval.to + 1;
    last = interval;
  }
  if (from <= hole.to) missing.push({ from, to: hole.to });
  if (missing.length > 0) return missing;
  // the line behind the hole says what the last one in it was
  const agrees = hole.hash === undefined || last === undefined || last.to > hole.to || last.hash === hole.hash;
  return agrees ? [] : [{ from: hole.from, to: hole.to }];
}

type Gap = { from: number; to: number; hash: string | undefined };

/** Chains that something tells of and that are not there at all. */
async function reportVanished(
  source: ChainSource,
  records: readonly ChainRecord[],
  witnesses: Witnesses,
  ends: readonly KnownEnd[],
  report: (problem: Problem) => void,
): Promise<number> {
  const known = new Set(records.map(({ chain }) => chain));
  const named = [...witnesses.named(), ...ends.map(({ chain, jkt, last }) => ({ chain, jkt, n: last }))];
  let count = 0;
  // begun since the run did
  if (named.some(({ chain }) => !known.has(chain))) {
    for (const { chain } of (await allChains(source)).records) known.add(chain);
  }
  for (const { chain, jkt, n } of named) {
    if (known.has(chain)) continue;
    known.add(chain);
    if (uncovered({ from: 1, to: n, hash: undefined }, witnesses.cover(jkt, chain)).length === 0) continue;
    count += 1;
    report({ kind: "removed", chain, owner: "", n: 1, to: n, text: "the whole chain is missing" });
  }
  return count;
}

export type { LineRecord, Problem };
