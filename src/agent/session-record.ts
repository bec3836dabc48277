/**
 * What one session puts on record: each event with whose it is and without the server's secrets; what a server says unasked
 * is counted beyond a rate.
 */
import { Failure } from "../errors.ts";
import type { EventDraft } from "../event.ts";
import type { Grant } from "../identity/grant.ts";
import type { Log } from "../log.ts";
import { NotificationMeter } from "./notification-meter.ts";
import type { Secrets } from "./secrets.ts";
import type { SessionWatch } from "./session-watch.ts";

export interface SessionRecordOptions {
  grant: Pick<Grant, "sid" | "user" | "app">;
  log: Log;
  watch?: SessionWatch | undefined;
  /** The server's, as they are known by now. */
  secrets(): Secrets;
  /** Puts the events into the spool before it returns; throws when it can't. */
  record(events: EventDraft[]): void;
  /** They could not be recorded, so what they are about must not happen. */
  onFailed(): void;
}

export class SessionRecord {
  readonly #options: SessionRecordOptions;
  readonly #meter = new NotificationMeter({ now: () => performance.now() });

  constructor(options: SessionRecordOptions) {
    this.#options = options;
  }

  /** What is due of these and of those before them; they are given away. False: it could not be recorded. */
  take(events: readonly EventDraft[]): boolean {
    return this.#write(this.#meter.take(events));
  }

  /** What is still counted, and then these: the session's last. */
  end(events: readonly EventDraft[]): void {
    this.#write([...this.#meter.flush(true), ...events]);
  }

  #write(events: EventDraft[]): boolean {
    if (events.length === 0) return true;
    const { grant, log, watch } = this.#options;
    const { sid, user, app } = grant;
    try {
      const secrets = this.#options.secrets();
      // Whoever made them has no use for them any more: a copy of each would cost more than what is done with it.
      for (const event of events) {
        event.sid = sid;
        event.user = user;
        event.app = app;
      }
      this.#options.record(secrets.any ? events.map((event) => secrets.maskValue(event)) : events);
      watch?.onEvents(events);
      return true;
    } catch (error) {
      log.error("audit.write_failed", { error: Failure.from(error).message });
      this.#options.onFailed();
      return false;
    }
  }
}
