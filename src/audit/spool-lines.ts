/** The spool's lines as links of hash chains: made for writing, and found again in the segments of earlier boots. */
import type { AuditEvent } from "../event.ts";
import { type ChainEnd, chainLine, endAt, hashLine } from "./chain.ts";
import type { Segment } from "./segment.ts";

export interface EncodedLines {
  bytes: Buffer;
  /** Bytes of each line. */
  lengths: number[];
  end: ChainEnd;
}

export function encodeLines(events: readonly AuditEvent[], from: ChainEnd): EncodedLines {
  const lengths: number[] = [];
  let text = "";
  let { n, hash } = from;
  const chain = JSON.stringify(from.chain);
  for (const event of events) {
    n += 1;
    const line = chainLine(event, { chain, n, prev: hash });
    hash = hashLine(line);
    lengths.push(Buffer.byteLength(line) + 1);
    text += `${line}\n`;
  }
  return { bytes: Buffer.from(text), lengths, end: { chain: from.chain, n, hash } };
}

/** The first line from `seq` on, in steps of `step`, that a loss of power has not spoilt. */
export function soundFrom(segment: Segment, seq: number, step: 1 | -1, least = segment.first): ChainEnd | undefined {
  for (let at = seq; at >= least && at <= segment.last; at += step) {
    const { count, lines } = segment.read(at, 1, 0);
    const end = count === 0 ? undefined : endAt(lines.toString());
    if (end !== undefined) return end;
  }
  return undefined;
}

/** The last sound line of all segments. */
export function lastOf(found: readonly Segment[]): ChainEnd | undefined {
  for (const segment of found.toReversed()) {
    const end = soundFrom(segment, segment.last, -1);
    if (end !== undefined) return end;
  }
  return undefined;
}
