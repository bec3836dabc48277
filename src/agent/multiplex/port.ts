/** What one session has had a shared server do. */
import { memberAt } from "../../mcp/members.ts";
import type { Id, Request } from "../../mcp/message.ts";
import { LOG_LEVEL } from "./places.ts";

/** Syslog severities as MCP names them, from the most to the least talkative. */
const LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];
/** Of a session that never said; some other session may have asked for more. */
const UNSAID = LEVELS.indexOf("info");

export class Port {
  /** The session's ids → those that the server sees. */
  readonly open = new Map<Id, number>();
  readonly subscriptions = new Set<string>();
  /** `notifications/initialized` came. */
  initialized = false;
  #level: number | undefined;

  /** As a place among the levels. */
  get level(): number | undefined {
    return this.#level;
  }

  /** False: there is no such level. */
  setLevel(level: unknown): boolean {
    const index = LEVELS.indexOf(String(level));
    if (index >= 0) this.#level = index;
    return index >= 0;
  }

  noteLevel({ params, bytes }: Request): void {
    if (params === undefined || params.find("_meta") === -1) return;
    const index = LEVELS.indexOf(String(memberAt(bytes, LOG_LEVEL)));
    if (index >= 0) this.#level = Math.min(index, this.#level ?? index);
  }

  /** `byDefault`: whether sessions that never said get any; with the handshake they do, in 2026-07-28 they don't. */
  wants(level: unknown, byDefault: boolean): boolean {
    const least = this.#level ?? (byDefault ? UNSAID : LEVELS.length);
    return LEVELS.indexOf(String(level)) >= least;
  }

  subscribe(uri: string): void {
    this.subscriptions.add(uri);
  }

  unsubscribe(uri: string): void {
    this.subscriptions.delete(uri);
  }

  /** A server may tell of a part of what was subscribed to. */
  hearsOf(uri: string): boolean {
    if (this.subscriptions.has(uri)) return true;
    for (const each of this.subscriptions) {
      if (uri.startsWith(each) && (each.endsWith("/") || /[/#?]/.test(uri.charAt(each.length)))) return true;
    }
    return false;
  }
}

/** The most talkative of the levels that were asked for. */
export function wantedLevel(ports: Iterable<Port>): string | undefined {
  let least: number | undefined;
  for (const { level } of ports) if (level !== undefined) least = Math.min(level, least ?? level);
  return least === undefined ? undefined : LEVELS[least];
}
