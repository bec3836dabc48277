/** What came and went over one kind of connection, since the start. */
import type { ErrorCode } from "../errors.ts";

export class Tally {
  /** Connections that are open now. */
  open = 0;
  /** Frames of links that were taken from this side to the other, and their bytes. */
  frames = 0;
  bytes = 0;
  /** Connections that were refused, by why. */
  readonly refused = new Map<ErrorCode, number>();

  refuse(code: ErrorCode): void {
    this.refused.set(code, (this.refused.get(code) ?? 0) + 1);
  }
}
