/** One entry of `mcp.resources` as a matcher over canonical URIs. */
import { compilePattern, isRegex, type TextMatcher } from "./match.ts";
import { canonicalPattern } from "./uri.ts";

/** Literals and globs may be written percent-encoded or not; a regular expression sees the decoded form. */
export function compileResource(pattern: string): TextMatcher {
  return compilePattern(isRegex(pattern) ? pattern : canonicalPattern(pattern));
}
