/** One command to its end, started as a server is: as its host user, in a clean environment, and nothing of it stays. */
import { Failure } from "../errors.ts";
import { type StartOptions, startServer } from "./start-server.ts";

export interface CommandResult {
  code: number | null;
  /** `exited with code 3`, `killed by SIGKILL`. */
  message: string;
  stdout: string;
  /** The last lines of stderr. */
  stderr: string[];
}

const MAX_BYTES = 1024 * 1024;

/** Failure `start_failed` when it can't be started, `timeout` after `ms` milliseconds. Output over 1 MiB is dropped. */
export async function runCommand(o: Omit<StartOptions, "onStdout">, ms: number): Promise<CommandResult> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const server = await startServer({
    ...o,
    onStdout(chunk) {
      size += chunk.length;
      if (size <= MAX_BYTES) chunks.push(chunk);
    },
  });
  server.endInput();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    void server.stop({ inputMs: 0, termMs: 0 });
  }, ms);
  const { code, message } = await server.exited;
  clearTimeout(timer);
  if (late) throw new Failure("timeout", `${o.command} did not end within ${ms / 1000} s`);
  return { code, message, stdout: Buffer.concat(chunks).toString("utf8"), stderr: server.stderrTail() };
}
