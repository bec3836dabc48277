/** Limits: what each of them becomes on which host, and that a server can't do more than it may. */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type Controller,
  enableControllers,
  limitGroup,
  neededControllers,
  planLimits,
} from "../../src/agent/limits.ts";
import { SessionLimits, START_TIMEOUT_S } from "../../src/agent/session-limits.ts";
import { isLinux, isRoot, makeFolder, run, start, stopAll } from "./scene.ts";

afterEach(stopAll);

const all = { memory: 64 * 1024 * 1024, cpu: 0.5, processes: 20, openFiles: 64 };
const every = new Set<Controller>(["memory", "pids", "cpu"]);
const MiB = 1024 * 1024;

describe("the plan", () => {
  test("is the control group's where it has the controllers", () => {
    const { group, rlimits, kept } = planLimits(all, every, false);
    expect(group).toEqual({
      "memory.max": "67108864",
      "memory.swap.max": "0",
      "memory.oom.group": "1",
      "cpu.max": "50000 100000",
      "pids.max": "20",
    });
    expect(rlimits).toEqual([[7, 64]]);
    expect(kept.map(({ by }) => by)).toEqual(["cgroup", "cgroup", "cgroup", "rlimit"]);
  });

  test("is resource limits elsewhere, and what can't be had is said", () => {
    const { group, rlimits, kept } = planLimits(all, new Set(), false);
    expect(group).toEqual({});
    expect(rlimits).toEqual([
      [2, all.memory],
      [6, 20],
      [7, 64],
    ]);
    expect(kept).toEqual([
      { limit: "memory", by: "rlimit", why: "for each process, not for all of them together" },
      { limit: "cpu", by: "nothing", why: "this host has no control groups with the cpu controller" },
      { limit: "processes", by: "rlimit", why: "all of the host user's count, not this server's alone" },
      { limit: "open_files", by: "rlimit" },
    ]);
    expect(planLimits({ processes: 5 }, new Set(), true).kept[0]?.by).toBe("nothing");
    expect(planLimits({}, every, false)).toEqual({ group: {}, rlimits: [], kept: [] });
  });

  test("asks for the controllers that some app needs, and no others", () => {
    expect(neededControllers([undefined, { openFiles: 1 }, { cpu: 1 }, { cpu: 2, processes: 3 }])).toEqual([
      "cpu",
      "pids",
    ]);
  });
});

describe("control groups (their files, in a folder)", () => {
  test("get the controllers that are there, from the top down", () => {
    using folder = makeFolder();
    const base = join(folder.path, "mcpgate-x");
    mkdirSync(base);
    writeFileSync(join(folder.path, "cgroup.controllers"), "cpuset cpu memory\n");
    expect([...enableControllers(folder.path, base, ["memory", "pids"])]).toEqual(["memory"]);
    for (const path of [folder.path, base]) {
      expect(readFileSync(join(path, "cgroup.subtree_control"), "utf8")).toBe("+memory");
    }
  });

  test("are left by their processes when that is what it takes", () => {
    using folder = makeFolder();
    const base = join(folder.path, "mcpgate-x");
    mkdirSync(base);
    // As "device or resource busy" would: the file can't be written.
    mkdirSync(join(folder.path, "cgroup.subtree_control"));
    writeFileSync(join(folder.path, "cgroup.controllers"), "memory\n");
    writeFileSync(join(folder.path, "cgroup.procs"), "17\n");
    expect([...enableControllers(folder.path, base, ["memory"])]).toEqual([]);
    expect(readFileSync(join(`${base}-agent`, "cgroup.procs"), "utf8")).toBe("17");
  });

  test("take their limits, or the server does not start", () => {
    using folder = makeFolder();
    limitGroup(folder.path, planLimits(all, every, false).group);
    expect(readFileSync(join(folder.path, "pids.max"), "utf8")).toBe("20");
    expect(() => limitGroup(join(folder.path, "none"), { "pids.max": "1" })).toThrow("doesn't take pids.max");
  });
});

describe.skipIf(!isLinux)("a server", () => {
  test("may open so many files, and can't raise that", async () => {
    const told = await run("sh", ["-c", "ulimit -n; ulimit -Hn; ulimit -n 1024 2>/dev/null || echo no"], {
      limits: { openFiles: 32 },
    });
    expect(told).toBe("32\n32\nno\n");
  });

  test("may have so much memory", async () => {
    const grow = ["-c", "head -c 200000000 /dev/zero | tail -c 150000000 | wc -c"];
    const limited = await run("sh", grow, { limits: { memory: 64 * MiB } });
    expect(limited.trim()).toBe("0");
    expect((await run("sh", grow)).trim()).toBe("150000000");
  });

  test.skipIf(!isRoot)("may start so many processes (needs root, to be a user with few)", async () => {
    const { server, output } = await start({
      command: "sh",
      args: ["-c", "ulimit -u 2>/dev/null || grep 'Max processes' /proc/self/limits"],
      limits: { processes: 500 },
    });
    await server.exited;
    expect(output()).toContain("500");
  });
});

describe("a session's time", () => {
  const open = (limits: ConstructorParameters<typeof SessionLimits>[0]) => new SessionLimits(limits, 0);

  test("to the first answer counts from the first question, while somebody waits", () => {
    const limits = open({ startTimeout: 5 });
    expect(limits.overdue(60_000, 0)).toBeUndefined();
    limits.toServer(60_000);
    expect(limits.overdue(65_000, 1)).toBeUndefined();
    expect(limits.overdue(65_001, 1)).toMatchObject({ failed: true });
    expect(limits.overdue(65_001, 0)).toBeUndefined();
    limits.active(65_002);
    expect(limits.overdue(65_003, 1)).toMatchObject({ failed: true });
    limits.answered();
    expect(limits.overdue(1e9, 1)).toBeUndefined();
  });

  test("to the first answer is two minutes unless told", () => {
    const limits = open({});
    limits.toServer(0);
    expect(limits.overdue(START_TIMEOUT_S * 1000, 1)).toBeUndefined();
    expect(limits.overdue(START_TIMEOUT_S * 1000 + 1, 1)?.reason).toContain("within 120 s");
  });

  test("idle counts from the last message, and stands still while a request is open", () => {
    const limits = open({ idleTimeout: 10 });
    limits.active(5_000);
    expect(limits.overdue(15_000, 0)).toBeUndefined();
    expect(limits.overdue(15_001, 1)).toBeUndefined();
    expect(limits.overdue(15_001, 0)).toEqual({ reason: "nothing was said for 10 s (idle_timeout)", failed: false });
  });

  test("as a whole ends it whatever happens", () => {
    const limits = open({ sessionTimeout: 10 });
    limits.active(10_000);
    expect(limits.overdue(10_001, 3)?.reason).toContain("session_timeout");
  });
});
