/**
 * Sets one member in a JSON text and leaves every other byte as it was: order, indentation, comments, trailing commas.
 * Reads JSON and what editors allow on top of it (JSONC: comments, trailing commas). No I/O.
 */
import { Failure } from "../errors.ts";
import { printable } from "../log.ts";

interface JsoncObject {
  kind: "object";
  start: number;
  /** After the closing brace. */
  end: number;
  members: { key: string; start: number; value: JsoncNode }[];
  /** Where the comma after the last member stands, if there is one. */
  trailingComma: boolean;
}
interface JsoncArray {
  kind: "array";
  start: number;
  end: number;
  items: JsoncNode[];
}
interface JsoncScalar {
  kind: "scalar";
  start: number;
  end: number;
  value: string | number | boolean | null;
}
type JsoncNode = JsoncObject | JsoncArray | JsoncScalar;

const MAX_DEPTH = 200;

/**
 * The text with the member at `path` set to `value`, objects on the way made where they are missing; an empty text
 * counts as `{}`. The very same text when the member is already so.
 * @throws Failure `invalid` with line and column when the text is no JSON object, or something on the way is none.
 */
export function setMember(text: string, path: [string, ...string[]], value: unknown): string {
  const bom = text.startsWith("\ufeff") ? "\ufeff" : "";
  const body = text.slice(bom.length);
  if (body.trim() === "") return `${bom}${pretty(wrap(path, value), "", "  ", "\n")}\n`;
  const root = parse(body);
  return bom + edit(body, root, path, value);
}

/** The member at `path`; undefined where there is none. The same errors as `setMember`. */
export function getMember(text: string, path: string[]): unknown {
  const body = text.replace(/^\ufeff/, "");
  if (body.trim() === "") return undefined;
  let node: JsoncNode | undefined = parse(body);
  for (const key of path) node = node?.kind === "object" ? node.members.find((m) => m.key === key)?.value : undefined;
  return node === undefined ? undefined : plain(node);
}

function edit(text: string, root: JsoncNode, path: [string, ...string[]], value: unknown): string {
  let node = root;
  for (const [depth, key] of path.entries()) {
    if (node.kind !== "object") {
      const name = depth === 0 ? "the whole" : `"${path.slice(0, depth).join(".")}"`;
      throw fault(text, node.start, `${name} is not an object`);
    }
    const same = node.members.filter((member) => member.key === key);
    const [member, second] = same;
    if (second !== undefined) throw fault(text, second.start, `a second "${key}"`);
    if (member === undefined) {
      const rest = path.slice(depth + 1);
      return insert(text, node, root, key, rest.length === 0 ? value : wrap(rest as [string, ...string[]], value));
    }
    node = member.value;
  }
  if (Bun.deepEquals(plain(node), value, true)) return text;
  const style = styleOf(text, root);
  const written =
    style.unit === "" ? compact(value) : pretty(value, lineIndent(text, node.start), style.unit, style.eol);
  return text.slice(0, node.start) + written + text.slice(node.end);
}

function insert(text: string, into: JsoncObject, root: JsoncNode, key: string, value: unknown): string {
  const { unit, eol } = styleOf(text, root);
  const name = JSON.stringify(key);
  const close = into.end - 1;
  const last = into.members.at(-1);
  const inner = text.slice(last?.value.end ?? into.start + 1, close);
  const oneLine = unit === "" || (last !== undefined && !text.slice(into.start, into.end).includes("\n"));
  if (oneLine) {
    const comma = last === undefined || into.trailingComma ? "" : ",";
    const gap = last === undefined ? "" : unit === "" ? "" : " ";
    const at = last === undefined ? into.start + 1 : close - (inner.length - inner.trimEnd().length);
    return `${text.slice(0, at)}${comma}${gap}${name}:${unit === "" ? "" : " "}${compact(value)}${text.slice(at)}`;
  }
  const outer = lineIndent(text, into.start);
  const first = into.members[0];
  const own = first !== undefined && startsLine(text, first.start) ? lineIndent(text, first.start) : outer + unit;
  const member = `${own}${name}: ${pretty(value, own, unit, eol)}`;
  const kept = inner.trimEnd();
  // the comma belongs right behind the last value: a comment may follow it on its line
  const comma = last === undefined || into.trailingComma ? "" : ",";
  const end = into.trailingComma ? "," : "";
  const before = text.slice(0, last?.value.end ?? into.start + 1);
  return `${before}${comma}${kept}${eol}${member}${end}${eol}${outer}${text.slice(close)}`;
}

// --- formatting ---

/** `unit` is empty for a text that is all on one line. */
function styleOf(text: string, root: JsoncNode): { unit: string; eol: string } {
  const eol = text.includes("\r\n") ? "\r\n" : "\n";
  if (root.kind !== "object" || root.members.length === 0) return { unit: "  ", eol };
  if (!text.slice(root.start, root.end).includes("\n")) return { unit: "", eol };
  const first = root.members[0];
  const indent = first !== undefined && startsLine(text, first.start) ? lineIndent(text, first.start) : "";
  const outer = lineIndent(text, root.start);
  return { unit: indent.startsWith(outer) && indent.length > outer.length ? indent.slice(outer.length) : "  ", eol };
}

