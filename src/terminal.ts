/** Whether the terminal that a service was started from is gone: then SIGHUP is its end, and otherwise a wish for a reload. */
import { closeSync, openSync } from "node:fs";

/** Call it when the service starts; what it returns, at each SIGHUP. */
export function watchTerminal(hasTerminal: () => boolean = hasControllingTerminal): () => boolean {
  const had = hasTerminal();
  return () => had && !hasTerminal();
}

/** A process without one, and one whose terminal was closed, can't open it (tty(4)). */
function hasControllingTerminal(): boolean {
  try {
    closeSync(openSync("/dev/tty", "r"));
    return true;
  } catch {
    return false;
  }
}
