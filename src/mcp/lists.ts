/** Takes out of a list answer what may not be seen; everything else stays byte for byte, in its order. */
import { CLOSE_ARRAY, COMMA, OPEN_ARRAY, OPEN_OBJECT } from "./chars.ts";
import { rescan } from "./codec.ts";
import { Fault, INVALID_REQUEST } from "./fault.ts";
import type { CodecLimits, ListKind, Response } from "./message.ts";
import type { Scanner } from "./scan.ts";
import { Lookalikes, ObjectView } from "./view.ts";

export interface FilteredList {
  /** The very bytes of the answer when nothing was taken out. */
  line: Uint8Array;
  kept: number;
  /** Entries that the rules hide. */
  hidden: number;
  /** Entries that have no readable name; hidden as well. */
  unreadable: number;
}

/** The member of the result that holds the list, and the member of an entry that a rule compares. */
const SHAPES: Record<ListKind, { list: string; name: string; result: Lookalikes; entry: Lookalikes }> = {
  tools: shape("tools", "name"),
  prompts: shape("prompts", "name"),
  resources: shape("resources", "uri"),
  templates: shape("resourceTemplates", "uriTemplate"),
};

function shape(list: string, name: string) {
  return { list, name, result: new Lookalikes([list]), entry: new Lookalikes([name]) };
}

/** Throws a `Fault` when the answer is no such list. `keep` decides over one name, URI or URI template, and its entry. */
export function filterList(
  answer: Response,
  kind: ListKind,
  limits: CodecLimits,
  keep: (name: string, entry: Uint8Array) => boolean,
): FilteredList {
  const { bytes, body } = answer;
  const { list, result } = SHAPES[kind];
  body.refuseLookalikes(result);
  const span = body.span(list);
  if (span === undefined || bytes[span.start] !== OPEN_ARRAY) {
    throw new Fault(INVALID_REQUEST, `the list answer has no array "${list}"`);
  }
  return rescan(bytes, limits, (scanner) => {
    const runs = new Runs(bytes, span.start + 1);
    let unreadable = 0;
    let hidden = 0;
    let i = scanner.space(span.start + 1);
    while (bytes[i] !== CLOSE_ARRAY) {
      const entry = readEntry(bytes, i, scanner, kind, limits);
      if (entry.name !== undefined && keep(entry.name, bytes.subarray(i, entry.end))) {
        runs.keep(i, entry.end);
      } else {
        runs.drop();
        if (entry.name === undefined) unreadable += 1;
        else hidden += 1;
      }
      i = scanner.space(entry.end);
      if (bytes[i] === COMMA) i = scanner.space(i + 1);
    }
    const line = hidden + unreadable === 0 ? bytes : runs.splice(i);
    return { line, kept: runs.kept, hidden, unreadable };
  });
}

function readEntry(bytes: Uint8Array, at: number, scanner: Scanner, kind: ListKind, limits: CodecLimits) {
  if (bytes[at] !== OPEN_OBJECT) return { end: scanner.value(at, 3), name: undefined };
  const view = new ObjectView(bytes);
  const end = view.scan(scanner, at, 4);
  const { name, entry } = SHAPES[kind];
  try {
    view.refuseLookalikes(entry);
    return { end, name: view.name(name, limits.maxNameChars) };
  } catch (fault) {
    if (fault instanceof Fault) return { end, name: undefined };
    throw fault;
  }
}

/** What is kept of an array, as runs of entries that follow each other. */
class Runs {
  kept = 0;
  readonly #bytes: Uint8Array;
  readonly #head: number;
  readonly #runs: number[] = [];
  #open = false;

  /** `head`: the index after the array's opening bracket. */
  constructor(bytes: Uint8Array, head: number) {
    this.#bytes = bytes;
    this.#head = head;
  }

  keep(start: number, end: number): void {
    this.kept += 1;
    if (this.#open) this.#runs[this.#runs.length - 1] = end;
    else this.#runs.push(start, end);
    this.#open = true;
  }

  drop(): void {
    this.#open = false;
  }

  /** The line with only the kept entries; `tail` is the index of the closing bracket. */
  splice(tail: number): Uint8Array {
    const bytes = this.#bytes;
    const runs = this.#runs;
    let size = this.#head + bytes.length - tail + Math.max(0, runs.length / 2 - 1);
    for (let i = 0; i < runs.length; i += 2) size += (runs[i + 1] as number) - (runs[i] as number);
    const out = new Uint8Array(size);
    out.set(bytes.subarray(0, this.#head));
    let at = this.#head;
    for (let i = 0; i < runs.length; i += 2) {
      if (i > 0) {
        out[at] = COMMA;
        at += 1;
      }
      const run = bytes.subarray(runs[i] as number, runs[i + 1] as number);
      out.set(run, at);
      at += run.length;
    }
    out.set(bytes.subarray(tail), at);
    return out;
  }
}

const PAGE_KEYS = new Lookalikes(["tools", "nextCursor"]);

/**
 * One page of the gate's own `tools/list`: the definitions by name, and the cursor of the next page. Throws a `Fault`
 * when it can't be read.
 */
export function readTools(answer: Response, limits: CodecLimits): { tools: [string, Uint8Array][]; cursor?: string } {
  answer.body.refuseLookalikes(PAGE_KEYS);
  const tools: [string, Uint8Array][] = [];
  filterList(answer, "tools", limits, (name, entry) => {
    tools.push([name, entry]);
    return true;
  });
  const cursor = answer.body.name("nextCursor", MAX_CURSOR_CHARS);
  return cursor === undefined ? { tools } : { tools, cursor };
}

const MAX_CURSOR_CHARS = 8192;
const INPUT_KEYS = new Lookalikes(["inputRequests", "resultType"]);
const METHOD_KEYS = new Lookalikes(["method"]);

/**
 * The methods that an `input_required` result (2026-07-28) asks the client to run: there they stand for the requests
 * that a server sent itself in older revisions. Throws a `Fault` when they cannot be read.
 */
export function readInputMethods(answer: Response, limits: CodecLimits): string[] {
  const { bytes, body } = answer;
  body.refuseLookalikes(INPUT_KEYS);
  const span = body.span("inputRequests");
  if (span === undefined) return [];
  if (bytes[span.start] !== OPEN_OBJECT) throw new Fault(INVALID_REQUEST, `"inputRequests" is not an object`);
  return rescan(bytes, limits, (scanner) => {
    const inputs = new ObjectView(bytes);
    inputs.scan(scanner, span.start, 3);
    const methods: string[] = [];
    for (let at = 2; at < inputs.places.length; at += 4) {
      const start = inputs.places[at] as number;
      if (bytes[start] !== OPEN_OBJECT) throw new Fault(INVALID_REQUEST, "an input request is not an object");
      const input = new ObjectView(bytes);
      input.scan(scanner, start, 4);
      input.refuseLookalikes(METHOD_KEYS);
      const method = input.name("method", 256);
      if (method === undefined) throw new Fault(INVALID_REQUEST, "an input request has no method");
      methods.push(method);
    }
    return methods;
  });
}
