/**
 * A server and its children, ended together. The server leads a session of its own, so its pid is the group's number.
 * A process that left the group (a daemon's double fork, `setsid`) is out of reach here.
 */
import { readdirSync, readFileSync } from "node:fs";

/** For a killed group to be gone: only a process in an uninterruptible system call can need it. Milliseconds. */
const KILL_MS = 1000;

export class ProcessGroup {
  readonly #pid: number;
  readonly #leader: Promise<unknown>;
  #leaderEnded = false;
  #vanished = false;
  /** Of the group, as last seen; while one of them runs, nobody has to look for others. */
  #members: number[] = [];

  /** `leader` resolves when the process with that pid has been reaped. */
  constructor(pid: number, leader: Promise<unknown>) {
    this.#pid = pid;
    this.#leader = leader.then(() => {
      this.#leaderEnded = true;
    });
  }

  /**
   * SIGTERM to what is left of the group, and SIGKILL `termMs` later; resolves when all of it is gone, to false when
   * even that ended not all of it (a set-user-ID program that isn't ours to signal, a hanging device).
   */
  async end(termMs: number): Promise<boolean> {
    if (!this.#signal("SIGTERM")) return true;
    await this.#gone(termMs);
    // Also when nothing seemed to run: a look into /proc can miss a process that was being forked, the kernel doesn't.
    return !this.#signal("SIGKILL") || (await this.#gone(KILL_MS));
  }

  async #gone(ms: number): Promise<boolean> {
    const until = performance.now() + ms;
    for (let pause = 2; ; pause = Math.min(pause * 2, 50)) {
      if (!this.#lives()) return true;
      const left = until - performance.now();
      if (left <= 0) return false;
      // The leader's end is an event; the rest of the group can only be asked for.
      if (this.#leaderEnded) await Bun.sleep(Math.min(pause, left));
      else await within(Math.min(50, left), this.#leader);
    }
  }

  /**
   * A zombie answers to signals too, and in a container whose first process doesn't reap there are zombies for long: so
   * once the leader is gone, /proc is asked whether anything of the group still runs.
   */
  #lives(): boolean {
    if (!this.#signal(0)) return false;
    if (!this.#leaderEnded || process.platform !== "linux") return true;
    if (!this.#members.some((pid) => isRunningIn(this.#pid, pid))) this.#members = loadRunningMembers(this.#pid);
    return this.#members.length > 0;
  }

  /** False when there is nobody to signal any more; from then on nobody is: the number may be another group's. */
  #signal(signal: NodeJS.Signals | 0): boolean {
    if (this.#vanished) return false;
    try {
      // Windows has no groups.
      process.kill(process.platform === "win32" ? this.#pid : -this.#pid, signal);
      return true;
    } catch (error) {
      this.#vanished = (error as NodeJS.ErrnoException).code === "ESRCH";
      return !this.#vanished;
    }
  }
}

const loadRunningMembers = (group: number): number[] =>
  readdirSync("/proc").flatMap((name) =>
    /^\d+$/.test(name) && isRunningIn(group, Number(name)) ? [Number(name)] : [],
  );

function isRunningIn(group: number, pid: number): boolean {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return false;
  }
  // proc_pid_stat(5): pid (comm) state ppid pgrp …; a comm may hold anything, so from its last parenthesis.
  const [state, , pgrp] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(pgrp) === group && state !== "Z" && state !== "X";
}

/** Whether it settled within that time; the timer doesn't outlive it. */
export async function within(ms: number, promise: Promise<unknown>): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
