/** Real processes, well-behaved and not: bytes in and out, ends, and what is left of them afterwards. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Ledger } from "../../src/agent/ledger.ts";
import { startServer } from "../../src/agent/start-server.ts";
import { Failure } from "../../src/errors.ts";
import {
  eventually,
  hostUser,
  isAlive,
  isLinux,
  isRoot,
  makeFolder,
  recordingLog,
  SELF,
  start,
  stopAll,
} from "./scene.ts";

let folder: ReturnType<typeof makeFolder>;
beforeAll(() => {
  folder = makeFolder("stubborn.sh", "crash.sh", "echo.mjs");
});
afterAll(() => folder.remove());
afterEach(stopAll);

const fixture = (name: string): string => join(folder.path, name);
const shell = (script: string) => ({ command: "sh", args: ["-c", script] });
const bytes = (text: string): Uint8Array => Buffer.from(text);

describe("bytes", () => {
  test("pass unchanged both ways, in order, and the end of input ends the server", async () => {
    const sent = randomBytes(8 * 1024 * 1024);
    // The very chunks are kept until the end: none may be used twice.
    const received: Uint8Array[] = [];
    const { server } = await start({ command: "cat", onStdout: (chunk) => void received.push(chunk) });
    for (let at = 0; at < sent.length; at += 100_000) {
      if (!server.write(sent.subarray(at, at + 100_000))) await server.drain();
    }
    server.endInput();
    expect(await server.exited).toEqual({ code: 0, signal: null, message: "exited with code 0" });
    const hash = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");
    expect(hash(Buffer.concat(received))).toBe(hash(sent));
  });

  test("written in one piece, and larger than any pipe, arrive whole", async () => {
    const { server, output } = await start({ command: "wc", args: ["-c"] });
    server.write(new Uint8Array(3_000_000));
    server.endInput();
    await server.exited;
    expect(output().trim()).toBe("3000000");
  });

  test("wait when the server doesn't read, and go on when it does", async () => {
    const { server, output } = await start(shell("read go; sleep 0.2; wc -c"));
    server.write(bytes("go\n"));
    let sent = 0;
    for (let room = true; room; sent += 50_000) room = server.write(new Uint8Array(50_000));
    expect(sent).toBeLessThan(1_000_000);
    expect(server.writable).toBe(false);
    await server.drain();
    expect(server.writable).toBe(true);
    server.endInput();
    await server.exited;
    expect(Number(output())).toBe(sent);
  });

  test.skipIf(!isLinux)("of a flood stay in the server while nobody takes them", async () => {
    const total = 64 * 1024 * 1024;
    const first = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    let taken = 0;
    const { server } = await start({
      command: "head",
      args: ["-c", String(total), "/dev/zero"],
      async onStdout(chunk) {
        taken += chunk.length;
        first.resolve();
        await release.promise;
      },
    });
    await first.promise;
    // What it has written stands still, far below all of it.
    const written = (): number => Number(/^wchar: (\d+)/m.exec(readFileSync(`/proc/${server.pid}/io`, "utf8"))?.[1]);
    let last = -1;
    await eventually(() => {
      const still = written() === last;
      last = written();
      return still;
    });
    expect(last).toBeLessThan(1024 * 1024);
    release.resolve();
    expect((await server.exited).code).toBe(0);
    expect(taken).toBe(total);
  });

  test("for a server that closed its stdin are dropped, and nothing breaks", async () => {
    const { server, said, entries } = await start(shell("exec <&-; echo closed; sleep 1000"));
    await said("closed");
    await eventually(() => {
      server.write(new Uint8Array(100_000));
      return entries.some(({ event }) => event === "server.stdin_closed");
    });
    expect(server.write(new Uint8Array(10_000_000))).toBe(true);
    await server.drain();
    expect((await server.stop({ inputMs: 0 })).message).toBe("killed by SIGTERM");
  });

  test("whose taker fails end the server, with the reason in the log", async () => {
    const { server, entries } = await start({
      ...shell("echo x; cat"),
      onStdout: () => Promise.reject(new Error("the link broke")),
    });
    await eventually(() => entries.some(({ event }) => event === "server.stdout_failed"));
    await server.exited;
    expect(entries.find(({ event }) => event === "server.stdout_failed")?.fields.error).toBe("the link broke");
  });
});

describe("an end", () => {
  test("by itself is told, after the last output", async () => {
    const { server, output } = await start({ command: fixture("crash.sh") });
    server.write(bytes("{}\n"));
    expect(await server.exited).toEqual({ code: 3, signal: null, message: "exited with code 3" });
    expect(output()).toBe("");
    const tail = server.stderrTail();
    expect(tail).toHaveLength(50);
    expect(tail[0]).toBe("line 10");
    expect(tail.at(-1)).toBe("fatal: no database");
  });

  test("comes after bytes that a slow taker still has to take", async () => {
    const order: string[] = [];
    const { server } = await start({
      ...shell("printf answer"),
      async onStdout() {
        await Bun.sleep(700);
        order.push("taken");
      },
    });
    await server.exited;
    order.push("exited");
    expect(order).toEqual(["taken", "exited"]);
  });

  test("by a signal is told by its name", async () => {
    const { server } = await start(shell("kill -SEGV $$"));
    expect((await server.exited).message).toBe("killed by SIGSEGV");
  });

  test("of the server ends the children that it left behind", async () => {
    const { server, output } = await start(shell("sleep 1000 & echo $!"));
    await server.exited;
    expect(isAlive(Number(output()))).toBe(false);
  });

  test.skipIf(Bun.which("setsid") === null)("doesn't wait for a descendant that fled with stdout open", async () => {
    const { server, output, said } = await start(shell("setsid sh -c 'echo $$; exec sleep 1000' & wait"));
    await said("\n");
    const fled = Number(output());
    const begin = performance.now();
    await server.stop({ inputMs: 0, termMs: 500 });
    expect(performance.now() - begin).toBeLessThan(3000);
    process.kill(fled, "SIGKILL");
  });
});

describe("stop", () => {
  test("is the end of its stdin for a server that heeds it", async () => {
    const { server } = await start({ command: "cat" });
    expect(await server.stop()).toEqual({ code: 0, signal: null, message: "exited with code 0" });
  });

  test("is SIGTERM for one that doesn't", async () => {
    const { server, said } = await start(shell("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done"));
    await said("up");
    expect((await server.stop({ inputMs: 20 })).code).toBe(7);
    await said("bye");
  });

  test("is SIGKILL for one that ignores that too, and for its children", async () => {
    const { server, output, said } = await start({ command: fixture("stubborn.sh") });
    await said("\n");
    const pids = output().trim().split(" ").map(Number);
    expect(pids).toHaveLength(3);
    expect(pids.every(isAlive)).toBe(true);
    expect((await server.stop({ inputMs: 20, termMs: 50 })).message).toBe("killed by SIGKILL");
    expect(pids.filter(isAlive)).toEqual([]);
  });

  test("leaves children the grace that their parent had no use for", async () => {
    // The leader dies of SIGTERM at once; its child, the real server behind a wrapper, needs a moment to end well.
    const child = "trap 'sleep 0.1; echo flushed; exit' TERM; echo up; while :; do sleep 0.01; done";
    const { server, output, said } = await start({
      command: "sh",
      args: ["-c", `sh -c "$0" & exec sleep 1000`, child],
    });
    await said("up");
    expect((await server.stop({ inputMs: 0, termMs: 2000 })).message).toBe("killed by SIGTERM");
    expect(output()).toContain("flushed");
  });

  test("twice is stop once; after the end it tells that end", async () => {
    const { server } = await start({ command: "cat" });
    const [one, two] = await Promise.all([server.stop(), server.stop({ inputMs: 0 })]);
    expect(two).toBe(one);
    expect(await server.stop()).toBe(one);
    expect(server.write(bytes("late"))).toBe(true);
  });

  test("resolves though stdout is never taken", async () => {
    const { server } = await start({ ...shell("echo x; cat"), onStdout: () => new Promise(() => {}) });
    expect((await server.stop()).code).toBe(0);
  });

  test("resolves though stdin is never read", async () => {
    const { server } = await start({ command: "sleep", args: ["1000"] });
    server.write(new Uint8Array(1_000_000));
    const drained = server.drain();
    expect((await server.stop({ inputMs: 20 })).message).toBe("killed by SIGTERM");
    await drained;
  });
});

describe("stderr", () => {
  test("goes to the log and the listener, line by line and cleaned", async () => {
    const lines: string[] = [];
    const { server, entries } = await start({
      command: fixture("crash.sh"),
      onStderrLine: (line) => void lines.push(line),
    });
    server.write(bytes("\n"));
    await server.exited;
    expect(lines).toHaveLength(60);
    expect(lines[0]).toBe("starting up");
    const logged = entries.filter(({ event }) => event === "server.stderr");
    expect(logged.map(({ fields }) => fields.line)).toEqual(lines);
    expect(logged[0]?.fields.pid).toBe(server.pid);
  });

  test("in a flood neither stops the server nor fills the log", async () => {
    const { server, entries } = await start(shell("yes 'spam and more spam' | head -n 200000 >&2; echo done"));
    expect((await server.exited).code).toBe(0);
    const count = (event: string): number => entries.filter((entry) => entry.event === event).length;
    expect(count("server.stderr")).toBeLessThan(2000);
    const suppressed = entries.reduce(
      (sum, { event, fields }) => sum + (event === "server.stderr_suppressed" ? Number(fields.lines) : 0),
      0,
    );
    expect(suppressed + count("server.stderr")).toBe(200_000);
    expect(server.stderrTail()).toEqual(Array(50).fill("spam and more spam"));
  });
});

describe("the ledger", () => {
  test("is exact, and no descriptor is left, whenever servers are stopped", async () => {
    const ledger = new Ledger();
    const before = isLinux ? readdirSync("/proc/self/fd").length : 0;
    const one = async (i: number): Promise<void> => {
      const command = ["cat", "sleep", "no-such-command", fixture("stubborn.sh")][i % 4] ?? "cat";
      const started = await start({ command, args: command === "sleep" ? ["1000"] : [], ledger }).catch(
        () => undefined,
      );
      if (started === undefined) return;
      started.server.write(new Uint8Array(i % 3 === 0 ? 500_000 : 10));
      if (i % 5 === 0) process.kill(started.server.pid, "SIGKILL");
      await started.server.stop({ inputMs: i % 7, termMs: i % 11 });
    };
    const all = Promise.all(Array.from({ length: 40 }, (_, i) => one(i)));
    await eventually(() => ledger.counts().running > 0);
    const { spawned, exited, running } = ledger.counts();
    expect(spawned).toBe(exited + running);
    await all;
    expect(ledger.counts()).toMatchObject({ running: 0, exited: ledger.counts().spawned });
    if (isLinux) expect(ledger.counts().spawned).toBe(40);
    if (isLinux) await eventually(() => readdirSync("/proc/self/fd").length <= before);
  });
});

describe("a start that fails", () => {
  const failure = async (options: Partial<Parameters<typeof startServer>[0]>): Promise<Failure> => {
    const { log } = recordingLog();
    const o = { command: "cat", args: [], hostUser, self: SELF, log, onStdout: () => {}, ...options };
    const error = await startServer(o).then(
      async (server) => (await server.stop({ inputMs: 0 })) && undefined,
      (thrown: unknown) => thrown,
    );
    if (!(error instanceof Failure)) throw new Error(`expected a failure, got ${error}`);
    expect(error.code).toBe("start_failed");
    expect(error.hint).toBeString();
    return error;
  };
  const file = (name: string, text: string, mode: number): string => {
    writeFileSync(join(folder.path, name), text);
    chmodSync(join(folder.path, name), mode);
    return join(folder.path, name);
  };

  test("names a command that isn't in the PATH, and the PATH", async () => {
    const error = await failure({ command: "no-such-command", env: { PATH: "/usr/bin:/bin" } });
    expect(error.message).toMatch(
      /^command "no-such-command" isn't in the PATH of host user \S+ \(\/usr\/bin:\/bin\)$/,
    );
  });

  test("names a file that doesn't exist", async () => {
    expect((await failure({ command: fixture("none") })).message).toBe(`command "${fixture("none")}" doesn't exist`);
  });

  test("names a file that isn't executable", async () => {
    const command = file("plain", "#!/bin/sh\n", 0o644);
    expect((await failure({ command })).message).toContain("can't be executed by host user");
    expect((await failure({ command: folder.path })).message).toContain("can't be executed by host user");
  });

  test("prefers an executable later in the PATH to a plain file before it", async () => {
    file("cat", "#!/bin/sh\n", 0o644);
    const { server } = await start({ command: "cat", env: { PATH: `.::${folder.path}:/usr/bin:/bin` } });
    expect((await server.stop()).code).toBe(0);
  });

  test("names a script without an interpreter", async () => {
    const error = await failure({ command: file("script", "echo hi\n", 0o755) });
    expect(error.message).toContain("neither a program for this machine nor a script");
    expect(error.hint).toContain("#!/bin/sh");
  });

  test("names an interpreter that isn't there, such as one with a carriage return", async () => {
    const error = await failure({ command: file("crlf", "#!/bin/sh\r\necho hi\r\n", 0o755) });
    expect(error.message).toContain("needs an interpreter that isn't there");
  });

  test("names a working directory that can't be entered", async () => {
    expect((await failure({ cwd: fixture("none") })).message).toContain(
      `can't enter the working directory ${fixture("none")} (ENOENT)`,
    );
  });

  test("names a host user who doesn't exist", async () => {
    expect((await failure({ hostUser: "no-such-user" })).message).toBe(
      'host user "no-such-user" doesn\'t exist on this host',
    );
  });

  test("says that arguments are too large, or can't be", async () => {
    expect((await failure({ args: ["x".repeat(3_000_000)] })).message).toContain("too large");
    expect((await failure({ args: ["a\0b"] })).message).toContain("zero byte");
    expect((await failure({ command: "" })).message).toContain("empty");
  });

  test("tells neither environment nor arguments", async () => {
    const error = await failure({ command: "no-such-command", args: ["--key=hunter2"], env: { KEY: "hunter2" } });
    expect(JSON.stringify(error)).not.toContain("hunter2");
  });

  test.skipIf(!isRoot)("is what an agent that is root makes of an app without a host user (needs root)", async () => {
    const error = await failure({ hostUser: undefined });
    expect(error.message).toContain("doesn't say which host user");
    expect(error.hint).toContain("run_as_host_user");
  });

  test.skipIf(isRoot)(
    "is what an agent that isn't root makes of another host user (needs not to be root)",
    async () => {
      expect((await failure({ hostUser: "root" })).message).toContain("only an agent that runs as root");
    },
  );

  test.skipIf(!isLinux)("is told when our own binary can't be started", async () => {
    expect((await failure({ self: [fixture("none")] })).message).toContain("exec helper");
    expect((await failure({ self: ["/bin/true"] })).message).toContain("exec helper ended before");
  });
});
