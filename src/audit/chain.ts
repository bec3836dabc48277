/**
 * Hash chains over the lines of the audit log. A line is one event's JSON as it was first written; its SHA-256 stands in the
 * next line as `prev`, and `chain` and `n` say where it belongs. So nothing in a chain can be taken out, changed or moved
 * without every line after it, and the signed head (`head.ts`), being another.
 */
import type { AuditEvent } from "../event.ts";

/** `prev` of a chain's first line. */
export const GENESIS = "0".repeat(64);

/** Where a chain has got to. */
export interface ChainEnd {
  chain: string;
  /** The last line's place, from 1; 0: none yet. */
  n: number;
  /** The last line's hash, or `GENESIS`. */
  hash: string;
}

/** SHA-256 of a line's UTF-8 bytes, without the line feed; hex. */
export const hashLine = (line: string | Uint8Array): string => Bun.SHA256.hash(line, "hex");

export interface ChainLines {
  lines: string[];
  /** The events as the lines have them. */
  events: AuditEvent[];
  end: ChainEnd;
}

/** One event as a line. Its place comes last; `chain` is the chain's id as JSON. */
export function chainLine(draft: AuditEvent, { chain, n, prev }: { chain: string; n: number; prev: string }): string {
  return `${JSON.stringify(draft).slice(0, -1)},"chain":${chain},"n":${n},"prev":"${prev}"}`;
}

/** Events as the next lines of a chain, and where it then ends. Changes nothing. */
export function chainLines(drafts: readonly AuditEvent[], from: ChainEnd): ChainLines {
  const lines: string[] = [];
  const events: AuditEvent[] = [];
  let { n, hash } = from;
  const chain = JSON.stringify(from.chain);
  for (const draft of drafts) {
    n += 1;
    const line = chainLine(draft, { chain, n, prev: hash });
    events.push({ ...draft, chain: from.chain, n, prev: hash });
    hash = hashLine(line);
    lines.push(line);
  }
  return { lines, events, end: { chain: from.chain, n, hash } };
}

/** The chain's end when `line` is its last; `undefined` when it is no line of a chain. */
export function endAt(line: string): ChainEnd | undefined {
  try {
    const { chain, n } = JSON.parse(line) as Record<string, unknown>;
    if (typeof chain !== "string" || !Number.isSafeInteger(n)) return undefined;
    return { chain, n: n as number, hash: hashLine(line) };
  } catch {
    return undefined;
  }
}
