/**
 * Templates in roles: `{{internal.NAME}}` and `{{external.NAME}}` stand for the values of a user's trait (one set of
 * traits here; the original's two names for it load as they are). One in an entry, alone or with text around it.
 *
 * A template is never a way to more than its role's author could see: alone, a value is an entry as if it stood in the
 * role (`*` is everything, as `--set-mcp-tools='*'` means it); with text around it, a value is plain text.
 */
import { RE2JS } from "re2js";
import { Failure } from "../errors.ts";
import { isRegex } from "./match.ts";
import { type Traits, traitValues } from "./traits.ts";

interface Template {
  before: string;
  trait: string;
  after: string;
}

const FORM =
  /\{\{\s*(?:internal|external|user\.traits)(?:\.([A-Za-z][A-Za-z0-9_.-]{0,63})|\["([^"{}]{1,64})"\])\s*\}\}/;

/** The template in an entry; `undefined` where there is none. Throws `Failure("invalid")` for a broken one, or a second. */
export function parseTemplate(entry: string): Template | undefined {
  if (!entry.includes("{{")) return undefined;
  const found = FORM.exec(entry);
  if (found === null) {
    throw new Failure("invalid", `${JSON.stringify(entry)} has no template that is known; like {{external.team}}`);
  }
  const before = entry.slice(0, found.index);
  const after = entry.slice(found.index + found[0].length);
  if (before.includes("{{") || after.includes("{{")) {
    throw new Failure("invalid", `${JSON.stringify(entry)} has more than one template`);
  }
  return { before, trait: found[1] ?? found[2] ?? "", after };
}

/**
 * An entry with its template filled in: one entry for each value of the trait. `compile` says whether an entry is sound
 * by throwing. On the side of `allow`, a trait that the user doesn't have and a value that makes no entry allow nothing;
 * on the side of `deny` they deny whatever any value could have denied, for nobody knows what was meant. A trait that is
 * there and empty denies nothing.
 */
export function expandEntry(
  entry: string,
  traits: Traits,
  side: "allow" | "deny",
  compile: (entry: string) => unknown,
): string[] {
  const template = parseTemplate(entry);
  if (template === undefined) return [entry];
  const values = traitValues(traits, template.trait);
  const widest = anyText(template);
  if (values === undefined) return side === "deny" ? [widest] : [];
  return values.flatMap((value) => {
    const filled = fill(template, value);
    if (filled !== undefined && sound(filled, compile)) return [filled];
    return side === "deny" ? [widest] : [];
  });
}

/** `undefined`: the value would be read as a pattern where plain text is wanted. */
function fill({ before, after }: Template, value: string): string | undefined {
  if (before === "" && after === "") return value;
  if (isRegex(`${before}x${after}`)) return `${before}${RE2JS.quote(value)}${after}`;
  const filled = before + value + after;
  return value.includes("*") || isRegex(filled) ? undefined : filled;
}

/** An entry without its template, to check the rest of it by: any text stands in the template's place. */
export function withoutTemplate(entry: string): string {
  const template = parseTemplate(entry);
  return template === undefined ? entry : anyText(template);
}

const anyText = ({ before, after }: Template): string =>
  `${before}${isRegex(`${before}x${after}`) ? "(?s:.*)" : "*"}${after}`;

function sound(entry: string, compile: (entry: string) => unknown): boolean {
  try {
    compile(entry);
    return true;
  } catch {
    return false;
  }
}
