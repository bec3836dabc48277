/**
 * Looks about once a second at a session that is opening or paused: tells MCP clients that wait that somebody is at it,
 * and ends a session whose pause took longer than somebody waits.
 */
import { Failure } from "../errors.ts";
import type { BridgeSession, Pause } from "./bridge-session.ts";
import type { OpenCalls } from "./open-calls.ts";

export interface PauseWatchOptions {
  app: string;
  /** Monotonic milliseconds. */
  now(): number;
  /** Calls back until it is told to stop. */
  every(tick: () => void): () => void;
  calls: OpenCalls;
  /** The session that is opening or open. */
  session(): BridgeSession | undefined;
  isOpening(): boolean;
  /** To the MCP client. */
  show(lines: Uint8Array[]): void;
}

/** After its input has ended, an MCP client that nobody owes an answer does not wait long for a lost connection. */
const LAST_TRY_MS = 2_000;

/** Why a session takes no new requests; undefined where it does. A pause alone is no reason: it may end soon. */
export function barOf({ pause, resumeWindowMs }: BridgeSession, now: number): Failure | undefined {
  if (pause === undefined) return undefined;
  if (pause.login) return pause.failure;
  const lostFor = now - pause.since;
  if (lostFor <= resumeWindowMs) return undefined;
  const why = pause.failure === undefined ? "" : `: ${pause.failure.message}`;
  return new Failure("unavailable", `the connection was lost ${Math.round(lostFor / 1000)} s ago${why}`, {
    hint: pause.failure?.hint,
  });
}

export class PauseWatch {
  readonly #options: PauseWatchOptions;
  #stop: (() => void) | undefined;
  #bar = Promise.withResolvers<void>();
  /** The MCP client has closed our stdin: it only waits for what it asked. */
  inputEnded = false;

  constructor(options: PauseWatchOptions) {
    this.#options = options;
  }

  /** Resolves when the session takes no new requests: a line that waits for room need not wait any longer. */
  get barred(): Promise<void> {
    return this.#bar.promise;
  }

  /** A session is opening, or has paused. */
  start(): void {
    this.#stop ??= this.#options.every(() => this.#look());
  }

  #look(): void {
    const { app, calls, session, isOpening, show } = this.#options;
    const current = session();
    const pause = current?.pause;
    if (current === undefined || (pause === undefined && !isOpening())) {
      this.#stop?.();
      this.#stop = undefined;
      return;
    }
    if (pause !== undefined && this.#endTooLong(current, pause)) return;
    const doing = isOpening() ? `opening a session with "${app}"` : `reconnecting to "${app}"`;
    const why = pause?.failure === undefined ? "" : `: ${pause.failure.message}`;
    const todo = pause?.failure?.hint === undefined ? "" : `; ${pause.failure.hint}`;
    show(calls.reassure(`mcpgate: ${doing}${why}${todo}`));
  }

  /** A session that nobody waits for is dialled on and on: whatever its server keeps may still be there. */
  #endTooLong(session: BridgeSession, pause: Pause): boolean {
    const { now, calls } = this.#options;
    const lostFor = now() - pause.since;
    const bar = barOf(session, now());
    if (bar !== undefined) {
      this.#bar.resolve();
      this.#bar = Promise.withResolvers<void>();
    }
    if (calls.sent > 0) {
      if (lostFor <= session.resumeWindowMs) return false;
      const { code, message, hint } = bar ?? new Failure("unavailable", "the connection was lost");
      void session.close(hint === undefined ? message : `${message}; ${hint}`, code);
    } else {
      if (!this.inputEnded || lostFor < LAST_TRY_MS) return false;
      void session.close("the client ended the session");
    }
    return true;
  }
}
