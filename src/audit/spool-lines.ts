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

const [ORDINARY, KEPT] = [64 * 1024, 1024 * 1024];
/** Used again and again: new memory for each line would cost as much as the line. Grows with what there is to write. */
let memory: Buffer = Buffer.allocUnsafeSlow(ORDINARY);

/** `bytes` lie in memory that the next call uses again. */
export function encodeLines(events: readonly AuditEvent[], from: ChainEnd): EncodedLines {
  if (memory.length > KEPT) memory = Buffer.allocUnsafeSlow(ORDINARY);
  const lengths: number[] = [];
  let size = 0;
  let { n, hash } = from;
  const chain = JSON.stringify(from.chain);
  for (const event of events) {
    n += 1;
    const line = `${chainLine(event, { chain, n, prev: hash })}\n`;
    // A UTF-16 unit takes three bytes at the most.
    if (size + line.length * 3 > memory.length) memory = grown(memory, size, line.length * 3);
    const length = memory.write(line, size);
    hash = hashLine(memory.subarray(size, size + length - 1));
    lengths.push(length);
    size += length;
  }
  return { bytes: memory.subarray(0, size), lengths, end: { chain: from.chain, n, hash } };
}

function grown(old: Buffer, used: number, more: number): Buffer {
  const memory = Buffer.allocUnsafeSlow(Math.max(old.length * 2, used + more));
  old.copy(memory, 0, 0, used);
  return memory;
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
