/** JSON-RPC ids: read strictly, and, for addressing an error only, guessed from a line that cannot be read. */
import { MINUS, QUOTE, ZERO } from "./chars.ts";
import { Fault, INVALID_REQUEST } from "./fault.ts";
import type { Id, Invalid } from "./message.ts";
import { decodeString } from "./strings.ts";
import type { Span } from "./view.ts";

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

export type Guess = Pick<Invalid, "id" | "shape">;

/**
 * The id that the sender of a bad line probably gave it, and what the line looks like, so that the one who
 * waits for an answer gets an error instead. Good for nothing else: such a line has more than one reading.
 */
export function guessId(line: Uint8Array): Guess {
  if (line.length > GUESS_LIMIT) return guessAtEdges(line.subarray(0, 512), line.subarray(line.length - 512));
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(line));
    if (typeof value !== "object" || value === null || Array.isArray(value)) return {};
    const { id, ...rest } = value as { id?: unknown };
    return withId(id, "method" in rest, "jsonrpc" in rest || "result" in rest);
  } catch {
    return guessAtEdges(line.subarray(0, 512), line.subarray(Math.max(0, line.length - 512)));
  }
}

/** Printable ASCII only: nothing that would need decoding. */
const ID = String.raw`(-?(?:0|[1-9]\d{0,15})|"[ !#-[\]-~]{0,256}")`;
const VERSION = String.raw`"jsonrpc"\s*:\s*"2\.0"`;
const AT_HEAD = new RegExp(String.raw`^\s*\{\s*(?:${VERSION}\s*,\s*)?"id"\s*:\s*${ID}\s*,`);
const CALL_AT_HEAD = new RegExp(String.raw`^\s*\{\s*(?:${VERSION}\s*,\s*)?(?:"id"\s*:\s*${ID}\s*,\s*)?"method"`);
const AT_TAIL = new RegExp(String.raw`[,{]\s*"id"\s*:\s*${ID}\s*(?:,\s*${VERSION}\s*)?\}\s*$`);

/** The same for a line of which only the edges are known: its id stands first or last in every SDK's output. */
export function guessAtEdges(head: Uint8Array, tail: Uint8Array): Guess {
  const decoder = new TextDecoder("latin1");
  const [first, last] = [decoder.decode(head), decoder.decode(tail)];
  const found = AT_HEAD.exec(first) ?? AT_TAIL.exec(last);
  if (found?.[1] === undefined) return {};
  const id = found[1].startsWith('"') ? found[1].slice(1, -1) : Number(found[1]);
  return withId(id, CALL_AT_HEAD.test(first), /"jsonrpc"|"result"/.test(first + last));
}

/** A line of JSON that a server logs may have an id, too: it has neither shape. */
function withId(id: unknown, isCall: boolean, isMessage: boolean): Guess {
  const fine = typeof id === "string" ? id.isWellFormed() && id.length <= 256 : Number.isSafeInteger(id);
  if (!fine) return {};
  const known = { id: id === 0 ? 0 : (id as Id) };
  if (isCall) return { ...known, shape: "request" };
  return isMessage ? { ...known, shape: "response" } : known;
}
