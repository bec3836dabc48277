/**
 * What a server says unasked, notifications and lines that are no messages, is recorded one by one up to a rate, and counted
 * beyond it: a server that reports progress a thousand times a second must not fill the spool that calls need. Calls and
 * their answers are never counted.
 */
import type { EventDraft } from "../event.ts";

export interface MeterOptions {
  /** Milliseconds, monotonic. */
  now(): number;
  /** Events of each window that are recorded as they are; 20 unless told. */
  burst?: number;
  /** Milliseconds; 1000 unless told. */
  windowMs?: number;
}

/** Kinds that are told apart in one summary; a server may make up names for ever. */
const MAX_KINDS = 50;

export class NotificationMeter {
  readonly #now: () => number;
  readonly #burst: number;
  readonly #windowMs: number;
  #windowAt = Number.NEGATIVE_INFINITY;
  #recorded = 0;
  /** Event → kind → how many. */
  #counts = new Map<EventDraft["event"], Map<string, number>>();

  constructor({ now, burst = 20, windowMs = 1_000 }: MeterOptions) {
    this.#now = now;
    this.#burst = burst;
    this.#windowMs = windowMs;
  }

  /** The events to record now, in order: a summary of the window that ended stands before what came after it. */
  take(events: readonly EventDraft[]): EventDraft[] {
    const due = this.flush(false);
    for (const event of events) {
      if (!isCountable(event)) due.push(event);
      else if (this.#recorded < this.#burst) {
        this.#recorded += 1;
        due.push(event);
      } else this.#count(event);
    }
    return due;
  }

  /** The summaries that are due, or with `all` those of the window that has not ended. */
  flush(all: boolean): EventDraft[] {
    const now = this.#now();
    if (!all && now - this.#windowAt < this.#windowMs) return [];
    const ms = Math.round(Math.min(this.#windowMs, now - this.#windowAt));
    const due = [...this.#counts].map(([event, counts]): EventDraft => {
      const total = counts.values().reduce((sum, count) => sum + count, 0);
      return { event, from: "server", details: { counted: Object.fromEntries(counts), total, within_ms: ms } };
    });
    this.#counts = new Map();
    this.#windowAt = now;
    this.#recorded = 0;
    return due;
  }

  #count(event: EventDraft): void {
    const counts = this.#counts.get(event.event) ?? new Map<string, number>();
    this.#counts.set(event.event, counts);
    const own = event.method ?? String(event.details?.reason ?? "");
    const denied = event.success === false && event.method !== undefined ? " (denied)" : "";
    const named = `${own.slice(0, 128)}${denied}`;
    const kind = counts.has(named) || counts.size < MAX_KINDS ? named : "others";
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
}

const isCountable = ({ event, from }: EventDraft): boolean =>
  from === "server" && (event === "mcp.session.notification" || event === "mcp.session.invalid");
