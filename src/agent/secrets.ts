/**
 * The secrets that a server was given, and how they are kept from coming out again: exact values, wherever they stand in
 * a text or within the strings of a line of JSON, however those are escaped. Where there are none, nothing is looked at.
 */
import { REDACTED } from "../audit/secrets.ts";
import { encodeError } from "../mcp/encode.ts";
import { BAD_SERVER_ANSWER } from "../mcp/fault.ts";
import type { Id } from "../mcp/message.ts";

/** Shorter ones would be found by accident. Characters. */
const MIN_LENGTH = 8;
/** Of a secret of several lines (a key file), each line of that length is one too. */
const MIN_LINE = 16;

const [QUOTE, BACKSLASH] = [0x22, 0x5c];

export class Secrets {
  /** Longest first: one may lie in another. */
  readonly #values: string[];
  readonly #bytes: Buffer[];

  constructor(values: readonly string[]) {
    const all = values.flatMap((value) => {
      const lines = value.split(/\r?\n/).filter((line) => line.length >= MIN_LINE && !line.startsWith("-----"));
      return [value, value.trim(), ...lines];
    });
    this.#values = [...new Set(all)].filter((value) => value.length >= MIN_LENGTH).sort((a, b) => b.length - a.length);
    this.#bytes = this.#values.map((value) => Buffer.from(value));
  }

  get any(): boolean {
    return this.#values.length > 0;
  }

  /** `cut`: the text's end is missing, and a secret's with it, perhaps. */
  maskText(text: string, cut = false): string {
    let masked = text;
    for (const value of this.#values) masked = masked.replaceAll(value, REDACTED);
    return cut ? this.#maskEnd(masked) : masked;
  }

  /** The value with every string in it masked, keys too; the very same value where there was nothing to mask. */
  maskValue<T>(value: T): T {
    if (!this.any) return value;
    const line = Buffer.from(JSON.stringify(value));
    const masked = this.maskLine(line);
    return masked === line ? value : (JSON.parse(Buffer.from(masked).toString("utf8")) as T);
  }

  /** One line of JSON; the very same bytes where no string of it holds a secret. */
  maskLine(line: Uint8Array): Uint8Array {
    if (!this.any) return line;
    const bytes = Buffer.from(line.buffer, line.byteOffset, line.byteLength);
    let slash = bytes.indexOf(BACKSLASH);
    if (slash < 0 && !this.#bytes.some((value) => bytes.includes(value))) return line;
    const parts: Uint8Array[] = [];
    let done = 0;
    for (let start = bytes.indexOf(QUOTE); start >= 0; ) {
      if (slash >= 0 && slash < start) slash = bytes.indexOf(BACKSLASH, start);
      const escaped = slash >= 0;
      const end = escaped ? endOfString(bytes, start) : bytes.indexOf(QUOTE, start + 1);
      if (end < 0) break;
      const masked = this.#maskString(bytes.subarray(start, end + 1), escaped && slash < end);
      if (masked !== undefined) {
        parts.push(bytes.subarray(done, start), masked);
        done = end + 1;
      }
      start = bytes.indexOf(QUOTE, end + 1);
    }
    return parts.length === 0 ? line : Buffer.concat([...parts, bytes.subarray(done)]);
  }

  /** A JSON string with its quotes; `undefined` where it holds none. */
  #maskString(token: Buffer, escaped: boolean): Uint8Array | undefined {
    if (!escaped && !this.#bytes.some((value) => token.includes(value))) return undefined;
    const text = JSON.parse(token.toString("utf8")) as string;
    const masked = this.maskText(text);
    return masked === text ? undefined : Buffer.from(JSON.stringify(masked));
  }

  #maskEnd(text: string): string {
    for (const value of this.#values) {
      for (let length = Math.min(value.length - 1, text.length); length >= MIN_LENGTH; length--) {
        if (text.endsWith(value.slice(0, length))) return text.slice(0, -length) + REDACTED;
      }
    }
    return text;
  }
}

export const NO_SECRETS = new Secrets([]);

/** A masked line of a server: an answer becomes an error; what has no answer's place to say so in (a request, a notification) passes. */
export function withhold(masked: Uint8Array): Uint8Array {
  const { id, method } = JSON.parse(new TextDecoder().decode(masked)) as { id?: Id; method?: unknown };
  if (id === undefined || method !== undefined) return masked;
  return encodeError(
    id,
    BAD_SERVER_ANSWER,
    "the answer was withheld: it holds a secret of the server's (mcp.secrets: block)",
  );
}

/** The place of the closing quote: one with an even number of backslashes before it. */
function endOfString(bytes: Buffer, start: number): number {
  for (let end = bytes.indexOf(QUOTE, start + 1); end >= 0; end = bytes.indexOf(QUOTE, end + 1)) {
    let before = end - 1;
    while (bytes[before] === BACKSLASH) before--;
    if ((end - before) % 2 === 1) return end;
  }
  return -1;
}
