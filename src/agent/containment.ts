/**
 * Everything that a server starts ends with it, also what fled its process group (a daemon's double fork and `setsid`):
 *
 * - The agent is the subreaper of all below it (prctl(2)), so a fled process becomes its child. Which server it came from
 *   is told by the variable that each server is started with, and, for one that wiped its environment, by its age: it
 *   can't be older than its server, and ends with the last server that it may have come from.
 * - Where a control group can be had, each server has its own, and `cgroup.kill` ends all of it.
 *
 * Linux only. Elsewhere a server's process group is all there is.
 */
import { mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";
import { type Group, homeGroup, killGroup, openGroups, removeGroup } from "./cgroup.ts";
import { becomeSubreaper, reap } from "./libc.ts";
import { type Controller, enableControllers, type LimitPlan, limitGroup } from "./limits.ts";
import { isOwnChild } from "./own-child.ts";
import { descendantsOf, kill, loadStat, ownChildren, readPids, startedWith } from "./process-tree.ts";

/** In each server's environment: what its descendants are known by. */
export const MARKER = "MCPGATE_SERVER";

/** What keeps one server's processes together. */
export interface Enclosure {
  /** For the server's environment. */
  readonly env: Record<string, string>;
  /**
   * The server's first process, before any code of the app's runs in it, and the control group that it is in. Throws
   * `Failure("start_failed")` where its limits can't be set there.
   */
  enter(pid: number, group: string | undefined): void;
  /** It is not in its control group after all; `code` says why. */
  outside(code: string): void;
  /** Ends all of it that is still there; false when something outlived that. */
  end(): Promise<boolean>;
}

export type Mechanism = "cgroup" | "subreaper" | "process group";

const END_MS = 2_000;

export class Containment {
  readonly mechanism: Mechanism;
  /** The agent's control group; the guard ends it when the agent is killed. */
  readonly group: string | undefined;
  readonly #log: Log;
  readonly #tag: string;
  /** The servers that live, by their marker, with their first process's start time. */
  readonly #live = new Map<string, number>();
  #next = 0;

  /**
   * `tag`: names this agent on its host, and another process never at the same time (the data directory's lock sees to
   * that): what an earlier one left behind under it is ended. `needed`: what limits
   * want of the control groups. `makeGroup`: tests have hosts without them.
   */
  static async open(
    tag: string,
    log: Log,
    { needed = [], makeGroup = openGroups }: { needed?: Controller[]; makeGroup?: typeof openGroups } = {},
  ): Promise<Containment> {
    if (process.platform !== "linux") return new Containment("process group", undefined, new Set(), tag, log);
    const left = endMarked(tag);
    if (left > 0) log.warn("servers.leftover", { ended: left });
    const group = await makeGroup(`mcpgate-${tag}`);
    const subreaper = becomeSubreaper();
    const mechanism = group !== undefined ? "cgroup" : subreaper ? "subreaper" : "process group";
    const own = homeGroup(`mcpgate-${tag}`);
    const usable = group !== undefined && own !== undefined && needed.length > 0;
    const controllers = usable ? enableControllers(own, group, needed) : new Set<Controller>();
    return new Containment(mechanism, group, controllers, tag, log);
  }

  private constructor(
    mechanism: Mechanism,
    group: string | undefined,
    controllers: ReadonlySet<Controller>,
    tag: string,
    log: Log,
  ) {
    this.controllers = controllers;
    this.mechanism = mechanism;
    this.group = group;
    this.#tag = tag;
    this.#log = log;
  }

  /** The controllers that can be used to limit servers. */
  readonly controllers: ReadonlySet<Controller>;

  /** For one server that is about to start, with these limits on its control group (`planLimits`). */
  enclose(limits: LimitPlan["group"] = {}): Enclosure {
    // Random: a server that names another one's marker could hide behind it.
    const marker = `${this.#tag}.${crypto.randomUUID()}`;
    let group: string | undefined;
    const linux = process.platform === "linux";
    return {
      env: linux ? { [MARKER]: marker } : {},
      enter: (pid, own) => {
        if (!linux) return;
        this.#live.set(marker, loadStat(pid)?.startTime ?? 0);
        group = own;
        if (own !== undefined) limitGroup(own, limits);
        else if (Object.keys(limits).length > 0) {
          throw new Failure("start_failed", "mcp.limits: the server's control group can't be made", {
            hint: "the agent's log says why (cgroup.failed)",
          });
        }
      },
      // The subreaper still finds what flees.
      outside: (code) => this.#log.warn("cgroup.failed", { error: code }),
      end: async () => {
        if (!linux) return true;
        this.#live.delete(marker);
        const emptied = group === undefined || (await removeGroup(group));
        return (await this.#endFled()) && emptied;
      },
    };
  }

  /** Called about once a second: clears away adopted children that ended, and ends those whose server did. How many. */
  sweep(): number {
    let found = 0;
    if (process.platform !== "linux") return 0;
    for (const pid of ownChildren()) {
      if (isOwnChild(pid)) continue;
      const stat = loadStat(pid);
      if (stat === undefined) continue;
      if (stat.zombie) {
        // Counted too: its own children may have become ours since the list was read.
        found += 1;
        reap(pid);
      } else if (!this.#mayStay(pid, stat.startTime)) {
        found += 1;
        kill(pid);
      }
    }
    return found;
  }

  /** After the last server. */
  async close(): Promise<void> {
    if (this.group !== undefined) await removeGroup(this.group);
    await this.#endFled();
  }

  /** At once, in this very call: everything that any server started, however deep below it. */
  killAll(): void {
    if (this.group !== undefined) killGroup(this.group);
    this.#live.clear();
    // Again for what was forked while the list was read; one that is killed forks no more.
    for (let round = 0; round < 3; round++) {
      for (const { pid, zombie } of descendantsOf(process.pid)) if (!zombie) kill(pid);
    }
    this.sweep();
  }

  /** A control group for one server; undefined where there are none. */
  makeGroup(): Group | undefined {
    if (this.group === undefined) return undefined;
    const path = join(this.group, `${this.#next++}`);
    try {
      mkdirSync(path);
      return { path, door: openSync(join(path, "cgroup.procs"), "w") };
    } catch (error) {
      this.#log.warn("cgroup.failed", { error: (error as Error).message });
      void removeGroup(path);
      return undefined;
    }
  }

  #mayStay(pid: number, startTime: number): boolean {
    const marker = startedWith(pid, MARKER);
    if (marker?.startsWith(`${this.#tag}.`)) return this.#live.has(marker);
    for (const began of this.#live.values()) if (began <= startTime) return true;
    return false;
  }

  /** Each round ends the fled whose parents were ended in the one before. */
  async #endFled(): Promise<boolean> {
    const until = performance.now() + END_MS;
    for (let pause = 1; ; pause = Math.min(pause * 2, 50)) {
      if (this.sweep() === 0) return true;
      if (performance.now() > until) return false;
      await Bun.sleep(pause);
    }
  }
}

/** Processes that an agent of this tag started, and that neither it nor its guard could end (both were killed). */
function endMarked(tag: string): number {
  let ended = 0;
  for (let round = 0; round < 20; round++) {
    const marked = readPids().filter((pid) => pid !== process.pid && startedWith(pid, MARKER)?.startsWith(`${tag}.`));
    const running = marked.filter((pid) => loadStat(pid)?.zombie === false && kill(pid));
    if (running.length === 0) break;
    ended += running.length;
    Bun.sleepSync(5);
  }
  return ended;
}
