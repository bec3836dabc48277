/** A gate with a clock and ids that a test can read, and both its sides as lists of lines. */
import { Gate } from "../../src/gate/gate.ts";
import type { ToolPins } from "../../src/gate/pinning.ts";
import type { GateLimits } from "../../src/gate/state.ts";
import type { Step } from "../../src/gate/step.ts";
import type { AppRules, McpRules } from "../../src/rbac/rules.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export const bytes = (text: string): Uint8Array => encoder.encode(text.endsWith("\n") ? text : `${text}\n`);
export const text = (line: Uint8Array | undefined): string => decoder.decode(line);

export const rulesOf = (allow: McpRules, deny: McpRules = {}): AppRules => ({
  v: 1,
  roles: [{ role: "dev", allow, deny }],
  facts: { user: { name: "alice", roles: ["dev"], traits: {} }, app: { name: "everything", labels: { env: "test" } } },
});

export interface Session {
  gate: Gate;
  /** Monotonic milliseconds; add to it. */
  clock: { now: number };
  client(message: unknown): Step;
  server(message: unknown): Step;
}

export function openSession(
  allow: McpRules,
  deny: McpRules = {},
  limits: Partial<GateLimits> = {},
  pins?: ToolPins,
): Session {
  const clock = { now: 1000 };
  let uid = 0;
  const gate = new Gate({
    app: "everything",
    rules: rulesOf(allow, deny),
    newUid: () => `uid-${++uid}`,
    now: () => clock.now,
    redact: (json) => JSON.parse(text(json)) as Record<string, unknown>,
    limits,
    pins,
  });
  const line = (message: unknown) => bytes(typeof message === "string" ? message : JSON.stringify(message));
  return {
    gate,
    clock,
    client: (message) => gate.fromClient(line(message)),
    server: (message) => gate.fromServer(line(message)),
  };
}

export const request = (id: string | number, method: string, params?: unknown) => ({
  jsonrpc: "2.0",
  id,
  method,
  ...(params === undefined ? {} : { params }),
});
export const notification = (method: string, params?: unknown) => ({
  jsonrpc: "2.0",
  method,
  ...(params === undefined ? {} : { params }),
});
export const result = (id: string | number, value: unknown) => ({ jsonrpc: "2.0", id, result: value });

export const parsed = (lines: Uint8Array[]): unknown[] => lines.map((line) => JSON.parse(text(line)) as unknown);
