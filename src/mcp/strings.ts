/** JSON strings as text. The scanner has validated the bytes before: these functions only decode. */
import { BACKSLASH, DELETE, SPACE } from "./chars.ts";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** Strings up to this length that were seen lately: names and methods come again and again. */
const KNOWN_LENGTH = 64;
const known: string[] = new Array(1024).fill("");

/**
 * The text of a scanned string between its quotes, when it is short, printable ASCII and written without escapes; else
 * undefined. Text that was seen lately costs no new string.
 */
export function shortText(bytes: Uint8Array, start: number, end: number): string | undefined {
  const length = end - start;
  if (length > KNOWN_LENGTH) return undefined;
  let hash = length;
  for (let i = start; i < end; i += 1) {
    const byte = bytes[i] as number;
    if (byte < SPACE || byte >= DELETE || byte === BACKSLASH) return undefined;
    hash = (Math.imul(hash, 31) + byte) | 0;
  }
  const slot = (hash ^ (hash >>> 10)) & 1023;
  const seen = known[slot] as string;
  if (isText(bytes, start, end, seen)) return seen;
  const text = decoder.decode(bytes.subarray(start, end));
  known[slot] = text;
  return text;
}

/** The text of a scanned string between its quotes. May hold lone surrogates, when it was written with escapes. */
export function decodeString(bytes: Uint8Array, start: number, end: number): string {
  const short = shortText(bytes, start, end);
  if (short !== undefined) return short;
  const raw = decoder.decode(bytes.subarray(start, end));
  return raw.includes("\\") ? decodeEscapes(raw) : raw;
}

/** Whether these bytes are this ASCII text. */
export function isText(bytes: Uint8Array, start: number, end: number, text: string): boolean {
  const length = text.length;
  if (end - start !== length) return false;
  for (let i = 0; i < length; i += 1) if (bytes[start + i] !== text.charCodeAt(i)) return false;
  return true;
}

export const encodeText = (text: string): Uint8Array => encoder.encode(text);

function decodeEscapes(raw: string): string {
  return raw.replace(/\\(?:u([0-9a-fA-F]{4})|(.))/g, (_, hex: string | undefined, char: string) =>
    hex === undefined ? (SHORT[char] ?? char) : String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

const SHORT: Record<string, string> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };
