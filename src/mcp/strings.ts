/** JSON strings as text. The scanner has validated the bytes before: these functions only decode. */

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();
const BACKSLASH = 0x5c;

/** The text of a scanned string between its quotes. May hold lone surrogates, when it was written with escapes. */
export function decodeString(bytes: Uint8Array, start: number, end: number): string {
  if (end - start <= 48) {
    // Names and methods are short and ASCII: no native call is faster than this loop.
    let text = "";
    let at = start;
    for (; at < end; at += 1) {
      const byte = bytes[at] as number;
      if (byte >= 0x80 || byte === BACKSLASH) break;
      text += String.fromCharCode(byte);
    }
    if (at === end) return text;
  }
  const raw = decoder.decode(bytes.subarray(start, end));
  return raw.includes("\\") ? decodeEscapes(raw) : raw;
}

export const encodeText = (text: string): Uint8Array => encoder.encode(text);

function decodeEscapes(raw: string): string {
  return raw.replace(/\\(?:u([0-9a-fA-F]{4})|(.))/g, (_, hex: string | undefined, char: string) =>
    hex === undefined ? (SHORT[char] ?? char) : String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

const SHORT: Record<string, string> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

/**
 * A key or name as the laxest reader may see it: case, compatibility forms and the letters that only fold to ASCII
 * (U+017F, U+212A, U+0130, U+0131) gone. Go's `encoding/json`, Java's `equalsIgnoreCase` and Python's `casefold` all
 * find less equal than this.
 */
export function fold(text: string): string {
  return text
    .normalize("NFKC")
    .replaceAll("\u0131", "i")
    .toUpperCase()
    .toLowerCase()
    .replaceAll("\u0307", "")
    .normalize("NFKC");
}
