/** Changes single places of a line; everything else stays byte for byte. */
import { encodeText } from "./strings.ts";
import type { ObjectView } from "./view.ts";

export interface Edit {
  /** Half-open range of bytes that `text` replaces. */
  start: number;
  end: number;
  text: string;
}

/** The line with these edits, which do not overlap; the very same bytes when there are none. */
export function splice(bytes: Uint8Array, edits: readonly Edit[]): Uint8Array {
  if (edits.length === 0) return bytes;
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const { start, end, text } of edits.toSorted((a, b) => a.start - b.start)) {
    parts.push(bytes.subarray(at, start), encodeText(text));
    at = end;
  }
  parts.push(bytes.subarray(at));
  return new Uint8Array(Buffer.concat(parts));
}

/** Sets a member of a scanned object that begins at `at`: replaces its value, or puts it first. */
export function setMember(object: ObjectView, at: number, key: string, value: string): Edit {
  const there = object.span(key);
  if (there !== undefined) return { ...there, text: value };
  const empty = object.places.length === 0;
  return { start: at + 1, end: at + 1, text: `"${key}":${value}${empty ? "" : ","}` };
}
