/**
 * Tool arguments as the audit log keeps them: readable, bounded, and without what looks like a secret.
 */
import { createHash } from "node:crypto";
import { hasSecretName, REDACTED, withoutSecrets } from "./secrets.ts";

export interface RedactLimits {
  /** Longer arguments are cut, bytes of their JSON. */
  maxBytes: number;
  /** What lies deeper is replaced by a note. */
  maxDepth: number;
  /** The preview of cut arguments, about so many characters. */
  previewChars: number;
  /** Of arguments longer than this not even a preview is made, bytes. */
  previewMaxBytes: number;
}

export const REDACT_LIMITS: Readonly<RedactLimits> = {
  maxBytes: 16 * 1024,
  maxDepth: 64,
  previewChars: 2048,
  previewMaxBytes: 1024 * 1024,
};

/**
 * The JSON text of a tool's arguments as an object for the audit log.
 * - The value of a member whose name looks like a secret's, at any depth, is `"<redacted>"` (`src/audit/secrets.ts` has the
 *   list), and so are well-known secrets within strings.
 * - Over 16 KiB: `{_truncated: true, size, sha256, preview}`: bytes and hex digest of the JSON text as it came, and the
 *   first of it, redacted and cut (no preview over 1 MiB).
 * - A number that JavaScript can't hold exactly becomes a string of its digits.
 * - Arguments that are no object become `{_value: …}`; text that is no JSON `{_invalid: true, size, sha256}`.
 * Never throws; linear in the size of `json`.
 */
export function redactArguments(json: Uint8Array, limits?: Partial<RedactLimits>): Record<string, unknown> {
  const bounds = limits === undefined ? REDACT_LIMITS : { ...REDACT_LIMITS, ...limits };
  const cut = json.byteLength > bounds.maxBytes;
  try {
    const preview = !cut || json.byteLength <= bounds.previewMaxBytes ? redacted(json, bounds, cut) : {};
    return cut ? { _truncated: true, ...digest(json), ...preview } : preview;
  } catch {
    return { _invalid: true, ...digest(json) };
  }
}

function redacted(json: Uint8Array, limits: RedactLimits, cut: boolean): Record<string, unknown> {
  const budget = cut ? { chars: limits.previewChars } : undefined;
  const value = visit(parse(json), { depth: limits.maxDepth, budget });
  if (cut) return { preview: value };
  return isObject(value) ? value : { _value: value };
}

function digest(json: Uint8Array): { size: number; sha256: string } {
  return { size: json.byteLength, sha256: createHash("sha256").update(json).digest("hex") };
}

interface Bounds {
  depth: number;
  /** What a preview may still take; no bound without it. */
  budget: { chars: number } | undefined;
}

/** A copy of `value` within bounds. Recursion ends with the depth. */
function visit(value: unknown, bounds: Bounds): unknown {
  const { depth, budget } = bounds;
  if (typeof value === "string") {
    // Of a long text only the beginning is shown; a secret that begins there is looked for a good way beyond it.
    const head = budget === undefined ? value : value.slice(0, LOOKED_AT);
    return clip(withoutSecrets(head), budget, value.length - head.length);
  }
  if (typeof value !== "object" || value === null) {
    if (budget !== undefined) budget.chars -= 8;
    return value;
  }
  if (depth === 0) return "<nested too deeply>";
  const inner = { depth: depth - 1, budget };
  return Array.isArray(value) ? visitArray(value, inner) : visitObject(value as Record<string, unknown>, inner);
}

function visitArray(value: unknown[], bounds: Bounds): unknown[] {
  const items: unknown[] = [];
  for (const item of value) {
    if (isSpent(bounds)) {
      items.push(`<${value.length - items.length} more>`);
      break;
    }
    items.push(visit(item, bounds));
  }
  return items;
}

function visitObject(value: Record<string, unknown>, bounds: Bounds): Record<string, unknown> {
  const copy: Record<string, unknown> = {};
  const named = namesSecret(value);
  const keys = Object.keys(value);
  let shown = 0;
  for (const key of keys) {
    if (isSpent(bounds)) {
      define(copy, "_more", keys.length - shown);
      break;
    }
    const item = value[key];
    const secret = hasSecretName(key, item) || (named && key.toLowerCase() === "value" && isKept(item));
    define(copy, clip(key, bounds.budget), secret ? REDACTED : visit(item, bounds));
    shown += 1;
  }
  return copy;
}

/** A key `__proto__` stays a key. */
function define(object: Record<string, unknown>, key: string, value: unknown): void {
  if (key !== "__proto__") object[key] = value;
  else Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
}

/** `{"name": "Authorization", "value": "…"}`, as lists of headers and of environment variables spell it. */
function namesSecret(value: Record<string, unknown>): boolean {
  const { name, key, header } = value;
  return isSecretLabel(name) || isSecretLabel(key) || isSecretLabel(header);
}

const isSecretLabel = (label: unknown): boolean => typeof label === "string" && hasSecretName(label, "");

const isKept = (value: unknown): boolean => value !== null && typeof value !== "boolean";

const isSpent = ({ budget }: Bounds): boolean => budget !== undefined && budget.chars <= 0;

/** `beyond`: characters that come after `text` and are not shown in any case. */
function clip(text: string, budget: { chars: number } | undefined, beyond = 0): string {
  if (budget === undefined) return text;
  const room = Math.max(0, Math.min(budget.chars, 256));
  budget.chars -= Math.min(text.length, room) + 4;
  const more = Math.max(0, text.length - room) + beyond;
  return more === 0 ? text : `${text.slice(0, room)}<${more} more>`;
}

/** Characters of one text that a preview reads. */
const LOOKED_AT = 4096;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Digits or exponents that a JavaScript number may not hold. */
const INEXACT = /\d{16}|\d[eE]/;

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function parse(json: Uint8Array): unknown {
  const text = UTF8.decode(json);
  if (INEXACT.test(text)) {
    try {
      return JSON.parse(text, exact);
    } catch {
      // nested too deeply for a reviver, or no JSON at all: the plain parser tells
    }
  }
  return JSON.parse(text);
}

/** A number whose digits JavaScript would print differently becomes a string of what was written. */
function exact(this: unknown, _key: string, value: unknown, context?: { source?: string }): unknown {
  const source = context?.source;
  if (typeof value !== "number" || source === undefined) return value;
  return Number.isFinite(value) && significant(String(value)) === significant(source) ? value : source;
}

const significant = (digits: string): string =>
  digits
    .replace(/[eE].*$/, "")
    .replace(/[^0-9]/g, "")
    .replace(/^0+|0+$/g, "");
