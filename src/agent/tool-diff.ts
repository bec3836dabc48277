/** What changed in a tool's definition, for people to read: a line for each value, with nothing invisible in it. */

/** Lines of one diff, and characters of one line. */
const MAX_LINES = 40;
const MAX_LINE = 400;
/** Unchanged characters that are left around a change in a long text. */
const CONTEXT = 60;

/**
 * `- path: value` for what is gone and `+ path: value` for what is there now. Both are canonical definitions
 * (`readDefinition`); undefined: not kept.
 */
export function diffDefinitions(before: string | undefined, after: string | undefined): string[] {
  if (before === undefined || after === undefined) return ["(the definition is too long to be shown)"];
  const old = leavesOf(before);
  const now = leavesOf(after);
  const lines: string[] = [];
  for (const path of new Set([...old.keys(), ...now.keys()])) {
    const [was, is] = [old.get(path), now.get(path)];
    if (was === is) continue;
    if (was !== undefined && is !== undefined) {
      const [cutWas, cutIs] = aroundChange(was, is);
      lines.push(line("-", path, cutWas), line("+", path, cutIs));
    } else lines.push(was === undefined ? line("+", path, is ?? "") : line("-", path, was));
  }
  const rest = lines.length - MAX_LINES;
  return rest > 0 ? [...lines.slice(0, MAX_LINES), `(${rest} more lines)`] : lines;
}

/** A definition as lines of the same kind. */
export const showDefinition = (text: string | undefined): string[] => diffDefinitions("{}", text);

function line(sign: string, path: string, value: string): string {
  const shown = visible(`${sign} ${path}: ${value.slice(0, 2 * MAX_LINE)}`);
  return shown.length > MAX_LINE ? `${shown.slice(0, MAX_LINE - 1)}…` : shown;
}

/** Every value that is no object or list, and empty ones, under its path, as JSON. */
function leavesOf(text: string): Map<string, string> {
  const leaves = new Map<string, string>();
  const walk = (value: unknown, path: string) => {
    const entries = typeof value === "object" && value !== null ? Object.entries(value) : [];
    if (entries.length === 0) leaves.set(path, JSON.stringify(value));
    for (const [key, item] of entries) walk(item, path === "" ? shownKey(key) : `${path}.${shownKey(key)}`);
  };
  for (const [key, item] of Object.entries(JSON.parse(text) as object)) walk(item, shownKey(key));
  return leaves;
}

const shownKey = (key: string): string => (/^[\w$-]{1,80}$/.test(key) ? key : JSON.stringify(key.slice(0, 80)));

/** Both texts without what they have in common at either end, but for a little of it. */
function aroundChange(was: string, is: string): [string, string] {
  let head = 0;
  while (head < was.length && was[head] === is[head]) head += 1;
  let tail = 0;
  while (tail < Math.min(was.length, is.length) - head && was.at(-1 - tail) === is.at(-1 - tail)) tail += 1;
  const from = Math.max(0, head - CONTEXT);
  const end = Math.max(0, tail - CONTEXT);
  const cut = (text: string) => `${from > 0 ? "…" : ""}${text.slice(from, text.length - end)}${end > 0 ? "…" : ""}`;
  return [cut(was), cut(is)];
}

/**
 * Format characters (zero-width, bidirectional, tags), controls, private and unassigned ones, variation selectors and
 * blanks that are no spaces: what a person can't see and a model reads.
 */
const INVISIBLE =
  /[\p{Cf}\p{Cc}\p{Co}\p{Cs}\p{Cn}\p{Zl}\p{Zp}\p{Variation_Selector}\u115f\u1160\u2800\u3164\uffa0]|\u034f|[\u17b4-\u17b5]|(?! )\p{Zs}/gu;

/** The text with `<U+200B>` in the place of each character that can't be seen. */
export const visible = (text: string): string =>
  text.replace(INVISIBLE, (char) => `<U+${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}>`);
