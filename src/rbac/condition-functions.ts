/** What a rewritten condition calls (`condition-rewrite.ts`): strict where CEL is lenient, and every step has a price. */
import { Failure } from "../errors.ts";
import { Inexact } from "./condition-values.ts";
import type { TextMatcher } from "./match.ts";

/** Steps of one evaluation; about 0.1 s where all are taken. */
const MAX_STEPS = 300_000;
/** Characters of text that count as a step. */
const CHARS_PER_STEP = 32;

/** Of the evaluation that is running: they never wait for anything, so there is one at a time. */
let steps = 0;
let patterns: ReadonlyMap<string, TextMatcher> = new Map();

/** Runs one evaluation. Throws a `Failure("invalid")` for whatever went wrong in it. */
export function measured(matchers: ReadonlyMap<string, TextMatcher>, evaluate: () => unknown): unknown {
  steps = 0;
  patterns = matchers;
  let result: unknown;
  try {
    result = evaluate();
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    // The library's word for a value of none of its types; there is one such type here.
    if (/^Unsupported type/.test(String((cause as Error).message))) throw inexact();
    const [first = ""] = (cause instanceof Error ? cause.message : String(cause)).split("\n");
    throw new Failure("invalid", first.charAt(0).toLowerCase() + first.slice(1), { cause });
  }
  // `||`, `&&` and the quantifiers go on after an error where the rest decides; not after this one.
  if (steps > MAX_STEPS) throw tooMuch();
  return result;
}

const tooMuch = (): Failure => new Failure("invalid", "the arguments are too much for the condition");

function spend(count: number): void {
  steps += count;
  if (steps > MAX_STEPS) throw tooMuch();
}

function charge(value: unknown): void {
  spend(typeof value === "string" ? 1 + value.length / CHARS_PER_STEP : Array.isArray(value) ? 1 + value.length : 1);
}

function charged(value: unknown): unknown {
  charge(value);
  if (value instanceof Inexact) throw inexact();
  return value;
}

const inexact = (): Failure =>
  new Failure("invalid", "the condition reads a number or a text that can't be held exactly");

function kindOf(value: unknown): string {
  if (value instanceof Inexact) throw inexact();
  if (value === null) return "null";
  if (typeof value === "bigint") return "number";
  if (typeof value !== "object") return typeof value;
  return Array.isArray(value) ? "list" : "map";
}

/** Deep equality that fails, rather than being false, where the types differ. */
function same(a: unknown, b: unknown): boolean {
  charge(a);
  const kind = kindOf(a);
  const other = kindOf(b);
  if (kind !== other) throw new Failure("invalid", `the condition compares a ${kind} with a ${other}`);
  // biome-ignore lint/suspicious/noDoubleEquals: integers are bigints here, doubles numbers: 1n == 1.0
  if (kind === "number") return (a as number) == (b as number);
  if (kind === "list") return sameLists(a as unknown[], b as unknown[]);
  if (kind === "map") return sameMaps(entriesOf(a as object), entriesOf(b as object));
  return a === b;
}

const sameLists = (a: unknown[], b: unknown[]): boolean =>
  a.length === b.length && a.every((item, i) => same(item, b[i]));

const sameMaps = (a: Map<string, unknown>, b: Map<string, unknown>): boolean =>
  a.size === b.size && [...a].every(([key, item]) => b.has(key) && same(item, b.get(key)));

const entriesOf = (value: object): Map<string, unknown> =>
  value instanceof Map ? (value as Map<string, unknown>) : new Map(Object.entries(value));

function sameOrNull(a: unknown, b: unknown): boolean {
  const isNull = kindOf(a) === "null" || kindOf(b) === "null";
  return isNull ? a === b : same(a, b);
}

function within(item: unknown, list: unknown): boolean {
  if (Array.isArray(list)) return list.some((each) => same(item, each));
  if (kindOf(list) !== "map") throw new Failure("invalid", `the condition looks into a ${kindOf(list)}`);
  return typeof item === "string" && entriesOf(list as object).has(item);
}

function sizeOf(value: unknown): bigint {
  charge(value);
  const kind = kindOf(value);
  if (kind === "string") return BigInt([...(value as string)].length);
  if (kind === "list") return BigInt((value as unknown[]).length);
  if (kind === "map") return BigInt(entriesOf(value as object).size);
  throw new Failure("invalid", `the condition asks for the size of a ${kind}`);
}

function texts(a: unknown, b: unknown): [string, string] {
  charge(a);
  if (kindOf(a) !== "string" || kindOf(b) !== "string") {
    throw new Failure("invalid", `the condition takes a ${kindOf(a)} for a string`);
  }
  return [a as string, b as string];
}

/** With their signatures; registered as synchronous. */
export const CONDITION_FUNCTIONS: readonly (readonly [string, (...args: unknown[]) => unknown])[] = [
  ["same(dyn, dyn): bool", same],
  ["same_or_null(dyn, dyn): bool", sameOrNull],
  ["within(dyn, dyn): bool", within],
  ["size_of(dyn): int", sizeOf],
  ["charged(dyn): dyn", charged],
  [
    "counted(): bool",
    () => {
      spend(1);
      return true;
    },
  ],
  ["starts_with(dyn, dyn): bool", (...args) => onTexts(args, (a, b) => a.startsWith(b))],
  ["ends_with(dyn, dyn): bool", (...args) => onTexts(args, (a, b) => a.endsWith(b))],
  ["has_text(dyn, dyn): bool", (...args) => onTexts(args, (a, b) => a.includes(b))],
  ["matches_re2(dyn, string): bool", (...args) => onTexts(args, matches)],
];

/** Linear in the text, with a larger factor than everything else here. */
function matches(text: string, pattern: string): boolean {
  spend(text.length / 4);
  return patterns.get(pattern)?.(text) === true;
}

function onTexts([a, b]: unknown[], test: (a: string, b: string) => boolean): boolean {
  return test(...texts(a, b));
}
