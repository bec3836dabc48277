/** What a server finds when it starts: read from inside the process, or from /proc beside it. */
import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Enclosure } from "../../src/agent/containment.ts";
import { openExecHelper } from "../../src/agent/exec-helper.ts";
import { hostAccounts, loadHostUser, loadHostUserById } from "../../src/agent/host-user.ts";
import { DEFAULT_PATH, type Orders } from "../../src/agent/launch.ts";
import { Ledger } from "../../src/agent/ledger.ts";
import { loadLibc, openPipe } from "../../src/agent/libc.ts";
import { spawnServer } from "../../src/agent/spawn.ts";
import {
  ENTRY,
  eventually,
  hostUser,
  isAlive,
  isLinux,
  isRoot,
  makeFolder,
  run,
  SELF,
  start,
  stopAll,
} from "./scene.ts";

afterEach(stopAll);

const fields = (text: string): Record<string, string> =>
  Object.fromEntries([...text.matchAll(/^(\w+):[ \t]*(.*?)[ \t]*$/gm)].map(([, key, value]) => [key, value]));

const status = async (options = {}) => fields(await run("cat", ["/proc/self/status"], options));

describe.skipIf(!isLinux)("a server's process", () => {
  test("has a session and a process group of its own", async () => {
    const { server } = await start({ command: "cat" });
    const [, , group, session] = readFileSync(`/proc/${server.pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    expect(Number(group)).toBe(server.pid);
    expect(Number(session)).toBe(server.pid);
  });

  test("has descriptors 0, 1, 2 and no other, all pipes in blocking mode", async () => {
    const { server } = await start({ command: "cat" });
    // The program runs, but may still be loading its libraries.
    await eventually(() => readdirSync(`/proc/${server.pid}/fd`).sort().join() === "0,1,2");
    for (const fd of [0, 1, 2]) {
      const flags = fields(readFileSync(`/proc/${server.pid}/fdinfo/${fd}`, "utf8")).flags ?? "";
      expect(Number.parseInt(flags, 8) & 0o4000).toBe(0);
    }
  });

  test("can open /dev/stdin, /dev/stdout and /dev/stderr", async () => {
    const started = await start({
      command: "sh",
      args: ["-c", "echo one >/dev/stderr; echo two >/dev/stdout; head -n 1 /dev/stdin"],
    });
    started.server.write(Buffer.from("three\n"));
    await started.server.exited;
    expect(started.output()).toBe("two\nthree\n");
    expect(started.server.stderrTail()).toEqual(["one"]);
  });

  test("ignores and blocks no signal, has umask 022 and the usual limit of open files", async () => {
    const now = await status();
    expect(now.SigIgn).toBe("0".repeat(16));
    expect(now.SigBlk).toBe("0".repeat(16));
    expect(now.Umask).toBe("0022");
    const limits = await run("cat", ["/proc/self/limits"]);
    expect(limits).toMatch(/^Max open files +(1024|\d{1,3}) /m);
  });

  test("may gain privileges: no_new_privs is not forced on it (sudo, setuid servers)", async () => {
    expect((await status()).NoNewPrivs).toBe("0");
  });

  test("has exactly the environment that it was given", async () => {
    const env = { API_KEY: "k", EMPTY: "", "odd name": "a=b\nc", LD_PRELOAD: "" };
    const inherited = {
      LANG: "de_DE.UTF-8",
      TZ: "UTC",
      BUN_OPTIONS: "x",
      NODE_OPTIONS: "x",
      SECRET: "s",
      PATH: "/usr/bin:/bin",
    };
    const text = await run("cat", ["/proc/self/environ"], { env, inherited });
    const found = Object.fromEntries(
      text.split("\0").flatMap((pair) => {
        const at = pair.indexOf("=");
        return at < 0 ? [] : [[pair.slice(0, at), pair.slice(at + 1)]];
      }),
    );
    const user = await (hostUser === undefined
      ? loadHostUserById(process.getuid?.() ?? -1, process.getgid?.() ?? -1)
      : loadHostUser(hostUser));
    expect(found).toEqual({
      ...env,
      HOME: user.home,
      USER: user.name,
      LOGNAME: user.name,
      SHELL: user.shell,
      PATH: isRoot ? DEFAULT_PATH : "/usr/bin:/bin",
      LANG: "de_DE.UTF-8",
      TZ: "UTC",
    });
  });

  test("gets its arguments as they are", async () => {
    const args = ["%s|", "", "a b", "ünï\n", "-n", "$HOME"];
    expect(await run("printf", args)).toBe(
      args
        .slice(1)
        .map((arg) => `${arg}|`)
        .join(""),
    );
  });

  test("works in the configured folder", async () => {
    expect(await run("pwd", [], { cwd: "/usr/bin" })).toBe("/usr/bin\n");
  });
});

describe.skipIf(!isLinux || !isRoot)("switching to a host user (needs root)", () => {
  test("sets all ids, the user's groups and no others, and leaves no capability", async () => {
    const nobody = await loadHostUser("nobody");
    const now = await status({ hostUser: "nobody" });
    expect(now.Uid).toBe(Array(4).fill(nobody.uid).join("\t"));
    expect(now.Gid).toBe(Array(4).fill(nobody.gid).join("\t"));
    expect(now.Groups).toBe(String(nobody.gid));
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapAmb"] as const) expect(BigInt(`0x${now[set]}`)).toBe(0n);
  });

  test("gives supplementary groups", async () => {
    const name = await firstWithGroups();
    if (name === undefined) {
      console.warn("skipped: no user of this host is in a second group");
      return;
    }
    const want = (await Bun.$`id -G ${name}`.text())
      .trim()
      .split(" ")
      .map(Number)
      .sort((a, b) => a - b);
    expect(want.length).toBeGreaterThan(1);
    const now = await status({ hostUser: name });
    expect(now.Groups?.split(" ").map(Number)).toEqual(want);
  });

  test("begins in the user's home, or in / where that can't be entered", async () => {
    using folder = makeFolder();
    const accounts = {
      find: async () => `nobody:x:65534:65534::${folder.path}:/bin/sh`,
    };
    expect(await run("pwd", [], { hostUser: "nobody", accounts })).toBe(`${folder.path}\n`);
    chmodSync(folder.path, 0o700);
    expect(await run("pwd", [], { hostUser: "nobody", accounts })).toBe("/\n");
    folder.remove();
    expect(await run("pwd", [], { hostUser: "nobody", accounts })).toBe("/\n");
  });

  test("runs as root where root is asked for", async () => {
    expect((await status({ hostUser: "root" })).Uid).toBe("0\t0\t0\t0");
  });

  test("LD_PRELOAD in the server's environment acts in the server, never in the helper that is root", async () => {
    using folder = makeFolder();
    chmodSync(folder.path, 0o777);
    const mark = join(folder.path, "mark");
    const library = join(folder.path, "probe.so");
    const compiler = Bun.which("gcc") ?? Bun.which("cc");
    if (compiler === null) {
      // Without a compiler: the dynamic linker complains once in every process that it can't preload for.
      const { server } = await start({
        command: "cat",
        hostUser: "nobody",
        env: { LD_PRELOAD: "/nonexistent/probe.so" },
      });
      server.endInput();
      await server.exited;
      expect(server.stderrTail().filter((line) => line.includes("probe.so")).length).toBeLessThanOrEqual(1);
      return;
    }
    writeFileSync(`${library}.c`, PROBE);
    await Bun.$`${compiler} -shared -fPIC -o ${library} ${library}.c`.quiet();
    const env = { LD_PRELOAD: library, MARK: mark };

    // The probe works: as root it says so.
    await Bun.spawn([process.execPath, "--version"], { env, stdio: ["ignore", "ignore", "ignore"] }).exited;
    expect(readFileSync(mark, "utf8")).toBe("0\n");
    writeFileSync(mark, "");
    chmodSync(mark, 0o666);

    await run("cat", [], { hostUser: "nobody", env });
    const nobody = await loadHostUser("nobody");
    expect(readFileSync(mark, "utf8")).toBe(`${nobody.uid}\n`);
  });
});

const PROBE = `
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void mark(void) {
  char text[32];
  int fd = open(getenv("MARK"), O_WRONLY | O_CREAT | O_APPEND, 0666);
  if (fd >= 0) write(fd, text, sprintf(text, "%d\\n", (int)getuid()));
}
`;

/** A user who is in a second group; hosts differ in who that is. */
async function firstWithGroups(): Promise<string | undefined> {
  const members = readFileSync("/etc/group", "utf8")
    .split("\n")
    .flatMap((line) => line.split(":")[3]?.split(",") ?? []);
  for (const name of members) {
    if (name === "" || name === "root" || (await hostAccounts.find(name)) === undefined) continue;
    if ((await Bun.$`id -G ${name}`.text()).trim().includes(" ")) return name;
  }
  return undefined;
}

describe.skipIf(!isLinux)("the exec helper", () => {
  let orders: Orders;
  beforeAll(async () => {
    const env = { PATH: DEFAULT_PATH, USER: "x" };
    orders = {
      v: 1,
      agentPid: process.pid,
      command: "cat",
      args: [],
      env,
      cwd: undefined,
      home: "/",
      switchTo: undefined,
    };
  });
  const failure = async (changed: Partial<Orders>): Promise<string> => {
    const ledger = new Ledger();
    const error = await spawnServer({ orders: { ...orders, ...changed }, self: SELF, ledger }).catch((e: Error) => e);
    expect(ledger.counts()).toEqual({ spawned: 1, exited: 1, running: 0 });
    return error instanceof Error ? error.message : "it started";
  };

  test("doesn't start a server whose agent is gone", async () => {
    expect(await failure({ agentPid: process.pid + 1 })).toContain("the agent is gone");
  });

  test("refuses orders of another version", async () => {
    expect(await failure({ v: 2 } as unknown as Partial<Orders>)).toContain("of different versions");
  });

  test("lets nothing through that it was started with itself", async () => {
    const none: [number, number] = [-1, -1];
    const [stdin = none, stdout = none, stderr = none, forOrders = none, report = none] = Array.from(
      { length: 5 },
      openPipe,
    );
    const door = openSync("/dev/null", "w"); // of no control group
    const extra = openSync("/etc/passwd", "r");
    const [F_SETFL, O_NONBLOCK] = [4, 0o4000n];
    loadLibc().fcntl(stdin[0], F_SETFL, O_NONBLOCK);
    const stdio: [number, number, number, ...number[]] = [
      stdin[0],
      stdout[1],
      stderr[1],
      forOrders[0],
      report[1],
      door,
      extra,
    ];
    const child = Bun.spawn(SELF, { stdio, env: { LEAK: "1" }, cwd: "/usr" });
    for (const fd of [...stdio, stdin[1], stdout[0], stderr[0]]) closeSync(fd);
    writeFileSync(forOrders[1], JSON.stringify({ ...orders, command: "sleep", args: ["1000"] }));
    closeSync(forOrders[1]);
    expect(readFileSync(report[0], "utf8")).toBe('{"at":"exec"}\n');
    closeSync(report[0]);

    const proc = `/proc/${child.pid}`;
    // While it is being loaded, its libraries are open for a moment.
    await eventually(() => readdirSync(`${proc}/fd`).sort().join() === "0,1,2");
    expect(Number.parseInt(fields(readFileSync(`${proc}/fdinfo/0`, "utf8")).flags ?? "", 8) & 0o4000).toBe(0);
    expect(readFileSync(`${proc}/environ`, "utf8").split("\0").sort()).toEqual(["", `PATH=${DEFAULT_PATH}`, "USER=x"]);
    expect(readlinkSync(`${proc}/cwd`)).toBe("/");
    child.kill("SIGKILL");
    await child.exited;
  });

  test("says that it could not enter its control group, and starts nothing there whose limits are the group's", async () => {
    const path = mkdtempSync(join(tmpdir(), "mcpgate-group-"));
    const makeGroup = () => ({ path, door: openSync("/dev/full", "w") }); // takes nothing
    const told: (string | undefined)[] = [];
    const enclosure = (): Enclosure => ({
      env: {},
      enter: (_pid, group) => told.push(group === undefined ? undefined : "a group"),
      outside: (code) => told.push(code),
      end: async () => true,
    });
    const start = (grouped: boolean) =>
      spawnServer({
        orders: { ...orders, command: "sleep", args: ["1000"], grouped },
        ...{ self: SELF, ledger: new Ledger(), enclosure: enclosure(), makeGroup },
      });
    const server = await start(false);
    process.kill(server.pid, "SIGKILL");
    await server.ended;
    expect(told).toEqual(["a group", "ENOSPC"]);
    const error = await start(true).catch((e: Error) => e.message);
    expect(error).toContain("the control group of its limits can't be entered");
    rmSync(path, { recursive: true });
  });

  test("needs no control group where there is none, and keeps its own descriptors", async () => {
    const { child, fds } = openExecHelper(SELF);
    const target = (fd: string): string => {
      try {
        return readlinkSync(`/proc/${child.pid}/fd/${fd}`);
      } catch {
        return "closed meanwhile";
      }
    };
    const targets = () => readdirSync(`/proc/${child.pid}/fd`).map(target);
    // It has an event loop by the time that it is through with the door of the group that there is none of.
    await eventually(() => targets().includes("anon_inode:[eventpoll]") && !targets().includes("/dev/null"));
    writeFileSync(fds.orders, JSON.stringify({ ...orders, agentPid: process.pid, command: "true", args: [] }));
    closeSync(fds.orders);
    expect(readFileSync(fds.report, "utf8")).toBe('{"at":"exec"}\n');
    for (const fd of [fds.stdin, fds.stdout, fds.stderr, fds.report]) closeSync(fd);
    await child.exited;
  });

  test("is ended when it takes too long", async () => {
    const ledger = new Ledger();
    const started = spawnServer({ orders, self: ["/bin/sleep", "1000"], ledger, execMs: 20 });
    expect(await started.catch((e: Error) => e.message)).toContain("(killed by SIGKILL)");
    expect(ledger.counts().running).toBe(0);
  });

  test.skipIf(!isRoot)("fails closed when the ids can't be had", async () => {
    const switchTo = { name: "nobody", uid: 0xffffffff, gid: 65534 };
    expect(await failure({ switchTo })).toContain("can't become host user");
  });

  test("can't be used by hand", async () => {
    const child = Bun.spawn([process.execPath, ENTRY, "__exec"], { stdio: ["ignore", "ignore", "pipe"] });
    expect(await child.stderr.text()).toContain("started by the agent only");
    expect(await child.exited).not.toBe(0);
  });
});

describe.skipIf(!isLinux)("an agent that is killed with SIGKILL", () => {
  test("takes its servers with it", async () => {
    const options = { command: "sleep", args: ["1000"], hostUser, source: ENTRY };
    const agent = Bun.spawn([process.execPath, ENTRY, "agent", JSON.stringify(options)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const { value } = await agent.stdout.getReader().read();
    const { pid } = JSON.parse(new TextDecoder().decode(value));
    expect(isAlive(pid)).toBe(true);
    agent.kill("SIGKILL");
    await agent.exited;
    await eventually(() => !isAlive(pid));
  });
});
