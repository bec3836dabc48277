/**
 * Starts one process: on Linux through the exec helper (`exec-helper.ts`), over real pipes, which are given to the host user:
 * a shell's `>/dev/stderr` fails on a pipe that belongs to root. Elsewhere directly.
 *
 * Elsewhere (macOS, Windows) there is no other host user, and nothing ties the server's life to the agent's but the end
 * of its stdin; on macOS it has a session of its own, so that stopping it reaches its children.
 */
import { closeSync, existsSync, fchownSync } from "node:fs";
import { Failure } from "../errors.ts";
import type { MakeGroup } from "./cgroup.ts";
import type { Enclosure } from "./containment.ts";
import { openExecHelper, type SpareExecHelper } from "./exec-helper.ts";
import { findCommand, type Orders, type Report, startFailure } from "./launch.ts";
import type { Ledger } from "./ledger.ts";
import { spawnOwn } from "./own-child.ts";

export interface Spawned {
  pid: number;
  stdin: Bun.FileSink;
  stdout: Reader;
  stderr: Reader;
  /** The process has been reaped. */
  ended: Promise<End>;
}

export interface End {
  code: number | null;
  signal: string | null;
}

/** As much of a stream's reader as is needed here. */
export interface Reader {
  read(): Promise<{ value?: Uint8Array | undefined; done: boolean }>;
  cancel(): Promise<void>;
}

export interface SpawnOptions {
  orders: Orders;
  /** Argv prefix that starts our own binary as the exec helper. */
  self: string[];
  /** Has one ready. */
  helpers?: SpareExecHelper | undefined;
  ledger: Ledger;
  /** Entered before any code of the app's runs. */
  enclosure?: Enclosure | undefined;
  /** For an exec helper that does not stand ready. */
  makeGroup?: MakeGroup | undefined;
  /** From spawn to exec; only a directory server or a network file system that hangs needs long. Milliseconds, 20,000. */
  execMs?: number;
}

/** Failure `start_failed` unless the server's program runs when this resolves. */
export const spawnServer = (o: SpawnOptions): Promise<Spawned> =>
  process.platform === "linux" ? spawnThroughChild(o) : spawnDirectly(o);

async function spawnThroughChild({
  orders,
  self,
  helpers,
  ledger,
  enclosure,
  makeGroup,
  execMs = 20_000,
}: SpawnOptions): Promise<Spawned> {
  const { child, fds, group } = helpers?.take() ?? openExecHelper(self, makeGroup);
  const ended = watch(child, ledger);
  let spawned: Spawned;
  let reports: Reader;
  let sink: Bun.FileSink;
  try {
    enclosure?.enter(child.pid, group);
    if (orders.switchTo !== undefined) {
      // Both ends of a pipe are one file.
      for (const fd of [fds.stdin, fds.stdout, fds.stderr]) fchownSync(fd, orders.switchTo.uid, orders.switchTo.gid);
    }
    // Each of these duplicates its descriptor and closes that duplicate itself; the originals go with `finally`.
    spawned = {
      pid: child.pid,
      stdin: Bun.file(fds.stdin).writer(),
      stdout: Bun.file(fds.stdout).stream().getReader(),
      stderr: Bun.file(fds.stderr).stream().getReader(),
      ended,
    };
    reports = Bun.file(fds.report).stream().getReader();
    sink = Bun.file(fds.orders).writer();
  } finally {
    for (const fd of Object.values(fds)) closeSync(fd);
  }
  const timer = setTimeout(() => child.kill("SIGKILL"), execMs);
  try {
    await sendOrders(sink, orders);
    const failed = await outcome(reports, orders, child);
    if (!(failed instanceof Failure)) {
      if (failed.ungrouped !== undefined) enclosure?.outside(failed.ungrouped);
      return spawned;
    }
    await discard(spawned);
    throw failed;
  } finally {
    clearTimeout(timer);
  }
}

async function sendOrders(sink: Bun.FileSink, orders: Orders): Promise<void> {
  try {
    await sink.write(JSON.stringify(orders));
    await sink.end();
  } catch {
    // The child is gone: what it reported, or didn't, says why.
  }
}

/** What the exec helper says until the end of file. */
async function outcome(
  reports: Reader,
  orders: Orders,
  child: Bun.Subprocess,
): Promise<Failure | Extract<Report, { at: "exec" }>> {
  const lines = (await readText(reports, 64 * 1024)).split("\n").filter((line) => line !== "");
  const all = lines.map((line) => JSON.parse(line) as Report);
  const failed = all.find((report) => report.at === "failed");
  if (failed?.at === "failed") return startFailure(failed, orders);
  const runs = all.find((report) => report.at === "exec");
  if (runs?.at === "exec") return runs;
  await child.exited;
  const how = child.signalCode === null ? `exited with code ${child.exitCode}` : `killed by ${child.signalCode}`;
  return new Failure("start_failed", `the exec helper ended before it could start "${orders.command}" (${how})`, {
    hint: "look at the agent's log and at the kernel's (journalctl -k), and whether the host's user database answers",
  });
}

async function readText(reader: Reader, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  while (size < maxBytes) {
    const { value, done } = await reader.read();
    if (done || value === undefined) break;
    chunks.push(value);
    size += value.length;
  }
  await reader.cancel();
  return Buffer.concat(chunks).toString("utf8");
}

async function discard(spawned: Spawned): Promise<void> {
  await Promise.allSettled([spawned.stdin.end(), spawned.stdout.cancel(), spawned.stderr.cancel(), spawned.ended]);
}

async function spawnDirectly({ orders, ledger }: SpawnOptions): Promise<Spawned> {
  if (orders.switchTo !== undefined && orders.switchTo.uid !== process.geteuid?.()) {
    throw new Failure("start_failed", "run_as_host_user with another user than the agent's works on linux only", {
      hint: "start an agent as that user",
    });
  }
  const windows = process.platform === "win32";
  const found = windows ? { path: orders.command } : findCommand(orders.command, orders.env.PATH ?? "");
  if ("fault" in found) {
    throw startFailure({ at: "failed", step: "find", code: found.fault, detail: found.path }, orders);
  }
  const cwd = orders.cwd ?? (existsSync(orders.home) ? orders.home : "/");
  try {
    const child = spawnOwn([found.path, ...orders.args], {
      argv0: orders.command,
      stdio: ["pipe", "pipe", "pipe"],
      env: orders.env,
      cwd,
      detached: !windows,
      windowsHide: true,
    });
    return {
      pid: child.pid,
      stdin: child.stdin,
      stdout: child.stdout.getReader(),
      stderr: child.stderr.getReader(),
      ended: watch(child, ledger),
    };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "internal";
    const step = code === "ENOENT" && !existsSync(cwd) ? "cwd" : "exec";
    throw startFailure({ at: "failed", step, code, detail: step === "cwd" ? cwd : found.path }, orders);
  }
}

async function watch(child: Bun.Subprocess, ledger: Ledger): Promise<End> {
  ledger.spawn(child.pid);
  await child.exited;
  ledger.exit(child.pid);
  return { code: child.exitCode, signal: child.signalCode === null ? null : String(child.signalCode) };
}
