/** Labels of apps, and the selectors that roles have for them. */
import { Failure } from "../errors.ts";
import { compilePattern } from "./match.ts";
import { expandEntry } from "./template.ts";
import type { Traits } from "./traits.ts";

export type Labels = Record<string, string>;
export type LabelSelector = Record<string, string | string[]>;

const TELEPORT = "teleport.internal/";
const MCPGATE = "mcpgate.internal/";

/** The same label by either name. */
export const canonicalKey = (key: string): string =>
  key.startsWith(TELEPORT) ? MCPGATE + key.slice(TELEPORT.length) : key;

/** An app's labels as selectors see them, with the one that every app carries, which no app can change. */
export function effectiveLabels(labels: Labels): Labels {
  const out: Labels = {};
  for (const [key, value] of Object.entries(labels)) out[canonicalKey(key)] = value;
  out[`${MCPGATE}app-sub-kind`] = "mcp";
  return out;
}

/**
 * A selector as a matcher over effective labels. Every key must be there with one of its values (literal, glob, `^…$`);
 * `'*': '*'` matches every app; an empty selector none. Throws a `Failure("invalid")` for a broken pattern.
 */
export function compileSelector(selector: LabelSelector): (labels: Labels) => boolean {
  const tests: ((labels: Labels) => boolean)[] = [];
  for (const [key, value] of Object.entries(selector)) {
    const values = Array.isArray(value) ? value : [value];
    if (key === "*") {
      if (!values.includes("*")) throw new Failure("invalid", `the label '*' takes only the value '*'`);
      tests.push(() => true);
      continue;
    }
    const name = canonicalKey(key);
    const matchers = values.map(compilePattern);
    tests.push((labels) => {
      const label = Object.hasOwn(labels, name) ? labels[name] : undefined;
      return label !== undefined && matchers.some((matches) => matches(label));
    });
  }
  return (labels) => tests.length > 0 && tests.every((test) => test(labels));
}

/**
 * Whether one of the selectors matches these labels of an app. One that is broken matches nothing: other machines send
 * selectors, too.
 */
export function compileSelectors(selectors: readonly LabelSelector[]): (labels: Labels) => boolean {
  const tests = selectors.flatMap((selector) => {
    try {
      return [compileSelector(selector)];
    } catch {
      return [];
    }
  });
  return (labels) => {
    const effective = effectiveLabels(labels);
    return tests.some((test) => test(effective));
  };
}

/** The selector with its templates filled in. A value that expands to nothing leaves its key, which then matches nothing. */
export function expandSelector(selector: LabelSelector, traits: Traits, side: "allow" | "deny"): LabelSelector {
  const out: LabelSelector = {};
  for (const [key, value] of Object.entries(selector)) {
    const values = Array.isArray(value) ? value : [value];
    out[key] = key === "*" ? values : values.flatMap((entry) => expandEntry(entry, traits, side, compilePattern));
  }
  return out;
}
