/** What the MCP client had the server keep for it, so that the next session's server is told again. */
import { memberAt } from "../mcp/members.ts";
import type { Call } from "./open-calls.ts";

export interface KeptRequest {
  /** For a person: "the log level". */
  what: string;
  /** The request, under the MCP client's id. */
  bytes: Uint8Array;
}

const KEPT = new Set(["logging/setLevel", "resources/subscribe", "resources/unsubscribe"]);
/** Syslog severities as MCP names them, from the most to the least talkative. */
const LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

export class ServerState {
  #level: { name: string; bytes: Uint8Array } | undefined;
  readonly #subscriptions = new Map<string, Uint8Array>();

  /** Whether requests of this method change what a server keeps. */
  static keeps(method: string): boolean {
    return KEPT.has(method);
  }

  /** The server said yes to this. */
  answered({ method, bytes }: Call): void {
    if (bytes === undefined) return;
    if (method === "logging/setLevel") {
      this.#level = { name: String(memberAt(bytes, ["params", "level"])), bytes };
      return;
    }
    const uri = String(memberAt(bytes, ["params", "uri"]));
    if (method === "resources/subscribe") this.#subscriptions.set(uri, bytes);
    else if (method === "resources/unsubscribe") this.#subscriptions.delete(uri);
  }

  /** The requests that bring another server to the same state. */
  requests(): KeptRequest[] {
    const level = this.#level === undefined ? [] : [{ what: "the log level", bytes: this.#level.bytes }];
    const subscriptions = [...this.#subscriptions].map(([uri, bytes]) => ({
      what: `the subscription to ${uri}`,
      bytes,
    }));
    return [...level, ...subscriptions];
  }

  /** Whether the MCP client wants log messages of this level. */
  wants(level: string): boolean {
    return this.#level === undefined || LEVELS.indexOf(level) >= LEVELS.indexOf(this.#level.name);
  }

  /** The MCP client begins anew. */
  forget(): void {
    this.#level = undefined;
    this.#subscriptions.clear();
  }
}
