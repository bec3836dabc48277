/**
 * Notices that files have changed. They are looked at every second, by name: editors put a new file in the old one's place,
 * secrets of a container are links that are moved, and a watch on either is lost or says too much.
 */
import { statSync } from "node:fs";

export interface FollowOptions {
  /** Asked for at each look. Those that are not there are looked for all the same. */
  files(): readonly string[];
  /** A file is not what it was, and has been left alone for one look: nobody is in the middle of writing it. */
  onChange(): void;
  /** Milliseconds between two looks; a second unless told. */
  everyMs?: number;
}

/** Until it is told to stop. */
export function followFiles({ files, onChange, everyMs = 1_000 }: FollowOptions): () => void {
  let taken = stateOf(files());
  let last = taken;
  const timer = setInterval(() => {
    const now = stateOf(files());
    const settled = now === last;
    last = now;
    if (now === taken || !settled) return;
    taken = now;
    onChange();
  }, everyMs);
  timer.unref();
  return () => clearInterval(timer);
}

/** Which files they are and what is in them, as far as the file system tells without reading them. */
function stateOf(files: readonly string[]): string {
  return files
    .map((file) => {
      try {
        const stat = statSync(file, { bigint: true });
        return `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}`;
      } catch (error) {
        return (error as NodeJS.ErrnoException).code;
      }
    })
    .join("\n");
}
