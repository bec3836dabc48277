/** One entry of a rule as a matcher: literal, glob or regular expression, in time linear in the text. */
import { RE2JS } from "re2js";
import { Failure } from "../errors.ts";

export const MAX_PATTERN_CHARS = 1024;
/** RE2's measure of a compiled expression; repeats such as `(x{1000}){1000}` end here. */
const MAX_PROGRAM = 20_000;

export type TextMatcher = (text: string) => boolean;

export const isRegex = (pattern: string): boolean => pattern.startsWith("^") && pattern.endsWith("$");

/**
 * `^…$` is a regular expression (RE2 syntax; as in the original, searched for: `^a|b$` is "begins with a or ends with
 * b"); `*` in anything else stands for any text, also none. Throws a `Failure("invalid")` for a broken or oversized one.
 */
export function compilePattern(pattern: string): TextMatcher {
  if (pattern.length > MAX_PATTERN_CHARS) {
    throw new Failure("invalid", `a pattern is longer than ${MAX_PATTERN_CHARS} characters`);
  }
  if (isRegex(pattern)) return compileRegex(pattern);
  if (pattern === "*") return () => true;
  if (pattern.includes("*")) return compileGlob(pattern);
  return (text) => text === pattern;
}

/**
 * The sessions of an agent have the same few expressions in their rules, each of which takes kilobytes and a tenth of a
 * millisecond to compile. Only small ones are remembered, and so many.
 */
const remembered = new Map<string, TextMatcher>();
const [MAX_REMEMBERED, SMALL_PROGRAM] = [1024, 500];

/** A regular expression, searched for anywhere in the text. Throws a `Failure("invalid")` for a broken or oversized one. */
export function compileRegex(pattern: string): TextMatcher {
  const known = remembered.get(pattern);
  if (known !== undefined) return known;
  if (pattern.length > MAX_PATTERN_CHARS) {
    throw new Failure("invalid", `a pattern is longer than ${MAX_PATTERN_CHARS} characters`);
  }
  let regex: RE2JS;
  let size: number;
  try {
    regex = RE2JS.compile(pattern);
    size = regex.programSize();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Failure("invalid", `the regular expression ${JSON.stringify(pattern)} is broken: ${why}`, { cause });
  }
  if (size > MAX_PROGRAM) {
    throw new Failure("invalid", `the regular expression ${JSON.stringify(pattern)} is too large`);
  }
  const matches = (text: string): boolean => regex.test(text);
  if (size <= SMALL_PROGRAM) {
    if (remembered.size >= MAX_REMEMBERED) remembered.clear();
    remembered.set(pattern, matches);
  }
  return matches;
}

function compileGlob(pattern: string): TextMatcher {
  const parts = pattern.split("*");
  const first = parts[0] as string;
  const last = parts[parts.length - 1] as string;
  const middle = parts.slice(1, -1).filter((part) => part !== "");
  return (text) => {
    if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false;
    // The leftmost place for each part leaves the most room for the next: no going back.
    let at = first.length;
    const end = text.length - last.length;
    for (const part of middle) {
      const found = text.indexOf(part, at);
      if (found === -1 || found + part.length > end) return false;
      at = found + part.length;
    }
    return true;
  };
}
