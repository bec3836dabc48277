/** What flees its server ends with it: with control groups where the host has them, and without. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { homeGroup, ownGroup } from "../../src/agent/cgroup.ts";
import { Containment } from "../../src/agent/containment.ts";
import { loadLibc } from "../../src/agent/libc.ts";
import { ENTRY, eventually, hostUser, isAlive, isLinux, makeFolder } from "./scene.ts";

let folder: ReturnType<typeof makeFolder>;
beforeAll(() => {
  folder = makeFolder("hydra.sh");
  chmodSync(folder.path, 0o777);
});
afterAll(() => folder.remove());
afterEach(() => {
  for (const pid of noted()) if (isAlive(pid)) process.kill(pid, "SIGKILL");
  writeFileSync(pids(), "");
});

const pids = (): string => join(folder.path, "pids");
const noted = (): number[] =>
  existsSync(pids()) ? readFileSync(pids(), "utf8").split("\n").filter(Boolean).map(Number) : [];

/** An agent in a process of its own (it adopts orphans), which runs one hydra. */
async function start(contain: string, groups: boolean, atOnce = false) {
  writeFileSync(pids(), "");
  chmodSync(pids(), 0o666);
  const options = {
    command: join(folder.path, "hydra.sh"),
    args: [],
    env: { PIDS: pids() },
    hostUser,
    source: ENTRY,
    contain,
    groups,
    atOnce,
  };
  const agent = Bun.spawn([process.execPath, ENTRY, "agent", JSON.stringify(options)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  let said = "";
  void (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of agent.stdout) said += decoder.decode(chunk, { stream: true });
  })();
  await eventually(() => said.includes("are there") || said.includes("code"), 10_000);
  const mechanism = /"containment":"([^"]+)"/.exec(said)?.[1];
  return { agent, mechanism, said: () => said };
}

const alive = (): number[] => noted().filter(isAlive);

describe.skipIf(!isLinux).each([
  ["with the means of this host", true],
  ["without control groups", false],
])("a server that flees in every direction, %s", (_, groups) => {
  test("is gone when it is stopped, all of it", async () => {
    const { agent, mechanism, said } = await start(`t${process.pid}`, groups);
    expect(mechanism).toMatch(groups ? /^(cgroup|subreaper)$/ : /^subreaper$/);
    expect(noted()).toHaveLength(13);
    expect(alive()).toHaveLength(13);
    agent.stdin.end();
    await agent.exited;
    expect(said()).toContain('"signal":"SIGKILL"');
    expect(alive()).toEqual([]);
    const group = ownGroup();
    if (group !== undefined) expect(existsSync(join(group, `mcpgate-t${process.pid}`))).toBe(false);
  });

  test("is gone when there is no time to stop it, also what others of it had started", async () => {
    const { agent } = await start(`t${process.pid}`, groups, true);
    agent.stdin.end();
    await agent.exited;
    // Killed by then; who reaps them now needs a moment.
    await eventually(() => alive().length === 0, 1_000);
  });

  test("is gone when the server is killed", async () => {
    const { agent } = await start(`t${process.pid}`, groups);
    process.kill(noted()[0] ?? 0, "SIGKILL");
    await eventually(() => alive().length === 0);
    agent.stdin.end();
    await agent.exited;
  });

  test("and whose agent and guard were both killed, is ended by the next agent", async () => {
    const { agent } = await start(`t${process.pid}`, groups);
    agent.kill("SIGKILL");
    await agent.exited;
    // The direct child died with its agent; who fled did not.
    await eventually(() => !isAlive(noted()[0] ?? 0));
    expect(alive().length).toBeGreaterThan(0);
    const before = noted();
    const next = await start(`t${process.pid}`, groups);
    // Without control groups, who wiped its environment is nobody's any more.
    const left = before.filter(isAlive);
    expect(left.length).toBeLessThanOrEqual(groups && next.mechanism === "cgroup" ? 0 : 6);
    for (const pid of left) process.kill(pid, "SIGKILL");
    next.agent.stdin.end();
    await next.agent.exited;
  });
});

test.skipIf(!isLinux)("a server whose limits are its control group's does not start without one", async () => {
  const log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
  const containment = await Containment.open(`u${process.pid}`, log, { makeGroup: async () => undefined });
  expect(() => containment.enclose().enter(process.pid, undefined)).not.toThrow();
  expect(() => containment.enclose({ "pids.max": "5" }).enter(process.pid, undefined)).toThrow("control group");
  // Or else whatever other tests here leave behind would become ours.
  const PR_SET_CHILD_SUBREAPER = 36;
  loadLibc().prctl(PR_SET_CHILD_SUBREAPER, 0n, 0n, 0n, 0n);
});

describe("the agent's own control group", () => {
  const mount = (line: string): string =>
    `23 1 0:20 / / rw - ext4 /dev/sda rw\n30 23 0:26 ${line} rw shared:4 - cgroup2 cgroup rw\n`;

  test("is found below the mount", () => {
    expect(ownGroup("0::/system.slice/a.service\n", mount("/ /sys/fs/cgroup"))).toBe(
      "/sys/fs/cgroup/system.slice/a.service",
    );
    expect(ownGroup("9:pids:/x\n0::/docker/1/a\n", mount("/docker/1 /sys/fs/cgroup"))).toBe("/sys/fs/cgroup/a");
  });

  test("is the one around it for an agent that stepped aside", () => {
    expect(homeGroup("mcpgate-x", "/cg/a.service/mcpgate-x-agent")).toBe("/cg/a.service");
    expect(homeGroup("mcpgate-x", "/cg/mcpgate-y-agent")).toBe("/cg/mcpgate-y-agent");
  });

  test("is none where version 2 isn't there, or out of sight", () => {
    expect(ownGroup("9:pids:/x\n", mount("/ /sys/fs/cgroup"))).toBeUndefined();
    expect(ownGroup("0::/../a\n", mount("/ /sys/fs/cgroup"))).toBeUndefined();
    expect(ownGroup("0::/a\n", "")).toBeUndefined();
    expect(ownGroup("0::/b\n", mount("/a /sys/fs/cgroup"))).toBeUndefined();
  });
});
