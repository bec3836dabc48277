/**
 * Control groups, version 2 (cgroups(7), the kernel's admin-guide/cgroup-v2): one for each server, in one of the agent's,
 * where the host lets us. Nothing leaves its group by forking, so `cgroup.kill` (Linux 5.14) ends all of it at once.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";

/** A server's group, and its `cgroup.procs`, opened for writing: who has it enters. */
export interface Group {
  path: string;
  door: number;
}

/** Makes one; undefined where there are none. */
export type MakeGroup = () => Group | undefined;

/** Where this process's own group is in the file system; `undefined` where there is no version 2, or it isn't in sight. */
export function ownGroup(
  cgroup = slurp("/proc/self/cgroup"),
  mountinfo = slurp("/proc/self/mountinfo"),
): string | undefined {
  const path = /^0::(\/.*)$/m.exec(cgroup)?.[1];
  if (path === undefined || path.startsWith("/..")) return undefined;
  for (const line of mountinfo.split("\n")) {
    const [before, after] = line.split(" - ");
    if (after?.split(" ")[0] !== "cgroup2") continue;
    const [, , , root, mount] = before?.split(" ") ?? [];
    if (root === undefined || mount === undefined) continue;
    const inside = relative(root, path);
    if (!inside.startsWith("..")) return join(mount, inside);
  }
  return undefined;
}

/** Where a process is that had to leave its own group so that controllers can be passed on there (`limits.ts`). */
export const asideOf = (base: string): string => `${base}-agent`;

/** The group in which the agent of that name makes its own: also when it, or its guard, stepped aside before. */
export function homeGroup(name: string, own = ownGroup()): string | undefined {
  return own !== undefined && basename(own) === asideOf(name) ? dirname(own) : own;
}

/** The agent's group of groups; `undefined` where none can be had. What an earlier agent of that name left there is ended. */
export async function openGroups(name: string, own = homeGroup(name)): Promise<string | undefined> {
  if (own === undefined) return undefined;
  const base = join(own, name);
  try {
    if (existsSync(base)) await removeGroup(base);
    mkdirSync(base, { recursive: true });
    if (!existsSync(join(base, "cgroup.kill"))) throw new Error("no cgroup.kill");
    return base;
  } catch {
    await removeGroup(base).catch(() => {});
    return undefined;
  }
}

/** Everything in the group and in those below it gets SIGKILL. */
export function killGroup(path: string): void {
  try {
    writeFileSync(join(path, "cgroup.kill"), "1");
  } catch {
    // It is gone already.
  }
}

/** Ends what is in the group, and removes it and those below it. False when something outlived `ms` milliseconds. */
export async function removeGroup(path: string, ms = 2_000): Promise<boolean> {
  const until = performance.now() + ms;
  for (let pause = 1; ; pause = Math.min(pause * 2, 50)) {
    killGroup(path);
    if (removeEmpty(path)) return true;
    if (performance.now() > until) return false;
    await Bun.sleep(pause);
  }
}

function removeEmpty(path: string): boolean {
  try {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      if (entry.isDirectory() && !removeEmpty(join(path, entry.name))) return false;
    }
    rmdirSync(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
  }
}

function slurp(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
