/** The spool's file `acked`: the last sequence number that the proxy has stored. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Log } from "../log.ts";
import type { Segment } from "./segment.ts";

export const ackPath = (directory: string): string => join(directory, "acked");

/** The number twice: half of an old one and half of a new one are not taken for one. */
export function encodeAck(seq: number): string {
  const digits = String(seq).padStart(20, "0");
  return `${digits} ${digits}\n`;
}

/** The last acknowledged number, or an earlier one where the files don't vouch for it: events may be sent twice, never not. */
export function loadSoundAck(directory: string, found: readonly Segment[], log: Log): number {
  const acked = loadAck(directory);
  for (const { first, holes, path } of found) {
    if (holes.size === 0) continue;
    log.error("spool.spoilt", { file: path, lines: holes.size });
    // a spoilt line may have been several, so the numbers after it are not those that were acknowledged
    if (first <= acked) return first - 1;
  }
  return acked;
}

function loadAck(directory: string): number {
  try {
    const text = readFileSync(ackPath(directory), "latin1");
    const seq = Number(text.slice(0, 20));
    return Number.isSafeInteger(seq) && seq > 0 && text === encodeAck(seq) ? seq : 0;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
}
