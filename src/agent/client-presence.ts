/** Whether a session's client is there, and how long the session waits for one that is not. */
import type { Link } from "../link/link.ts";

/** A session that nobody attached to. */
const FIRST_ATTACH_MS = 30_000;
/** Clients ask when they heard nothing for 12 s, so one that says nothing for this long is gone or asleep. */
const SILENCE_MS = 45_000;

export class ClientPresence {
  readonly #link: Link;
  #came = false;
  #awayMs = 0;

  constructor(link: Link) {
    this.#link = link;
  }

  /** The client has a connection, its first or a new one. */
  attached(): void {
    this.#came = true;
    this.#awayMs = 0;
  }

  /**
   * Called about once a second while the agent can be reached, with the milliseconds since the last time: why the session
   * has to end. A client that is silent loses its connection.
   */
  tick(elapsedMs: number, resumeWindowMs: number): string | undefined {
    if (this.#link.attached || this.#link.closed) {
      this.#awayMs = 0;
      if (performance.now() - this.#link.lastHeard > SILENCE_MS) this.#link.drop("the client is silent");
      return undefined;
    }
    this.#awayMs += elapsedMs;
    if (this.#awayMs <= (this.#came ? resumeWindowMs : Math.min(FIRST_ATTACH_MS, resumeWindowMs))) return undefined;
    return this.#came ? "the client did not come back" : "no client came";
  }
}
