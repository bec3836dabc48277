/** Who started whom, as /proc tells it (proc(5)). Linux only; elsewhere there is nobody. */
import { readdirSync, readFileSync } from "node:fs";

export interface ProcessStat {
  pid: number;
  parent: number;
  /** A zombie has ended, and waits for its parent. */
  zombie: boolean;
  /** Clock ticks after the boot; with the pid it names a process for good. */
  startTime: number;
}

export function loadStat(pid: number): ProcessStat | undefined {
  const stat = slurp(`/proc/${pid}/stat`);
  // proc_pid_stat(5): pid (comm) state ppid …; a comm may hold anything, so from its last parenthesis.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, parent] = fields;
  if (stat === "" || state === undefined || state === "X") return undefined;
  return { pid, parent: Number(parent), zombie: state === "Z", startTime: Number(fields[19]) };
}

export function loadAllStats(): ProcessStat[] {
  return readPids().flatMap((pid) => loadStat(pid) ?? []);
}

/** All that `root` started and that they started, the zombies among them; without `root`. */
export function descendantsOf(root: number, all = loadAllStats()): ProcessStat[] {
  const byParent = Map.groupBy(all, ({ parent }) => parent);
  const found: ProcessStat[] = [];
  const open = [root];
  for (let pid = open.pop(); pid !== undefined; pid = open.pop()) {
    for (const child of byParent.get(pid) ?? []) {
      found.push(child);
      open.push(child.pid);
    }
  }
  return found;
}

let hasChildrenFile: boolean | undefined;

/**
 * This process's children, adopted ones too. One file where the kernel has it (`CONFIG_PROC_CHILDREN`): orphans go to
 * the main thread, which is also the one that spawns.
 */
export function ownChildren(): number[] {
  if (hasChildrenFile !== false) {
    try {
      const text = readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim();
      hasChildrenFile = true;
      return text === "" ? [] : text.split(" ").map(Number);
    } catch {
      hasChildrenFile = false;
    }
  }
  return loadAllStats().flatMap(({ pid, parent }) => (parent === process.pid ? [pid] : []));
}

/** A variable of the environment that a process was started with; `undefined` also where it may not be read. */
export function startedWith(pid: number, name: string): string | undefined {
  const pair = slurp(`/proc/${pid}/environ`)
    .split("\0")
    .find((each) => each.startsWith(`${name}=`));
  return pair?.slice(name.length + 1);
}

/** False where there is no such process, or none of ours to signal. */
export function kill(pid: number): boolean {
  try {
    process.kill(pid, "SIGKILL");
    return true;
  } catch {
    return false;
  }
}

export function readPids(): number[] {
  if (process.platform !== "linux") return [];
  return readdirSync("/proc").flatMap((name) => (/^\d+$/.test(name) ? [Number(name)] : []));
}

function slurp(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
