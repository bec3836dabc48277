/**
 * The exec helper: our own binary, started by the agent as `… __exec` with an empty environment in `/`, which turns
 * itself into the server. It is root for a moment, so nothing that an app's definition says acts before the switch of
 * users: the server's environment comes over a pipe (descriptor 3) and is applied by `execve` alone.
 *
 * Descriptors 0, 1, 2 are the server's from the start, and nothing here reads or writes them. Descriptor 5 is the way into the
 * server's control group. On descriptor 4 the agent
 * reads how far we got: close-on-exec, so its end of file after `exec` says that the server runs.
 */
import { ptr } from "bun:ffi";
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync, writeSync } from "node:fs";
import { Failure, messageOf } from "../errors.ts";
import { findCommand, type Orders, type Report, type Step } from "./launch.ts";
import { loadLibc } from "./libc.ts";

const ORDERS_FD = 3;
const REPORT_FD = 4;
/** `cgroup.procs` of the server's control group, or nothing at all. */
const GROUP_FD = 5;

class Stop extends Error {
  readonly step: Step;
  readonly code: string;
  constructor(step: Step, code: string, detail: string) {
    super(detail);
    this.step = step;
    this.code = code;
  }
}

/**
 * Becomes the server; returns only when it couldn't, with the exit code to end with (the agent has the reason then).
 * Failure `usage` when it wasn't started by the agent.
 */
export function runExecChild(): number {
  if (!isPipe(ORDERS_FD) || !isPipe(REPORT_FD)) {
    throw new Failure("usage", "__exec is started by the agent only", { hint: "mcpgate agent start --help" });
  }
  try {
    // While there are no orders yet.
    const fault = enterGroup();
    loadLibc();
    become(loadOrders(), fault);
  } catch (error) {
    const { step, code, message } = error instanceof Stop ? error : new Stop("session", "internal", messageOf(error));
    report({ at: "failed", step, code, detail: message });
  }
  return 126;
}

/** Why the control group can't be entered. */
function enterGroup(): string | undefined {
  try {
    writeSync(GROUP_FD, "0");
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? "internal";
  } finally {
    closeSync(GROUP_FD);
  }
}

/** `ungrouped`: why it is not in its control group. */
function become(orders: Orders, ungrouped: string | undefined): void {
  const libc = loadLibc();
  if (ungrouped !== undefined && orders.grouped) {
    throw new Stop("session", ungrouped, "the control group of its limits can't be entered");
  }
  // A session, and with it a process group, of its own: what the agent signals when it stops the server.
  if (libc.setsid() < 0) throw new Stop("session", "EPERM", "setsid failed");
  process.umask(0o022);
  resetSignals();
  resetLimits();
  for (const [resource, limit] of orders.rlimits ?? []) setLimit(resource, limit);
  resetDescriptors();
  if (orders.switchTo !== undefined) attempt("user", "the switch failed", () => switchUser(orders.switchTo));
  dropAmbientCapabilities();
  dieWithAgent(orders.agentPid);
  enter(orders);
  const found = findCommand(orders.command, orders.env.PATH ?? "");
  if ("fault" in found) throw new Stop("find", found.fault, found.path);
  report({ at: "exec", ...(ungrouped === undefined ? {} : { ungrouped }) });
  attempt("exec", found.path, () => process.execve?.(found.path, [orders.command, ...orders.args], orders.env));
  throw new Stop("session", "ENOSYS", "this runtime has no execve");
}

function loadOrders(): Orders {
  const orders = attempt("orders", "can't read them", () => JSON.parse(readFileSync(ORDERS_FD, "utf8")) as Orders);
  closeSync(ORDERS_FD);
  if (orders.v !== 1) throw new Stop("orders", "version", "agent and exec helper are of different versions");
  return orders;
}

/** Ignored signals and a blocked mask outlive `execve`; the runtime ignores SIGPIPE and SIGXFSZ, `nohup` SIGHUP. */
function resetSignals(): void {
  const libc = loadLibc();
  const ignored = BigInt(`0x${status().SigIgn ?? "0"}`);
  for (let signal = 1; signal <= 64; signal++) {
    // Only these: handlers are reset by execve, and the runtime needs its own until then.
    if ((ignored >> BigInt(signal - 1)) & 1n) libc.signal(signal, null);
  }
  const SIG_SETMASK = 2;
  libc.sigprocmask(SIG_SETMASK, ptr(new Uint8Array(128)), null);
}

/** The runtime raises the soft limit of open files to the hard one; programs of the `select(2)` age expect 1024. */
function resetLimits(): void {
  const libc = loadLibc();
  const RLIMIT_NOFILE = 7;
  const limit = new BigUint64Array(2);
  if (libc.getrlimit(RLIMIT_NOFILE, ptr(limit)) !== 0) return;
  const [, hard = 0n] = limit;
  limit[0] = hard < 1024n ? hard : 1024n;
  libc.setrlimit(RLIMIT_NOFILE, ptr(limit));
}

