/** One member of a decoded line, by its path from the top: read, or given another value while every other byte stays. */
import { OPEN_OBJECT } from "./chars.ts";
import { rescan } from "./codec.ts";
import { DEFAULT_CODEC_LIMITS, type Id } from "./message.ts";
import { encodeText } from "./strings.ts";
import { ObjectView, type Span } from "./view.ts";

type Path = readonly [string, ...string[]];

const decoder = new TextDecoder();

/** The member's value; undefined where there is none. `line` is the `bytes` of a message that `decode` accepted. */
export function memberAt(line: Uint8Array, path: Path): unknown {
  const span = find(line, path);
  return span === undefined ? undefined : JSON.parse(decoder.decode(line.subarray(span.start, span.end)));
}

/** The member's value as it is written there; undefined where there is none. */
export function textAt(line: Uint8Array, path: Path): string | undefined {
  const span = find(line, path);
  return span === undefined ? undefined : decoder.decode(line.subarray(span.start, span.end));
}

/** The line with this value in the member's place; as it is where there is no such member. */
export const withMember = (line: Uint8Array, path: Path, value: Id): Uint8Array =>
  withText(line, path, JSON.stringify(value));

/** The same with JSON text. */
export function withText(line: Uint8Array, path: Path, json: string): Uint8Array {
  const span = find(line, path);
  if (span === undefined) return line;
  const text = encodeText(json);
  const out = new Uint8Array(line.length - (span.end - span.start) + text.length);
  out.set(line.subarray(0, span.start));
  out.set(text, span.start);
  out.set(line.subarray(span.end), span.start + text.length);
  return out;
}

function find(line: Uint8Array, path: Path): Span | undefined {
  return rescan(line, DEFAULT_CODEC_LIMITS, (scanner) => {
    let span: Span | undefined = { start: scanner.space(0), end: line.length };
    for (const [depth, key] of path.entries()) {
      if (line[span.start] !== OPEN_OBJECT) return undefined;
      const view: ObjectView = new ObjectView(line);
      view.scan(scanner, span.start, depth + 1);
      span = view.span(key);
      if (span === undefined) return undefined;
    }
    return span;
  });
}