/** The white space that begins the line at `offset`. */
function lineIndent(text: string, offset: number): string {
  const start = text.lastIndexOf("\n", offset - 1) + 1;
  return /^[ \t]*/.exec(text.slice(start, offset))?.[0] ?? "";
}

const startsLine = (text: string, offset: number): boolean =>
  text.slice(text.lastIndexOf("\n", offset - 1) + 1, offset).trim() === "";

/** JSON over several lines, but lists of scalars on one: the form in which MCP clients' documentation shows it. */
export function pretty(value: unknown, indent: string, unit: string, eol: string): string {
  if (Array.isArray(value)) return `[${value.map((item) => compact(item)).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const deeper = indent + unit;
  const members = Object.entries(value).map(
    ([key, item]) => `${deeper}${JSON.stringify(key)}: ${pretty(item, deeper, unit, eol)}`,
  );
  return members.length === 0 ? "{}" : `{${eol}${members.join(`,${eol}`)}${eol}${indent}}`;
}

const compact = (value: unknown): string => JSON.stringify(value);

const wrap = ([key, ...rest]: [string, ...string[]], value: unknown): unknown => ({
  [key]: rest.length === 0 ? value : wrap(rest as [string, ...string[]], value),
});

function plain(node: JsoncNode): unknown {
  if (node.kind === "scalar") return node.value;
  if (node.kind === "array") return node.items.map(plain);
  return Object.fromEntries(node.members.map(({ key, value }) => [key, plain(value)]));
}

// --- reading ---

function fault(text: string, offset: number, message: string): Failure {
  const before = text.slice(0, offset).split("\n");
  return new Failure("invalid", `line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}: ${message}`);
}

function parse(text: string): JsoncNode {
  let at = 0;
  const fail = (message: string): never => {
    throw fault(text, at, at >= text.length ? "the text ends too early" : message);
  };

  function skip(): void {
    for (;;) {
      const space = /[ \t\r\n]*/y;
      space.lastIndex = at;
      space.test(text);
      at = space.lastIndex;
      if (text.startsWith("//", at)) {
        const end = text.indexOf("\n", at);
        at = end < 0 ? text.length : end;
      } else if (text.startsWith("/*", at)) {
        const end = text.indexOf("*/", at + 2);
        if (end < 0) throw fault(text, at, "a comment without an end");
        at = end + 2;
      } else return;
    }
  }

  function scalar(): JsoncScalar {
    const end = text[at] === '"' ? stringEnd() : wordEnd();
    const source = text.slice(at, end);
    if (source === "") return fail(`unexpected ${printable(text[at] ?? "")}`);
    try {
      const value = JSON.parse(source) as JsoncScalar["value"];
      const node: JsoncScalar = { kind: "scalar", start: at, end: at + source.length, value };
      at = node.end;
      return node;
    } catch {
      return fail(`${printable(source.length > 40 ? `${source.slice(0, 40)}…` : source)} is not JSON`);
    }
  }

  /** By hand: a regular expression gives up on strings of some megabytes. */
  function stringEnd(): number {
    let end = at + 1;
    while (end < text.length && text[end] !== '"') end += text[end] === "\\" ? 2 : 1;
    return end + 1;
  }

  function wordEnd(): number {
    const word = /[-+.\w]*/y;
    word.lastIndex = at;
    word.test(text);
    return word.lastIndex;
  }

  /** After a value: true when another one may follow. */
  function separator(close: string): boolean {
    skip();
    if (text[at] === ",") {
      at++;
      skip();
      return true;
    }
    if (text[at] !== close) fail(`expected , or ${close}`);
    return false;
  }

  function value(depth: number): JsoncNode {
    if (depth > MAX_DEPTH) fail("nested too deeply");
    skip();
    const start = at;
    if (text[at] === "[") {
      at++;
      const items: JsoncNode[] = [];
      skip();
      while (text[at] !== "]") {
        items.push(value(depth + 1));
        if (!separator("]")) break;
      }
      at++;
      return { kind: "array", start, end: at, items };
    }
    if (text[at] !== "{") return scalar();
    at++;
    const members: JsoncObject["members"] = [];
    let trailingComma = false;
    skip();
    while (text[at] !== "}") {
      const keyAt = at;
      const key = text[at] === '"' ? scalar().value : fail("expected a key in quotes");
      skip();
      if (text[at] !== ":") fail("expected :");
      at++;
      members.push({ key: String(key), start: keyAt, value: value(depth + 1) });
      trailingComma = separator("}");
      if (!trailingComma) break;
    }
    at++;
    return { kind: "object", start, end: at, members, trailingComma };
  }

  const root = value(0);
  skip();
  if (at < text.length) fail("unexpected text after the end");
  return root;
}
