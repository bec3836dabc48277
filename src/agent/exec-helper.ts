/**
 * The exec helper (`exec-child.ts`) as the agent sees it: a process of our own with five pipes, which waits for its orders. It
 * takes 5 ms and more to start, and 10 more to enter its control group, for which the kernel waits until all processors have
 * passed by; so from the first server on the next one's stands ready.
 *
 * Pipes of our own, because the runtime's are socket pairs: a shell's `>/dev/stderr` fails on a socket.
 */
import { closeSync, openSync } from "node:fs";
import { Failure } from "../errors.ts";
import { type MakeGroup, removeGroup } from "./cgroup.ts";
import { openPipe } from "./libc.ts";
import { spawnOwn } from "./own-child.ts";

export interface ExecHelper {
  child: Bun.Subprocess;
  /** Our ends of its pipes, which whoever takes the helper closes. */
  fds: { stdin: number; stdout: number; stderr: number; orders: number; report: number };
  /** The control group that it enters first of all, its own; whoever takes the helper removes it. */
  group: string | undefined;
}

/** `self`: argv prefix that starts our own binary as the exec helper. Throws `Failure("start_failed")`. */
export function openExecHelper(self: string[], makeGroup: MakeGroup = () => undefined): ExecHelper {
  const group = makeGroup();
  const open = new Set<number>(group === undefined ? [] : [group.door]);
  const pipe = (): [number, number] => {
    const ends = openPipe();
    for (const fd of ends) open.add(fd);
    return ends;
  };
  try {
    const [stdinOut, stdin] = pipe();
    const [stdout, stdoutIn] = pipe();
    const [stderr, stderrIn] = pipe();
    const [ordersOut, orders] = pipe();
    const [report, reportIn] = pipe();
    // It enters by itself: to put it in would hold up the agent, and every session on it, for as long as that takes.
    // Where there is none, it must not find a descriptor of its runtime's under that number.
    const door = group?.door ?? openSync("/dev/null", "w");
    open.add(door);
    // The main thread has to be the one that spawns: PR_SET_PDEATHSIG fires when the spawning thread ends.
    const child = spawnOwn(self, {
      stdio: [stdinOut, stdoutIn, stderrIn, ordersOut, reportIn, door],
      env: {},
      cwd: "/",
    });
    const fds = { stdin, stdout, stderr, orders, report };
    for (const fd of Object.values(fds)) open.delete(fd);
    return { child, fds, group: group?.path };
  } catch (error) {
    if (group !== undefined) void removeGroup(group.path);
    const code = (error as NodeJS.ErrnoException).code ?? "internal";
    throw new Failure("start_failed", `the exec helper can't be started: ${code} ${self[0]}`, {
      hint: "see how many processes there are and may be: ulimit -u; ps -e | wc -l",
      cause: error,
    });
  } finally {
    for (const fd of open) closeSync(fd);
  }
}

/** After the server that made it worth while: what still goes on then is not held up. */
const PREPARE_MS = 30;
const KEEP_MS = 10 * 60 * 1000;

/** The exec helper of the next server. An agent that starts none keeps none: it goes ten minutes after the last. */
export class SpareExecHelper {
  readonly #self: string[];
  readonly #makeGroup: MakeGroup;
  #ready: ExecHelper | undefined;
  #preparing: ReturnType<typeof setTimeout> | undefined;
  #expiry: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(self: string[], makeGroup: MakeGroup) {
    this.#self = self;
    this.#makeGroup = makeGroup;
  }

  /** The one that stands ready, or a new one; and soon there is another. */
  take(): ExecHelper {
    const ready = this.#ready;
    this.#ready = undefined;
    this.#preparing ??= this.#closed ? undefined : setTimeout(() => this.#prepare(), PREPARE_MS);
    const lives = ready?.child.exitCode === null && ready.child.signalCode === null;
    if (lives && ready.group !== undefined) return ready;
    // One without a group is only good where there are none: it may have been made in a bad moment.
    const group = this.#makeGroup();
    if (lives && group === undefined) return ready;
    if (ready !== undefined) void release(ready);
    return openExecHelper(this.#self, () => group);
  }

  /** Nothing of it is left when this resolves. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#preparing);
    await this.#discard();
  }

  #prepare(): void {
    this.#preparing = undefined;
    clearTimeout(this.#expiry);
    this.#expiry = setTimeout(() => void this.#discard(), KEEP_MS);
    this.#expiry.unref();
    if (this.#ready !== undefined) return;
    try {
      this.#ready = openExecHelper(this.#self, this.#makeGroup);
    } catch {
      // The next server's start tries again, and says why it can't be.
    }
  }

  async #discard(): Promise<void> {
    clearTimeout(this.#expiry);
    const ready = this.#ready;
    if (ready === undefined) return;
    this.#ready = undefined;
    await release(ready);
  }
}

/** Nothing of it is left when this resolves. */
async function release({ child, fds, group }: ExecHelper): Promise<void> {
  for (const fd of Object.values(fds)) closeSync(fd);
  child.kill("SIGKILL");
  await child.exited;
  if (group !== undefined) await removeGroup(group);
}
