/** The calls of the C library that an agent needs on Linux: `setsid`, `prctl`, `pipe2`, … */
import { type Library, ptr } from "bun:ffi";
import { openLibc } from "../libc.ts";

const signatures = {
  setsid: { args: [], returns: "i32" },
  getppid: { args: [], returns: "i32" },
  pipe2: { args: ["ptr", "i32"], returns: "i32" },
  // `signal` rather than `sigaction`: its arguments have no layout; 0 is SIG_DFL everywhere.
  signal: { args: ["i32", "ptr"], returns: "ptr" },
  sigprocmask: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  // Variadic in C: fine on Linux x64 and arm64, where variadic integers travel like named ones.
  fcntl: { args: ["i32", "i32", "i64"], returns: "i32" },
  prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  getrlimit: { args: ["i32", "ptr"], returns: "i32" },
  setrlimit: { args: ["i32", "ptr"], returns: "i32" },
  waitpid: { args: ["i32", "ptr", "i32"], returns: "i32" },
} as const;

type Libc = Library<typeof signatures>["symbols"];

let loaded: Libc | undefined;

/** The C library; throws when it can't be opened. */
export function loadLibc(): Libc {
  loaded ??= openLibc(signatures);
  return loaded;
}

const O_CLOEXEC = 0o2000000;

/** A pipe, both ends close-on-exec: `[read, write]`. */
export function openPipe(): [number, number] {
  const ends = new Int32Array(2);
  if (loadLibc().pipe2(ptr(ends), O_CLOEXEC) !== 0) throw new Error("can't make a pipe: too many open files");
  const [read, write] = ends;
  if (read === undefined || write === undefined) throw new Error("unreachable: a pipe has two ends");
  return [read, write];
}

const PR_SET_CHILD_SUBREAPER = 36;

/** From now on, what descendants of this process leave behind becomes its child instead of the first process's. */
export function becomeSubreaper(): boolean {
  return loadLibc().prctl(PR_SET_CHILD_SUBREAPER, 1n, 0n, 0n, 0n) === 0;
}

const WNOHANG = 1;

/** Clears away an adopted child that has ended. Never for a child that the runtime started: it waits for that itself. */
export function reap(pid: number): void {
  loadLibc().waitpid(pid, null, WNOHANG);
}

const [F_SETFD, FD_CLOEXEC] = [2, 1n];

/** Not for the children. */
export function closeOnExec(fd: number): void {
  loadLibc().fcntl(fd, F_SETFD, FD_CLOEXEC);
}
