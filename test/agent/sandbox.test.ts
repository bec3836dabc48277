/** Each restriction of a sandbox, tried from inside. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sandboxed } from "../../src/agent/sandbox.ts";
import type { Sandbox } from "../../src/config/config.ts";
import { Failure } from "../../src/errors.ts";
import { eventually, hasSandboxes, hostUser, isAlive, makeFolder, run, start, stopAll } from "./scene.ts";

const works = await hasSandboxes();
if (!works) console.warn("skipped: bubblewrap is not installed, or may not make namespaces here");

let folder: ReturnType<typeof makeFolder>;
beforeAll(() => {
  folder = makeFolder();
  chmodSync(folder.path, 0o777);
  for (const name of ["read", "write", "other"]) {
    mkdirSync(join(folder.path, name));
    chmodSync(join(folder.path, name), 0o777);
    writeFileSync(join(folder.path, name, "file"), name);
    chmodSync(join(folder.path, name, "file"), 0o666);
  }
});
afterAll(() => folder.remove());
afterEach(stopAll);

const place = (name: string): string => join(folder.path, name);
const inside = (script: string, sandbox: Partial<Sandbox> = {}): Promise<string> =>
  run("sh", ["-c", `{ ${script}; } 2>&1`], {
    sandbox: { network: "none", read: [place("read")], write: [place("write")], ...sandbox },
  });

describe.skipIf(!works)("in a sandbox, a server", () => {
  test("reads what it may read, and can't write there", async () => {
    expect(await inside(`cat ${place("read")}/file`)).toBe("read");
    expect(await inside(`echo x >${place("read")}/file`)).toContain("Read-only file system");
    expect(readFileSync(place("read/file"), "utf8")).toBe("read");
  });

  test("writes what it may write", async () => {
    expect(await inside(`echo changed >${place("write")}/file; cat ${place("write")}/file`)).toBe("changed\n");
    expect(readFileSync(place("write/file"), "utf8")).toBe("changed\n");
  });

  test("doesn't even see anything else of the host", async () => {
    expect(await inside(`ls ${place("other")}`)).toContain("No such file");
    expect(await inside("ls / | tr '\\n' ' '")).not.toMatch(/root|srv|boot|mnt|sys/);
    // Where the host user lives there: an empty home of its own, and nobody else's.
    expect((await inside("ls -A /home/* 2>&1")).replaceAll(/.*No such file.*\n/g, "")).toBe("");
    expect(await inside("ls /root /home /var/lib /run/docker.sock; echo $?")).toMatch(/[12]\n$/);
  });

  test("can't change the system, nor its own root", async () => {
    expect(await inside("touch /usr/x /etc/x /x")).toMatch(/(Read-only file system|Permission denied)[\s\S]*Read-only/);
  });

  test("has a /tmp of its own, which is gone afterwards", async () => {
    const outside = makeFolder();
    expect(await inside(`ls ${outside.path}`)).toContain("No such file");
    expect(await inside("ls -A /tmp | grep -v mcpgate-test; echo x >/tmp/mine && cat /tmp/mine")).toBe("x\n");
    expect(existsSync("/tmp/mine")).toBe(false);
    outside.remove();
  });

  test("has no network, unless it may", async () => {
    const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("reached") });
    const ask = `exec 2>/dev/null; bash -c 'exec 3<>/dev/tcp/127.0.0.1/${server.port} && printf "GET / HTTP/1.0\\r\\n\\r\\n" >&3 && cat <&3'; echo $?`;
    expect(await inside(ask)).toBe("1\n");
    expect(await inside("grep -c : /proc/net/dev")).toBe("1\n");
    expect(await inside(ask, { network: "host" })).toContain("reached");
    await server.stop(true);
  });

  test("gains no privileges and has no capability", async () => {
    const status = await inside("cat /proc/self/status");
    expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
    for (const set of ["CapEff", "CapPrm", "CapInh", "CapAmb"])
      expect(status).toMatch(new RegExp(`^${set}:\\s+0+$`, "m"));
  });

  test("sees no process but its own", async () => {
    const pids = (await inside("ls /proc | grep '^[0-9]' | tr '\\n' ' '")).trim().split(" ").map(Number);
    expect(Math.max(...pids)).toBeLessThan(20);
  });

  test("is where it should be: in its directory, as its user, with its environment", async () => {
    const sandbox: Sandbox = { network: "none", read: [], write: [place("write")] };
    const started = await start({
      command: "sh",
      args: ["-c", "pwd; id -u; echo $KEY"],
      sandbox,
      cwd: place("write"),
      env: { KEY: "v" },
    });
    await started.server.exited;
    const uid = hostUser === undefined ? process.getuid?.() : 65534;
    expect(started.output()).toBe(`${place("write")}\n${uid}\nv\n`);
  });

  test("ends whole, also what fled", async () => {
    const sandbox: Sandbox = { network: "none", read: [], write: [] };
    const script = "trap '' TERM; setsid sleep 31415 & (setsid sleep 31415 &); echo up; while :; do sleep 1; done";
    const { server, said } = await start({ command: "sh", args: ["-c", script], sandbox });
    await said("up");
    const mine = () =>
      (Bun.spawnSync(["pgrep", "-f", "^sleep 31415$"]).stdout.toString().match(/\d+/g) ?? [])
        .map(Number)
        .filter(isAlive);
    await eventually(() => mine().length === 2);
    await server.stop({ inputMs: 0, termMs: 100 });
    await eventually(() => mine().length === 0);
  });
});

describe("a sandbox that can't be had", () => {
  test("is a server that doesn't start", () => {
    const options = { sandbox: { network: "none", read: [], write: [] } as Sandbox, command: "cat", args: [] };
    const failure = (() => {
      try {
        return sandboxed({ ...options, home: "/home/x", cwd: undefined, places: [place("none")] });
      } catch (error) {
        return Failure.from(error);
      }
    })();
    expect(failure).toMatchObject({ code: "start_failed" });
    expect((failure as Failure).hint).toContain("install bubblewrap");
  });

  test.skipIf(!works)("because a path of it isn't there, neither: the server ends with the reason", async () => {
    const { server } = await start({
      command: "cat",
      sandbox: { network: "none", read: [place("nothing")], write: [] },
    });
    expect((await server.exited).code).toBe(1);
    expect(server.stderrTail().join()).toContain("nothing");
  });
});
