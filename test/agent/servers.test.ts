/** Servers of app resources: what the proxy wrote decides nothing about which program runs. */
import { afterEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import type { Containment } from "../../src/agent/containment.ts";
import type { ServerProcess } from "../../src/agent/process.ts";
import { Servers } from "../../src/agent/servers.ts";
import type { AppConfig, Sandbox } from "../../src/config/config.ts";
import { hasSandboxes, hostUser, makeFolder, recordingLog, SELF } from "./scene.ts";

const works = await hasSandboxes();
if (!works) console.warn("skipped: bubblewrap is not installed, or may not make namespaces here");

const running: ServerProcess[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.stop({ inputMs: 0, termMs: 0 })));
});

const { log } = recordingLog();
const containment = undefined as unknown as Containment;

/** What `/usr/bin/id -un` prints in that sandbox. */
async function run(sandbox: Partial<Sandbox>, resource: boolean): Promise<string> {
  const servers = new Servers({ agent: "a", self: SELF, containment, allowHostUsers: [], log });
  const app: AppConfig = {
    ...{ name: "x", labels: {}, description: "", shared: true },
    mcp: {
      ...{ command: "/usr/bin/id", args: ["-un"], sandbox: { network: "none", read: [], write: [], ...sandbox } },
      ...(hostUser === undefined ? {} : { runAsHostUser: hostUser }),
    },
    ...(resource ? { resource } : {}),
  };
  const chunks: Uint8Array[] = [];
  const onStdout = (chunk: Uint8Array) => void chunks.push(chunk);
  try {
    const server = await servers.start(app, { sid: "s", person: { user: "u", traits: {} }, log, onStdout });
    running.push(server);
    await server.exited;
  } finally {
    await servers.close();
  }
  return Buffer.concat(chunks).toString();
}

/** A folder in which somebody has put a program of theirs, and links to get it into the place of another. */
function planted() {
  const folder = makeFolder();
  const at = (...names: string[]) => join(folder.path, ...names);
  // As deep below `data` as the link is below the root.
  const deep = at("link").split("/").slice(1);
  for (const path of [at("data/usr/bin"), at("data", ...deep), at("plain")]) mkdirSync(path, { recursive: true });
  writeFileSync(at("data/usr/bin/id"), "#!/bin/sh\necho theirs\n");
  chmodSync(at("data/usr/bin/id"), 0o755);
  symlinkSync(at("data", ...deep), at("link"));
  // On the host data/usr/bin/id; in the sandbox, where there is no such link, /usr/bin/id.
  const over = `${at("link")}${"/..".repeat(deep.length)}/usr/bin/id`;
  return { at, over, [Symbol.dispose]: folder.remove };
}

describe.skipIf(!works)("a sandbox that the proxy describes", () => {
  const ours = hostUser ?? userInfo().username;

  test("takes directories as they are", async () => {
    using folder = planted();
    expect(await run({ read: [folder.at("plain")], write: [folder.at("data")] }, true)).toBe(`${ours}\n`);
  });

  test("puts no other program into the place of the app's", async () => {
    using folder = planted();
    expect(await run({ read: [folder.over] }, false)).toBe("theirs\n");
    const { at, over } = folder;
    for (const read of [over, at("link"), at("nothing"), `${at("plain")}/`, "/proc/self/cwd"]) {
      const started = run({ read: [at("plain"), read] }, true);
      await expect(started).rejects.toThrow(/^mcp\.sandbox names .*, which (is another name|can't be had)/);
      await expect(run({ write: [read] }, true)).rejects.toThrow("mcp.sandbox names");
    }
  });

  test("in the agent's own file may name what it likes", async () => {
    using folder = planted();
    expect(await run({ read: [folder.at("link")] }, false)).toBe(`${ours}\n`);
  });
});
