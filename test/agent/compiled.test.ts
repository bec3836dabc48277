/** The same from a compiled binary, where `/proc/self/exe` is the exec helper; and from agents that aren't root. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { loadHostUser } from "../../src/agent/host-user.ts";
import { ENTRY, eventually, hostUser, isAlive, isLinux, isRoot, makeFolder } from "./scene.ts";

let folder: ReturnType<typeof makeFolder>;
let binary: string;

beforeAll(async () => {
  folder = makeFolder();
  binary = join(folder.path, "bin", "mcpgate-test");
  mkdirSync(join(folder.path, "bin"));
  await Bun.$`${process.execPath} build --compile ${ENTRY} --outfile ${binary}`.quiet();
}, 60_000);
afterAll(() => folder.remove());

interface Agent {
  process: Bun.Subprocess<"pipe", "pipe", "inherit">;
  /** The next thing that it says. */
  next(): Promise<Record<string, unknown>>;
}

function startAgent(options: object, more: { uid?: number; gid?: number } = {}): Agent {
  const child = Bun.spawn([binary, "agent", JSON.stringify({ args: [], ...options })], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { PATH: "/usr/bin:/bin", SECRET: "agent's" },
    cwd: "/",
    ...more,
  });
  const reader = child.stdout.getReader();
  let rest = "";
  return {
    process: child,
    async next() {
      while (!rest.includes("\n")) {
        const { value, done } = await reader.read();
        if (done) throw new Error(`the agent ended: ${rest}`);
        rest += new TextDecoder().decode(value);
      }
      const [line = "", ...others] = rest.split("\n");
      rest = others.join("\n");
      return JSON.parse(line);
    },
  };
}

describe.skipIf(!isLinux)("a compiled agent", () => {
  test("starts a server as its host user, and ends it", async () => {
    const agent = startAgent({ command: "sh", args: ["-c", "id -un; echo -n $SECRET; cat"], hostUser });
    const { pid } = await agent.next();
    const { out } = await agent.next();
    expect(String(out).trim()).toBe((await Bun.$`id -un ${hostUser ?? process.getuid?.()}`.text()).trim());
    agent.process.stdin.end();
    expect(await agent.next()).toMatchObject({ code: 0 });
    expect(isAlive(Number(pid))).toBe(false);
    await agent.process.exited;
  });

  test("that is killed takes its server with it", async () => {
    const agent = startAgent({ command: "sleep", args: ["1000"], hostUser });
    const pid = Number((await agent.next()).pid);
    expect(isAlive(pid)).toBe(true);
    agent.process.kill("SIGKILL");
    await eventually(() => !isAlive(pid));
  });

  test("can start itself as another host user, even from a folder that this one can't enter", async () => {
    chmodSync(join(folder.path, "bin"), 0o700);
    const agent = startAgent({ command: "/proc/self/exe", args: ["demo"], hostUser });
    const { pid } = await agent.next();
    expect(isAlive(Number(pid))).toBe(true);
    agent.process.stdin.end();
    expect(await agent.next()).toMatchObject({ code: 0 });
    chmodSync(join(folder.path, "bin"), 0o755);
    await agent.process.exited;
  });
});

describe.skipIf(!isLinux || !isRoot)("an agent that isn't root (needs root, to be somebody else)", () => {
  const as = async (name: string) => {
    const { uid, gid } = await loadHostUser(name);
    return { uid, gid };
  };

  test("starts servers as itself, named or not, with its own PATH", async () => {
    for (const who of [undefined, "nobody"]) {
      const nobody = await as("nobody");
      const agent = startAgent(
        { command: "sh", args: ["-c", "echo $(id -u) $USER $PATH; cat"], hostUser: who },
        nobody,
      );
      const { pid } = await agent.next();
      expect((await agent.next()).out).toBe(`${nobody.uid} nobody /usr/bin:/bin\n`);
      agent.process.kill("SIGKILL");
      await eventually(() => !isAlive(Number(pid)));
    }
  });

  test("stops them with their group", async () => {
    const agent = startAgent({ command: "sh", args: ["-c", "sleep 1000 & echo $!; cat"] }, await as("nobody"));
    await agent.next();
    const child = Number((await agent.next()).out);
    agent.process.stdin.end();
    expect(await agent.next()).toMatchObject({ code: 0 });
    expect(isAlive(child)).toBe(false);
  });

  test("can't start one as anybody else", async () => {
    for (const who of ["root", "daemon"]) {
      const agent = startAgent({ command: "cat", hostUser: who }, await as("nobody"));
      expect(await agent.next()).toMatchObject({
        code: "start_failed",
        message: `only an agent that runs as root can start a server as host user ${who}`,
      });
      await agent.process.exited;
    }
  });
});
