/**
 * Arguments as conditions see them. Only what every reader of the same JSON text takes for the same value is a value
 * here: a condition that touches anything else fails, and what fails denies.
 */
import { Failure } from "../errors.ts";
import { fold } from "../fold.ts";

/** Longer arguments are not judged, bytes of their JSON. */
export const MAX_ARGUMENTS_BYTES = 1024 * 1024;

/**
 * What a condition can't hold exactly: a number beyond ±(2^53−1) or with more digits than a double has, or text with a
 * lone surrogate or a zero byte (where it ends for readers in C). The CEL library knows no such type, so whatever touches
 * one fails.
 */
export class Inexact {}
const INEXACT = new Inexact();

/** Objects are maps: no key is anything but a key, also `__proto__`. */
export type Value = null | boolean | bigint | number | string | Inexact | Value[] | Map<string, Value>;

export interface Arguments {
  value: Map<string, Value>;
  /** The keys at every level, by what a lax reader may take them for. */
  keys: ReadonlyMap<string, ReadonlySet<string>>;
}

/**
 * The arguments of a call from their JSON text; none: `{}`. Integers become integers, numbers with a fraction or an
 * exponent doubles. Throws a `Failure("invalid")` when they are no object, too long, or when two keys of one object fold
 * to the same.
 */
export function readArguments(json: Uint8Array | undefined): Arguments {
  const keys = new Map<string, Set<string>>();
  if (json === undefined) return { value: new Map(), keys };
  if (json.length > MAX_ARGUMENTS_BYTES) throw refused(`are longer than ${MAX_ARGUMENTS_BYTES} bytes`);
  // `source` (ECMAScript 2026) is not in the library's types yet.
  const revive = (_key: string, item: unknown, context?: { source?: string }) => toValue(item, context?.source, keys);
  const value = JSON.parse(decoder.decode(json), revive) as Value;
  if (!(value instanceof Map)) throw refused("are no object");
  return { value, keys };
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const refused = (what: string): Failure => new Failure("invalid", `the arguments ${what}`);

/** What is inside `item` has been through here. */
function toValue(item: unknown, source: string | undefined, keys: Map<string, Set<string>>): Value {
  switch (typeof item) {
    case "number":
      return toNumber(item, source ?? "");
    case "string":
      return item.isWellFormed() && !item.includes("\0") ? item : INEXACT;
    case "object":
      return item === null || Array.isArray(item) || item instanceof Inexact ? (item as Value) : toMap(item, keys);
    default:
      return item as boolean;
  }
}

function toMap(item: object, keys: Map<string, Set<string>>): Map<string, Value> {
  const map = new Map<string, Value>();
  const folded = new Set<string>();
  for (const [key, value] of Object.entries(item)) {
    const form = fold(key);
    if (folded.has(form)) throw refused("have two keys in one object that may be mistaken for each other");
    folded.add(form);
    const known = keys.get(form);
    if (known === undefined) keys.set(form, new Set([key]));
    else known.add(key);
    map.set(key, value as Value);
  }
  return map;
}

function toNumber(value: number, source: string): Value {
  if (Math.abs(value) > Number.MAX_SAFE_INTEGER) return INEXACT;
  if (/^-?\d+$/.test(source)) return BigInt(source);
  return sameNumber(source, String(value)) ? value : INEXACT;
}

/** Whether two decimal texts are the same number: what a double prints is the number that it was read from. */
const sameNumber = (a: string, b: string): boolean => normal(a) === normal(b);

/** Digits without zeros at either end, and the power of ten of the last one. */
function normal(text: string): string {
  const [, sign = "", whole = "", part = "", exponent = "0"] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  const digits = (whole + part).replace(/^0+/, "");
  const kept = digits.replace(/0+$/, "");
  if (kept === "") return "0";
  return `${sign}${kept}e${Number(exponent) - part.length + (digits.length - kept.length)}`;
}
