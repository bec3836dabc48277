/** A session as the bridge sees it: `ClientSession`, or a test's. */
import type { Failure } from "../errors.ts";
import type { CloseReason } from "../link/link.ts";

/** A session whose connection is lost, and is dialled again. */
export interface Pause {
  /** Monotonic milliseconds. */
  since: number;
  /** Why it is not over yet: the last try's failure. */
  failure: Failure | undefined;
  /** The login that the session was resumed with is no good any more: a person has to act. */
  login: boolean;
}

/** What the bridge needs of a session (`ClientSession`). */
export interface BridgeSession {
  /** The first connection. Fails with the reason. */
  open(): Promise<void>;
  /** False: await `drained()` before writing more. */
  write(bytes: Uint8Array): boolean;
  drained(): Promise<void>;
  /** No more from the MCP client; what the server still says comes. */
  end(): void;
  /** Ends it for good, and resolves when the other end can be expected to know. */
  close(message: string, code?: string): Promise<void>;
  /** Undefined while it is connected. */
  readonly pause: Pause | undefined;
  /** How long its other end waits for us, milliseconds. */
  readonly resumeWindowMs: number;
}

export interface SessionEvents {
  onData(bytes: Uint8Array): void | Promise<void>;
  /** The server said its last; why follows with `onClose`. Whatever is written from here on reaches nobody. */
  onEnd(): void;
  /** The connection is lost; `pause` says more. */
  onPause(): void;
  /** It is over; nothing comes after it. */
  onClose(reason: CloseReason): void;
}
