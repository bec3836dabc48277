/** Traits: what is known of a user besides the roles, as lists of words under names. Templates in roles stand for them. */
import { Failure } from "../errors.ts";

export type Traits = Readonly<Record<string, readonly string[]>>;

/** The trait behind `{{internal.mcp_tools}}` and `--set-mcp-tools`. */
export const MCP_TOOLS = "mcp_tools";

const NAME = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/;
const MAX_NAMES = 64;
const MAX_VALUES = 200;
const MAX_VALUE_CHARS = 256;
/** Of all of a user's traits as JSON: they travel in every grant. */
export const MAX_TRAITS_CHARS = 16 * 1024;

/** Traits from parsed JSON. Throws a `Failure("invalid")` that names the trait. An empty list is a trait that holds nothing. */
export function parseTraits(value: unknown): Traits {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong("traits", "must be a mapping");
  const entries = Object.entries(value);
  if (entries.length > MAX_NAMES) throw wrong("traits", `more than ${MAX_NAMES} of them`);
  const traits: Record<string, string[]> = {};
  for (const [name, values] of entries) {
    if (!NAME.test(name)) {
      throw wrong(
        "traits",
        `${JSON.stringify(name.slice(0, 80))} is no name: a letter, then letters, digits and . _ -`,
      );
    }
    traits[name] = parseValues(`traits.${name}`, values);
  }
  if (JSON.stringify(traits).length > MAX_TRAITS_CHARS) throw wrong("traits", `over ${MAX_TRAITS_CHARS} characters`);
  return traits;
}

/** The values of one trait; `undefined` where the user does not have it. */
export const traitValues = (traits: Traits, name: string): readonly string[] | undefined =>
  Object.hasOwn(traits, name) ? traits[name] : undefined;

function parseValues(path: string, values: unknown): string[] {
  if (!Array.isArray(values)) throw wrong(path, "must be a list of strings");
  if (values.length > MAX_VALUES) throw wrong(path, `more than ${MAX_VALUES} values`);
  for (const value of values) {
    if (typeof value !== "string" || value === "") throw wrong(path, "must hold strings that are not empty");
    if (value.length > MAX_VALUE_CHARS) throw wrong(path, `a value is longer than ${MAX_VALUE_CHARS} characters`);
    if (/\p{Cc}/u.test(value)) throw wrong(path, "a value holds a control character");
  }
  return [...new Set(values as string[])];
}

const wrong = (path: string, what: string): Failure => new Failure("invalid", `${path}: ${what}`);
