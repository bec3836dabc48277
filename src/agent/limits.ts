/**
 * What a server may use of its host: by its control group where the host has the controllers, else by resource limits
 * (setrlimit(2)), which count each process for itself, and processes for the whole host user.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Limits } from "../config/config.ts";
import { Failure } from "../errors.ts";
import { asideOf } from "./cgroup.ts";

export type Controller = "memory" | "pids" | "cpu";

/** Of setrlimit(2), on all of Linux's architectures that we run on. */
const [RLIMIT_DATA, RLIMIT_NPROC, RLIMIT_NOFILE] = [2, 6, 7];
/** Microseconds; the kernel's default. */
const CPU_PERIOD = 100_000;

export interface LimitPlan {
  /** Files of the server's control group, and what is written to them. */
  group: Record<string, string>;
  /** Resource, soft and hard limit. */
  rlimits: [resource: number, limit: number][];
  /** For people: how each limit is kept, or that it can't be. */
  kept: { limit: string; by: "cgroup" | "rlimit" | "nothing"; why?: string }[];
}

/** `root`: whether the server runs as root, whom the kernel counts no processes of. */
export function planLimits(limits: Limits, controllers: ReadonlySet<Controller>, root: boolean): LimitPlan {
  const { memory, cpu, processes, openFiles } = limits;
  const plan: LimitPlan = { group: {}, rlimits: [], kept: [] };
  if (memory !== undefined) {
    if (controllers.has("memory")) {
      // Swap would only make it slow, and half a killed server is worth nothing.
      // In this order: what is there already when the second comes would otherwise be swapped out.
      Object.assign(plan.group, { "memory.swap.max": "0", "memory.max": `${memory}`, "memory.oom.group": "1" });
      plan.kept.push({ limit: "memory", by: "cgroup" });
    } else {
      plan.rlimits.push([RLIMIT_DATA, memory]);
      plan.kept.push({ limit: "memory", by: "rlimit", why: "for each process, not for all of them together" });
    }
  }
  if (cpu !== undefined) {
    if (controllers.has("cpu")) {
      plan.group["cpu.max"] = `${Math.max(1000, Math.round(cpu * CPU_PERIOD))} ${CPU_PERIOD}`;
      plan.kept.push({ limit: "cpu", by: "cgroup" });
    } else {
      plan.kept.push({ limit: "cpu", by: "nothing", why: "this host has no control groups with the cpu controller" });
    }
  }
  if (processes !== undefined) {
    if (controllers.has("pids")) {
      plan.group["pids.max"] = `${processes}`;
      plan.kept.push({ limit: "processes", by: "cgroup" });
    } else if (root) {
      plan.kept.push({
        limit: "processes",
        by: "nothing",
        why: "the kernel counts none for root without control groups",
      });
    } else {
      plan.rlimits.push([RLIMIT_NPROC, processes]);
      plan.kept.push({
        limit: "processes",
        by: "rlimit",
        why: "all of the host user's count, not this server's alone",
      });
    }
  }
  if (openFiles !== undefined) {
    plan.rlimits.push([RLIMIT_NOFILE, openFiles]);
    plan.kept.push({ limit: "open_files", by: "rlimit" });
  }
  return plan;
}

/** The controllers that limits of these apps would need. */
export function neededControllers(all: readonly (Limits | undefined)[]): Controller[] {
  const needed = new Set<Controller>();
  for (const limits of all) {
    if (limits?.memory !== undefined) needed.add("memory");
    if (limits?.processes !== undefined) needed.add("pids");
    if (limits?.cpu !== undefined) needed.add("cpu");
  }
  return [...needed];
}

/**
 * Turns the controllers on for the groups below `base`, which lies in `own`; answers with those that are on. A group
 * with processes of its own can pass no controller on ("no internal processes"), so we move to one beside `base` first.
 */
export function enableControllers(own: string, base: string, needed: readonly Controller[]): Set<Controller> {
  const enabled = new Set<Controller>();
  const there = read(join(own, "cgroup.controllers")).split(/\s+/);
  for (const controller of needed) {
    if (!there.includes(controller)) continue;
    const on = `+${controller}`;
    if (!write(join(own, "cgroup.subtree_control"), on)) {
      moveAside(own, asideOf(base));
      if (!write(join(own, "cgroup.subtree_control"), on)) continue;
    }
    if (write(join(base, "cgroup.subtree_control"), on)) enabled.add(controller);
  }
  return enabled;
}

function moveAside(own: string, leaf: string): void {
  try {
    if (!existsSync(leaf)) mkdirSync(leaf);
  } catch {
    return;
  }
  for (const pid of read(join(own, "cgroup.procs")).split("\n")) {
    if (pid !== "") write(join(leaf, "cgroup.procs"), pid);
  }
}

/** Failure `start_failed` where the kernel doesn't take one: a server without its limits does not start. */
export function limitGroup(group: string, files: LimitPlan["group"]): void {
  for (const [name, value] of Object.entries(files)) {
    // Kernels without swap accounting have no such file, and nothing to limit.
    if (name === "memory.swap.max" && !existsSync(join(group, name))) continue;
    if (!write(join(group, name), value)) {
      throw new Failure("start_failed", `mcp.limits: the kernel doesn't take ${name} = ${value}`, {
        hint: `look at ${group}, and correct mcp.limits`,
      });
    }
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}

function write(path: string, text: string): boolean {
  try {
    writeFileSync(path, text);
    return true;
  } catch {
    return false;
  }
}
