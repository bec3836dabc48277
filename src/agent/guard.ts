/**
 * The guard: the process that a person or systemd started as `mcpgate agent start`. It does nothing but start the agent
 * proper and watch it; so that after a single SIGKILL, whichever of the two it hits, the other one ends the tree.
 *
 *     guard (subreaper) ── agent (subreaper) ── servers, each with what it started
 *
 * The agent killed or crashed: what it leaves behind comes to the guard, which ends all of it and starts the agent
 * again; the agent's new start tells the proxy that the sessions are gone, and their open calls are answered at once.
 * The guard killed: the agent reads the end of the pipe that only the guard held open, ends its servers and sessions,
 * reports them and exits. Linux only; elsewhere there is no guard.
 */
import { closeSync, fstatSync } from "node:fs";
import type { Log } from "../log.ts";
import { createNotifier, giveSigns, type Notifier } from "../systemd/notify.ts";
import { watchTerminal } from "../terminal.ts";
import { killGroup, removeGroup } from "./cgroup.ts";
import { becomeSubreaper, closeOnExec, openPipe, reap } from "./libc.ts";
import { descendantsOf, kill, loadStat, startedWith } from "./process-tree.ts";

/** In the agent's environment: the guard's pid, and within how many milliseconds systemd wants a sign of life. */
const [GUARD_VARIABLE, WATCHDOG_VARIABLE] = ["MCPGATE_GUARD", "MCPGATE_WATCHDOG_MS"];
/** The agent's end of the pipe whose other end only the guard holds. */
const LIFE_FD = 3;
/** Where the agent tells the guard its control group, and what systemd is to hear, which believes the guard only. */
const TELL_FD = 4;

const END_MS = 5_000;
const FIRST_PAUSE_MS = 200;
const MAX_PAUSE_MS = 30_000;
/** An agent that ran so long begins anew with the pauses. */
const HEALTHY_MS = 60_000;

export interface GuardOptions {
  /** The command that starts the agent proper. */
  argv: string[];
  env: Record<string, string | undefined>;
  log: Log;
  /** To systemd, where it started us. */
  notifier: Notifier;
  /** A signal to pass on, as it comes. */
  onSignal(take: (signal: NodeJS.Signals) => void): void;
}

/** Resolves with the exit code: the agent's own when it ended by itself, 1 when it was killed while it was stopping. */
export async function runGuard({ argv, env, log, notifier, onSignal }: GuardOptions): Promise<number> {
  becomeSubreaper();
  let stopping = false;
  let worker: Worker | undefined;
  let wake: (() => void) | undefined;
  const isTerminalLost = watchTerminal();
  onSignal((signal) => {
    if (signal === "SIGHUP" && !isTerminalLost()) {
      worker?.child.kill("SIGHUP"); // it loads its configuration anew; one that is about to start does so anyway
      return;
    }
    stopping = true;
    worker?.child.kill(signal === "SIGHUP" ? "SIGTERM" : signal);
    wake?.();
  });
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, MAX_PAUSE_MS)) {
    const began = performance.now();
    worker = startWorker(argv, env, notifier);
    const code = await worker.child.exited;
    // Otherwise the signs of life are the agent's own, which the guard passes on.
    const stopSigns = giveSigns(notifier);
    await endTree(worker.group());
    worker.release();
    const { signalCode } = worker.child;
    // 0, 1 and 2 are answers of the program; anything else is a crash.
    if (signalCode === null && code <= 2) return code;
    if (stopping) return 1;
    if (performance.now() - began > HEALTHY_MS) pause = FIRST_PAUSE_MS;
    const how = signalCode ?? `exit code ${code}`;
    log.error("agent.died", { how, restart_ms: pause });
    notifier.status(`the agent died (${how}), and is started again`);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, pause);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    stopSigns();
    if (stopping) return 1;
  }
}

/** A line of the agent's. */
type Told = { group: string } | { state: string };

interface Worker {
  child: Bun.Subprocess;
  /** The control group that it told. */
  group(): string | undefined;
  release(): void;
}

