/** All that the doctor touches besides files and the network; tests have their own. */
import { statfs } from "node:fs/promises";
import type { Space } from "./storage.ts";
import type { Run } from "./systemd.ts";

export interface Edges {
  env: Record<string, string | undefined>;
  /** Of this process; -1 where the system has none. */
  uid: number;
  /** Milliseconds since the epoch. */
  now: () => number;
  statfs: (path: string) => Promise<Space>;
  run: Run;
  /** How long a service on this host may take to answer, milliseconds; 8 s unless told. */
  answerMs?: number;
  /** Where systemd shows that it runs; `/run/systemd/system` unless told. */
  booted?: string;
}

const RUN_MS = 4_000;
const MAX_OUTPUT = 64 * 1024;

export const realEdges = (env: Edges["env"], uid: number): Edges => ({ env, uid, now: Date.now, statfs, run });

async function run(argv: string[]): Promise<string> {
  const child = Bun.spawn(argv, {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
    timeout: RUN_MS,
    killSignal: "SIGKILL",
    maxBuffer: MAX_OUTPUT,
  });
  const [text, code] = await Promise.all([child.stdout.text(), child.exited]);
  if (code !== 0) throw new Error(`${argv[0]} ended with code ${code}`);
  return text;
}
