/**
 * A tool's definition in the one form that is hashed, kept and compared: JSON with its keys in order and without white
 * space, numbers as they were written. How a server orders or spaces its answer is no change.
 */
import { createHash } from "node:crypto";

/** Longer definitions are hashed as they came, and kept only as their hash, bytes. */
const MAX_BYTES = 256 * 1024;
/** So much of a definition's text is kept to show later what changed, characters. */
const MAX_KEPT = 16 * 1024;

export interface Definition {
  /** SHA-256, hexadecimal. */
  hash: string;
  /** Undefined: too long to keep. */
  text: string | undefined;
}

/** `json`: the definition as the server sent it; it has been through the codec. */
export function readDefinition(json: Uint8Array): Definition {
  const sha256 = (data: string | Uint8Array) => createHash("sha256").update(data).digest("hex");
  const text = json.length > MAX_BYTES ? undefined : canonicalText(json);
  if (text === undefined) return { hash: sha256(json), text: undefined };
  return { hash: sha256(text), text: text.length > MAX_KEPT ? undefined : text };
}

/** Undefined: nested too deeply. */
function canonicalText(json: Uint8Array): string | undefined {
  try {
    return JSON.stringify(JSON.parse(new TextDecoder().decode(json), inOrder));
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

// ECMAScript 2026; the types do not have it yet.
const { rawJSON } = JSON as unknown as { rawJSON(text: string): object };

function inOrder(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value === "number") return rawJSON(context?.source ?? String(value));
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const { isRawJSON } = JSON as unknown as { isRawJSON(value: unknown): boolean };
  if (isRawJSON(value)) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries);
}
