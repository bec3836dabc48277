/** Processes that the tests start: commands that end, services that stay, and a look at what is left of them. */
import { readdirSync, readFileSync } from "node:fs";

export interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

export interface SpawnOptions {
  env: Record<string, string>;
  cwd?: string | undefined;
  stdin?: string | undefined;
}

/** A command to its end. In a session of its own: whoever runs the tests in a terminal is asked nothing there. */
export async function runCommand(argv: string[], { env, cwd, stdin }: SpawnOptions): Promise<Ended> {
  const child = Bun.spawn(argv, {
    env,
    ...(cwd === undefined ? {} : { cwd }),
    stdin: stdin === undefined ? "ignore" : Buffer.from(stdin),
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
    timeout: 30_000,
    killSignal: "SIGKILL",
  });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, stdout, stderr };
}

/** A command that stays. */
export interface Service {
  pid: number;
  /** The line of stdout that holds `ready`; rejects with what it said on stderr when it ended before it. */
  ready: Promise<string>;
  stdout(): string;
  stderr(): string;
  exited: Promise<number>;
  /** Resolves with the exit code. */
  stop(signal?: NodeJS.Signals): Promise<number>;
}

export function startService(argv: string[], { env, cwd }: SpawnOptions): Service {
  const child = Bun.spawn(argv, {
    env,
    ...(cwd === undefined ? {} : { cwd }),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  let [stdout, stderr] = ["", ""];
  const ready = Promise.withResolvers<string>();
  ready.promise.catch(() => {});
  const streams = Promise.all([
    collect(child.stdout, (text) => {
      stdout += text;
      const line = stdout.split("\n").find((each, i, all) => i < all.length - 1 && each.includes("ready"));
      if (line !== undefined) ready.resolve(line);
    }),
    collect(child.stderr, (text) => {
      stderr += text;
    }),
  ]);
  const exited = Promise.all([child.exited, streams]).then(([code]) => {
    ready.reject(new Error(`${argv.slice(1).join(" ")} ended with code ${code} before it was ready:\n${stderr}`));
    return code;
  });
  const service: Service = {
    pid: child.pid,
    ready: ready.promise,
    stdout: () => stdout,
    stderr: () => stderr,
    exited,
    stop(signal = "SIGTERM") {
      child.kill(signal);
      return exited;
    },
  };
  return service;
}

async function collect(stream: ReadableStream<Uint8Array>, take: (text: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  for await (const chunk of stream) take(decoder.decode(chunk, { stream: true }));
}

export interface Found {
  pid: number;
  argv: string[];
}

/** Processes with `marker` in their arguments or their environment; zombies and ourselves apart. Linux only. */
export function processesWith(marker: string): Found[] {
  const found: Found[] = [];
  for (const name of process.platform === "linux" ? readdirSync("/proc") : []) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const argv = argvOf(pid);
    if (argv.length > 1 && `${argv.join("\0")}\0${slurp(pid, "environ")}`.includes(marker)) found.push({ pid, argv });
  }
  return found;
}

export const argvOf = (pid: number): string[] => slurp(pid, "cmdline").split("\0");

/** All processes that `pid` started, and those that they started; with `depth` 1 the former only. */
export function descendants(pid: number, depth = Number.POSITIVE_INFINITY): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    const parent = /\) \S (\d+)/.exec(slurp(Number(name), "stat"))?.[1];
    if (parent !== undefined) parents.set(Number(name), Number(parent));
  }
  const within = (each: number | undefined, steps: number): boolean =>
    each !== undefined && (each === pid || (steps > 0 && within(parents.get(each), steps - 1)));
  return [...parents.keys()].filter((each) => each !== pid && within(each, depth));
}

export function isAlive(pid: number): boolean {
  return /^State:\s+[^ZX\s]/m.test(slurp(pid, "status"));
}

function slurp(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}

/**
 * Waits for what has no event here: another process's state. Answers with the first value that is not undefined or false.
 * Gives up before the runner does, which would kill what other tests need.
 */
export async function eventually<T>(
  what: () => T | Promise<T>,
  { ms = 10_000, every = 20 }: { ms?: number; every?: number } = {},
): Promise<Exclude<T, undefined | false>> {
  const until = performance.now() + ms;
  for (;;) {
    const value = await what();
    if (value !== undefined && value !== false) return value as Exclude<T, undefined | false>;
    if (performance.now() > until) throw new Error(`not within ${ms} ms: ${what}`);
    await Bun.sleep(every);
  }
}