/** Soft and hard, so that the server can't raise it; never above what there is. */
function setLimit(resource: number, to: number): void {
  const libc = loadLibc();
  const limit = new BigUint64Array(2);
  if (libc.getrlimit(resource, ptr(limit)) !== 0) throw new Stop("session", "EINVAL", `no resource ${resource}`);
  const [, hard = 0n] = limit;
  limit.fill(hard < BigInt(to) ? hard : BigInt(to));
  if (libc.setrlimit(resource, ptr(limit)) !== 0) throw new Stop("session", "EPERM", "a resource limit can't be set");
}

/** Nothing but 0, 1, 2 reaches the server, and those in blocking mode: not left to what the runtime does by itself. */
function resetDescriptors(): void {
  const libc = loadLibc();
  const [F_SETFD, F_GETFL, F_SETFL, FD_CLOEXEC, O_NONBLOCK] = [2, 3, 4, 1n, 0o4000];
  for (const name of readdirSync("/proc/self/fd")) {
    const fd = Number(name);
    libc.fcntl(fd, F_SETFD, fd > 2 ? FD_CLOEXEC : 0n);
    if (fd <= 2) libc.fcntl(fd, F_SETFL, BigInt(libc.fcntl(fd, F_GETFL, 0n) & ~O_NONBLOCK));
  }
}

function switchUser(to: Orders["switchTo"]): void {
  if (to === undefined) return;
  // Emptied first, so that nothing of the agent's is left even if `initgroups` were to add nothing.
  process.setgroups?.([]);
  // Bun has it, as Node does; its types don't say so.
  (process as { initgroups?: (user: string, group: number) => void }).initgroups?.(to.name, to.gid);
  process.setgid?.(to.gid);
  process.setuid?.(to.uid);
  verifyUser(to.uid, to.gid);
}

/** Believes the kernel, not the calls: real, effective, saved and file-system ids, groups, capabilities. */
function verifyUser(uid: number, gid: number): void {
  const now = status();
  const all = (field: string | undefined, id: number): boolean => field === [id, id, id, id].join("\t");
  if (!all(now.Uid, uid) || !all(now.Gid, gid)) throw new Stop("user", "ids", "the kernel kept other ids");
  if (!process.getgroups?.().includes(gid)) throw new Stop("user", "groups", "the kernel kept other groups");
  if (uid === 0) return;
  if (BigInt(`0x${now.CapEff ?? "1"}`) !== 0n || BigInt(`0x${now.CapPrm ?? "1"}`) !== 0n) {
    throw new Stop("user", "capabilities", "the kernel kept capabilities");
  }
  try {
    process.setuid?.(0);
  } catch {
    return;
  }
  throw new Stop("user", "ids", "the way back to root is open");
}

/** What systemd's `AmbientCapabilities=` gave the agent is not for its servers. Old kernels have none: no error then. */
function dropAmbientCapabilities(): void {
  const [PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL] = [47, 4n];
  loadLibc().prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0n, 0n, 0n);
}

/**
 * The kernel kills us, and the server that we become, when the agent dies. After the switch of users, which clears it;
 * and the parent is compared after that, for an agent that had died already. (It fires when the agent's *thread* that
 * spawned us ends: that is the main thread.)
 */
function dieWithAgent(agentPid: number): void {
  const libc = loadLibc();
  const [PR_SET_PDEATHSIG, SIGKILL] = [1, 9n];
  if (libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0n, 0n, 0n) !== 0) throw new Stop("session", "EINVAL", "prctl failed");
  if (libc.getppid() !== agentPid) throw new Stop("session", "ESRCH", "the agent is gone");
}

function enter(orders: Orders): void {
  const { cwd, home } = orders;
  if (cwd !== undefined) {
    attempt("cwd", cwd, () => process.chdir(cwd));
    return;
  }
  try {
    process.chdir(home);
  } catch {
    process.chdir("/");
  }
}

const status = (): Record<string, string> =>
  Object.fromEntries(
    [...slurp("/proc/self/status").matchAll(/^(\w+):[ \t]*(.*)$/gm)].map(([, key, value]) => [key, value]),
  );

/** In one read: the size of a file in /proc is 0. */
function slurp(path: string): string {
  const fd = openSync(path, "r");
  try {
    const bytes = new Uint8Array(64 * 1024);
    return new TextDecoder().decode(bytes.subarray(0, readSync(fd, bytes)));
  } finally {
    closeSync(fd);
  }
}

function report(message: Report): void {
  writeSync(REPORT_FD, `${JSON.stringify(message)}\n`);
}

function attempt<T>(step: Step, detail: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof Stop) throw error;
    throw new Stop(step, (error as NodeJS.ErrnoException).code ?? "internal", detail);
  }
}

function isPipe(fd: number): boolean {
  try {
    return fstatSync(fd).isFIFO();
  } catch {
    return false;
  }
}
