/** The functions of `app_labels_expression`: named as the original's, with its meanings. */
import { Failure } from "../errors.ts";
import { compilePattern } from "./match.ts";

export type Type = "string" | "list" | "bool";
export type Value = string | readonly string[] | boolean;

interface Call {
  type: Type;
  apply(values: Value[]): Value;
}

/** From the types of the arguments, and what those are that stand there as strings. Throws `Failure("invalid")`. */
type Make = (types: Type[], literals: (string | undefined)[]) => Call;

const texts = (value: Value | undefined): readonly string[] =>
  Array.isArray(value) ? value : typeof value === "string" ? [value] : [];
const text = (value: Value | undefined): string => (typeof value === "string" ? value : "");

/** `types`: what each argument may be. */
function fixed(wanted: Type[][], type: Type, apply: (values: Value[]) => Value): Make {
  return (types) => {
    const told = wanted.map((choices) => choices.join(" or ")).join(", ");
    if (types.length !== wanted.length) throw new Failure("invalid", `takes (${told})`);
    for (const [index, given] of types.entries()) {
      if (!wanted[index]?.includes(given)) throw new Failure("invalid", `takes (${told}), not a ${given}`);
    }
    return { type, apply };
  };
}

/** Any number of strings and lists. */
const gather: Make = (types) => {
  if (types.includes("bool")) throw new Failure("invalid", "takes strings and lists");
  return { type: "list", apply: (values) => [...new Set(values.flatMap(texts))] };
};

/** Strings one by one, lists each of their values. */
function each(change: (value: string) => string): Make {
  return (types) => {
    const [type] = types;
    if (types.length !== 1 || type === undefined || type === "bool") {
      throw new Failure("invalid", "takes a string or a list");
    }
    return { type, apply: ([value]) => (type === "list" ? texts(value).map(change) : change(text(value))) };
  };
}

/** The pattern is an entry as in every other rule: literal, glob or `^…$`; it stands there, so it is compiled once. */
const regexpMatch: Make = (types, literals) => {
  const pattern = literals[1];
  if (types.length !== 2 || types[0] === "bool" || pattern === undefined) {
    throw new Failure("invalid", "takes a string or a list, and a pattern in quotes");
  }
  const matches = compilePattern(pattern);
  return { type: "bool", apply: ([value]) => texts(value).some(matches) };
};

const any: Type[] = ["list", "string"];

export const FUNCTIONS: Readonly<Record<string, Make>> = {
  contains: fixed([["list"], ["string"]], "bool", ([list, item]) => texts(list).includes(text(item))),
  contains_any: fixed([["list"], any], "bool", ([list, items]) => texts(items).some((i) => texts(list).includes(i))),
  // of nothing, all is not contained: an empty list must not open everything
  contains_all: fixed(
    [["list"], any],
    "bool",
    ([list, items]) => texts(items).length > 0 && texts(items).every((item) => texts(list).includes(item)),
  ),
  is_empty: fixed([["list"]], "bool", ([list]) => texts(list).length === 0),
  hasPrefix: fixed([["string"], ["string"]], "bool", ([value, prefix]) => text(value).startsWith(text(prefix))),
  hasSuffix: fixed([["string"], ["string"]], "bool", ([value, suffix]) => text(value).endsWith(text(suffix))),
  set: gather,
  union: gather,
  "strings.lower": each((value) => value.toLowerCase()),
  "strings.upper": each((value) => value.toUpperCase()),
  "regexp.match": regexpMatch,
};