function startWorker(argv: string[], env: Record<string, string | undefined>, notifier: Notifier): Worker {
  const [lifeOut, lifeIn] = openPipe();
  const [tellOut, tellIn] = openPipe();
  const child = Bun.spawn(argv, {
    stdio: ["inherit", "inherit", "inherit", lifeOut, tellIn],
    env: { ...env, [GUARD_VARIABLE]: `${process.pid}`, [WATCHDOG_VARIABLE]: notifier.watchdogMs?.toString() },
    // A session of its own: Ctrl-C in a terminal reaches the guard, which passes it on once.
    detached: true,
  });
  closeSync(lifeOut);
  closeSync(tellIn);
  let group: string | undefined;
  let rest = "";
  const reader = Bun.file(tellOut).stream().getReader();
  void (async () => {
    const decoder = new TextDecoder();
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      const lines = `${rest}${decoder.decode(next.value, { stream: true })}`.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const told = JSON.parse(line) as Told;
        if ("group" in told) group = told.group;
        else notifier.send(told.state);
      }
    }
  })().catch(() => {});
  return {
    child,
    group: () => group,
    release() {
      closeSync(lifeIn);
      void reader.cancel().catch(() => {});
      closeSync(tellOut);
    },
  };
}

/** Ends everything below this process. The worker has been reaped, so all children that are left were adopted. */
async function endTree(group: string | undefined): Promise<void> {
  if (group !== undefined) killGroup(group);
  const until = performance.now() + END_MS;
  for (let pause = 1; performance.now() < until; pause = Math.min(pause * 2, 50)) {
    const left = descendantsOf(process.pid);
    for (const { pid, zombie, parent } of left) {
      if (!zombie) kill(pid);
      else if (parent === process.pid) reap(pid);
    }
    if (left.length === 0) break;
    await Bun.sleep(pause);
  }
  if (group !== undefined) await removeGroup(group);
}

/** Becomes the guard, or finds it: a number is the exit code of a guard that has done its work. */
export async function openGuard(o: Omit<GuardOptions, "onSignal">): Promise<number | GuardLink | undefined> {
  if (process.platform !== "linux") return undefined;
  const onSignal: GuardOptions["onSignal"] = (take) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => take(signal));
  };
  return findGuard(o.env) ?? (await runGuard({ ...o, onSignal }));
}

export interface GuardLink {
  /** Tells the guard which control group to end when we are killed. */
  tell(group: string): void;
  /** Resolves when the guard is gone. */
  lost: Promise<void>;
  /** To systemd, through the guard. */
  notifier: Notifier;
}

/** The agent's side; `undefined` where no guard started this process. */
export function findGuard(env: Record<string, string | undefined>): GuardLink | undefined {
  const [guard, watchdogMs] = [env[GUARD_VARIABLE], env[WATCHDOG_VARIABLE]];
  delete env[GUARD_VARIABLE];
  delete env[WATCHDOG_VARIABLE];
  if (guard === undefined || !isPipe(LIFE_FD) || !isPipe(TELL_FD)) return undefined;
  closeOnExec(LIFE_FD);
  closeOnExec(TELL_FD);
  const lost = Bun.file(LIFE_FD)
    .stream()
    .getReader()
    .read()
    .then(() => undefined);
  const sink = Bun.file(TELL_FD).writer();
  const tell = (told: Told) => {
    sink.write(`${JSON.stringify(told)}\n`);
    void Promise.resolve(sink.flush()).catch(() => {});
  };
  return {
    lost,
    tell: (group) => tell({ group }),
    notifier: createNotifier((state) => tell({ state }), watchdogMs === undefined ? undefined : Number(watchdogMs)),
  };
}

/** Whether that process is an agent whose guard is gone: it is about to end. */
export function hasLostGuard(pid: number): boolean {
  const guard = Number(startedWith(pid, GUARD_VARIABLE));
  return guard > 0 && loadStat(guard)?.zombie !== false;
}

function isPipe(fd: number): boolean {
  try {
    return fstatSync(fd).isFIFO();
  } catch {
    return false;
  }
}
