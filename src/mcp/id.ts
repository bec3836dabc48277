/** JSON-RPC ids: read strictly, and, for addressing an error only, guessed from a line that cannot be read. */
import { Fault, INVALID_REQUEST } from "./fault.ts";
import type { Id } from "./message.ts";
import { decodeString } from "./strings.ts";
import type { Span } from "./view.ts";

const QUOTE = 0x22;
const MINUS = 0x2d;
const ZERO = 0x30;

/** The id at this place of a scanned line. Throws a `Fault` unless it is a string or a plain integer within ±(2^53−1). */
export function readId(bytes: Uint8Array, span: Span, maxChars: number): Id {
  const { start, end } = span;
  if (bytes[start] === QUOTE) {
    const text = decodeString(bytes, start + 1, end - 1);
    if (text.length > maxChars) throw new Fault(INVALID_REQUEST, `the id is longer than ${maxChars} characters`);
    if (!text.isWellFormed()) throw new Fault(INVALID_REQUEST, "the id holds a lone surrogate");
    return text;
  }
  const negative = bytes[start] === MINUS;
  let value = 0;
  for (let i = negative ? start + 1 : start; i < end; i += 1) {
    const digit = (bytes[i] as number) - ZERO;
    // Also true of a fraction, an exponent, null, true, false, arrays and objects.
    if (digit < 0 || digit > 9) throw new Fault(INVALID_REQUEST, "the id is neither a string nor a plain integer");
    value = value * 10 + digit;
    if (value > Number.MAX_SAFE_INTEGER) throw new Fault(INVALID_REQUEST, "the id is beyond 2^53-1");
  }
  // Some read -0 as 0 and some don't.
  if (negative && value === 0) throw new Fault(INVALID_REQUEST, "the id is -0");
  return negative ? -value : value;
}

/** A line over this size is not read a second time. */
const GUESS_LIMIT = 1024 * 1024;

/**
 * The id that the sender of a bad line probably gave it, and whether the line looks like a response, so that the one who
 * waits for an answer gets an error instead. Good for nothing else: such a line has more than one reading.
 */
export function guessId(line: Uint8Array): { id?: Id; response: boolean } {
  if (line.length > GUESS_LIMIT) return guessAtEdges(line.subarray(0, 512), line.subarray(line.length - 512));
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(line));
    if (typeof value !== "object" || value === null || Array.isArray(value)) return { response: false };
    const { id, method } = value as { id?: unknown; method?: unknown };
    return withId(id, method === undefined);
  } catch {
    return guessAtEdges(line.subarray(0, 512), line.subarray(Math.max(0, line.length - 512)));
  }
}

/** Printable ASCII only: nothing that would need decoding. */
const ID = String.raw`(-?(?:0|[1-9]\d{0,15})|"[ !#-[\]-~]{0,256}")`;
const VERSION = String.raw`"jsonrpc"\s*:\s*"2\.0"`;
const AT_HEAD = new RegExp(String.raw`^\s*\{\s*(?:${VERSION}\s*,\s*)?"id"\s*:\s*${ID}\s*,`);
const AT_TAIL = new RegExp(String.raw`[,{]\s*"id"\s*:\s*${ID}\s*(?:,\s*${VERSION}\s*)?\}\s*$`);

/** The same for a line of which only the edges are known: its id stands first or last in every SDK's output. */
export function guessAtEdges(head: Uint8Array, tail: Uint8Array): { id?: Id; response: boolean } {
  const decoder = new TextDecoder("latin1");
  const first = decoder.decode(head);
  const found = AT_HEAD.exec(first) ?? AT_TAIL.exec(decoder.decode(tail));
  if (found?.[1] === undefined) return { response: false };
  const id = found[1].startsWith('"') ? found[1].slice(1, -1) : Number(found[1]);
  return withId(id, !first.includes('"method"'));
}

function withId(id: unknown, response: boolean): { id?: Id; response: boolean } {
  if (typeof id === "string" && id.isWellFormed() && id.length <= 256) return { id, response };
  if (typeof id === "number" && Number.isSafeInteger(id)) return { id: id === 0 ? 0 : id, response };
  return { response: false };
}
