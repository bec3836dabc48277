/** What every driver sends: the same bytes to everybody. */

export const INITIALIZE = `${JSON.stringify({
  jsonrpc: "2.0",
  id: 0,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "bench", version: "1" } },
})}\n`;
export const INITIALIZED = `${JSON.stringify({ jsonrpc: "2.0", method: "notifications/initialized" })}\n`;

export interface Call {
  /** Bytes of text in the result; 2 unless told. */
  size?: number;
  /** Progress notifications before the result. */
  progress?: number;
  /** Something to find the call by in the audit log. */
  marker?: string;
}

/** One line. */
export function callLine(id: number, { size, progress, marker }: Call = {}): string {
  const more = `${size === undefined ? "" : `,"size":${size}`}${progress === undefined ? "" : `,"count":${progress}`}`;
  const meta = progress === undefined ? "" : `,"_meta":{"progressToken":${id}}`;
  const text = marker ?? "hello";
  return `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"echo","arguments":{"text":"${text}"${more}}${meta}}}\n`;
}
