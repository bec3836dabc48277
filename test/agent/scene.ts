/** What the tests of server processes share: who they run as, a log to look into, and pids to look after. */
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Exit, ServerProcess } from "../../src/agent/process.ts";
import { NO_SECRETS } from "../../src/agent/secrets.ts";
import { type StartOptions, startServer } from "../../src/agent/start-server.ts";
import type { Log, LogFields } from "../../src/log.ts";

export const isRoot = process.geteuid?.() === 0;
export const isLinux = process.platform === "linux";

/** Whom servers run as in tests: as root somebody who is on every host, else whoever runs the tests. */
export const hostUser = isRoot ? "nobody" : undefined;

export const ENTRY = join(import.meta.dir, "../fixtures/process-entry.ts");
export const SELF = [process.execPath, ENTRY, "__exec"];

export interface Entry {
  event: string;
  fields: LogFields;
}

export function recordingLog(): { log: Log; entries: Entry[] } {
  const entries: Entry[] = [];
  const add = (event: string, fields: LogFields = {}): void => void entries.push({ event, fields });
  const log: Log = { debug: add, info: add, warn: add, error: add, child: () => log };
  return { log, entries };
}

export interface Started {
  server: ServerProcess;
  entries: Entry[];
  /** All of stdout so far. */
  output(): string;
  /** Resolves when stdout holds that. */
  said(part: string): Promise<void>;
}

type Options = Partial<StartOptions> & Pick<StartOptions, "command">;

export async function start(options: Options): Promise<Started> {
  const { log, entries } = recordingLog();
  const chunks: Uint8Array[] = [];
  const waiting: { part: string; resolve: () => void }[] = [];
  const output = (): string => Buffer.concat(chunks).toString("utf8");
  const server = await startServer({
    args: [],
    hostUser,
    self: SELF,
    log,
    onStdout(chunk) {
      chunks.push(chunk);
      for (const { part, resolve } of waiting) if (output().includes(part)) resolve();
    },
    ...options,
  });
  running.push(server);
  return {
    server,
    entries,
    output,
    said: (part) =>
      new Promise((resolve) => {
        if (output().includes(part)) resolve();
        else waiting.push({ part, resolve });
      }),
  };
}

const running: ServerProcess[] = [];

/** For `afterEach`: nothing that a failed test left behind. */
export async function stopAll(): Promise<void> {
  await Promise.all(running.splice(0).map((server) => server.stop({ inputMs: 0, termMs: 0 })));
}

/** What the command printed by the time it had ended. */
export async function run(command: string, args: string[], more: Partial<StartOptions> = {}): Promise<string> {
  const started = await start({ ...more, command, args });
  started.server.endInput();
  await started.server.exited;
  return started.output();
}

/** A folder that every host user may enter (`using` removes it), with copies of these fixture servers. */
export function makeFolder(...fixtures: string[]): { path: string; remove(): void } & Disposable {
  const path = mkdtempSync(join(tmpdir(), "mcpgate-test-"));
  chmodSync(path, 0o755);
  for (const name of fixtures) {
    copyFileSync(join(import.meta.dir, "../fixtures/servers", name), join(path, name));
    chmodSync(join(path, name), 0o755);
  }
  const remove = (): void => rmSync(path, { recursive: true, force: true });
  return { path, remove, [Symbol.dispose]: remove };
}

/** Some containers let nobody make a namespace; then there is nothing to try. */
export async function hasSandboxes(): Promise<boolean> {
  if (Bun.which("bwrap") === null) return false;
  const as = hostUser === undefined ? [] : ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
  return (await Bun.$`${as} bwrap --ro-bind / / --unshare-pid --unshare-net true`.quiet().nothrow()).exitCode === 0;
}

/** Whether a process with that pid runs; a zombie doesn't. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    if (!isLinux) return true;
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** Waits for what has no event: another process's end, a counter that stands still. */
export async function eventually(what: () => boolean, ms = 5000): Promise<void> {
  const until = performance.now() + ms;
  while (!what()) {
    if (performance.now() > until) throw new Error(`not within ${ms} ms: ${what}`);
    await Bun.sleep(5);
  }
}

/** A server that is none: it notes the lines that it gets, and ends when it is told to. */
export function startedFake(seen: string[] = []): ServerProcess {
  const exited = Promise.withResolvers<Exit>();
  return {
    pid: 1,
    secrets: NO_SECRETS,
    writable: true,
    write: (bytes) => seen.push(new TextDecoder().decode(bytes)) > 0,
    drain: () => Promise.resolve(),
    endInput: () => {},
    stderrTail: () => [],
    exited: exited.promise,
    stop: () => {
      exited.resolve({ code: 0, signal: null, message: "exited with code 0" });
      return exited.promise;
    },
  };
}
