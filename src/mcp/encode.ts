/** Messages of the gate's own, as lines with their line feed. */
import type { Id } from "./message.ts";
import { encodeText } from "./strings.ts";

/** A JSON-RPC error. `id` is null when the request's is not known (JSON-RPC 2.0, section 5). */
export function encodeError(id: Id | null, code: number, message: string, data?: unknown): Uint8Array {
  const error = data === undefined ? { code, message } : { code, message, data };
  return encodeLine({ jsonrpc: "2.0", id, error });
}

export function encodeNotification(method: string, params?: Record<string, unknown>): Uint8Array {
  return encodeLine(params === undefined ? { jsonrpc: "2.0", method } : { jsonrpc: "2.0", method, params });
}

/** `params` is JSON text: a part of a client's message may be in it, byte for byte. */
export const encodeRequest = (id: Id, method: string, params: string): Uint8Array =>
  encodeText(`{"jsonrpc":"2.0","id":${JSON.stringify(id)},"method":${JSON.stringify(method)},"params":${params}}\n`);

/** An answer; `id` and `result` are JSON text: what stood in the request goes back as it was written. */
export const encodeResult = (id: string, result: string): Uint8Array =>
  encodeText(`{"jsonrpc":"2.0","id":${id},"result":${result}}\n`);

const encodeLine = (message: unknown): Uint8Array => encodeText(`${JSON.stringify(message)}\n`);
