/** What /proc says of processes, and their end. Linux only. */
import { openSync, readdirSync, readFileSync } from "node:fs";

function slurp(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

/** Seconds of CPU that its threads have had; of those that have ended meanwhile, none (proc(5), schedstat). */
export function cpuSeconds(pid: number): number {
  let tasks: string[] = [];
  try {
    tasks = readdirSync(`/proc/${pid}/task`);
  } catch {}
  return tasks.reduce((sum, tid) => sum + Number(slurp(`/proc/${pid}/task/${tid}/schedstat`).split(" ")[0]) / 1e9, 0);
}

export interface Footprint {
  /** Bytes resident, and the same with shared pages divided among those that share them. */
  rss: number;
  pss: number;
  descriptors: number;
}

export function footprint(pids: readonly number[]): Footprint {
  const sum: Footprint = { rss: 0, pss: 0, descriptors: 0 };
  for (const pid of pids) {
    const text = slurp(`/proc/${pid}/smaps_rollup`);
    const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0) * 1024;
    sum.rss += kib("Rss");
    sum.pss += kib("Pss");
    try {
      sum.descriptors += readdirSync(`/proc/${pid}/fd`).length;
    } catch {}
  }
  return sum;
}

export const argvOf = (pid: number): string[] => slurp(`/proc/${pid}/cmdline`).split("\0");

/** All that `pid` started, and what those started; zombies apart. */
export function descendants(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    const [, state, parent] = /\) (\S) (\d+)/.exec(slurp(`/proc/${name}/stat`)) ?? [];
    if (parent === undefined || state === "Z" || state === "X") continue;
    children.set(Number(parent), [...(children.get(Number(parent)) ?? []), Number(name)]);
  }
  const found = [pid];
  for (const each of found) found.push(...(children.get(each) ?? []));
  return found.slice(1);
}

export const isAlive = (pid: number): boolean => /\) [^ZX] /.test(slurp(`/proc/${pid}/stat`));

export interface Service {
  pid: number;
  /** SIGTERM, and SIGKILL to it and all that it had started when that does not end it. */
  stop(): Promise<void>;
}

const STOP_MS = 5_000;

/** A process that stays, its output in a file. */
export function startService(o: { argv: string[]; env: Record<string, string>; cwd: string; log: string }): Service {
  const log = openSync(o.log, "a", 0o600);
  const child = Bun.spawn(o.argv, { env: o.env, cwd: o.cwd, stdin: "ignore", stdout: log, stderr: log });
  return {
    pid: child.pid,
    async stop() {
      const tree = descendants(child.pid);
      child.kill("SIGTERM");
      await Promise.race([child.exited, Bun.sleep(STOP_MS)]);
      for (const pid of [child.pid, ...tree]) if (isAlive(pid)) end(pid);
      await child.exited;
    },
  };
}

export function end(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {} // it has ended
}

/** Waits until `what` gives something; fails after `ms`. */
export async function eventually<T>(
  what: () => T | undefined | Promise<T | undefined>,
  ms: number,
  name: string,
): Promise<T> {
  const until = performance.now() + ms;
  for (;;) {
    const value = await what();
    if (value !== undefined) return value;
    if (performance.now() > until) throw new Error(`not within ${ms} ms: ${name}`);
    await Bun.sleep(10);
  }
}

/** A command to its end; its stdout. Fails when it fails. */
export async function run(
  argv: string[],
  o: { env: Record<string, string>; cwd: string; stdin?: string; ms?: number },
): Promise<string> {
  const child = Bun.spawn(argv, {
    env: o.env,
    cwd: o.cwd,
    stdin: o.stdin === undefined ? "ignore" : Buffer.from(o.stdin),
    stdout: "pipe",
    stderr: "pipe",
    timeout: o.ms ?? 30_000,
    killSignal: "SIGKILL",
  });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`${argv.join(" ")} ended with code ${code}:\n${stderr}${stdout}`);
  return stdout;
}

/** A port of loopback that is free at the moment. */
export function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}
