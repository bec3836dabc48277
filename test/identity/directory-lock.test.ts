import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lockDirectory } from "../../src/identity/directory-lock.ts";

const root = mkdtempSync(join(tmpdir(), "mcpgate-lock-"));
afterAll(() => rmSync(root, { recursive: true }));
const source = join(import.meta.dir, "../../src/identity/directory-lock.ts");

/** A process that holds the lock, and a child of it that outlives it; resolves once it is held. */
async function startHolder(directory: string) {
  const code = `const { lockDirectory } = await import(${JSON.stringify(source)});
    lockDirectory(process.argv[1]);
    await new Promise(setImmediate);
    Bun.gc(true); // the lock is held though nobody keeps what lockDirectory returned
    const child = Bun.spawn(["sleep", "60"], { stdio: ["ignore", "ignore", "ignore"] });
    console.log(child.pid);
    setInterval(() => {}, 1000);`;
  const holder = Bun.spawn([process.execPath, "-e", code, directory], { stdout: "pipe", stderr: "inherit" });
  const { value } = await holder.stdout.getReader().read();
  return { holder, child: Number(new TextDecoder().decode(value)) };
}

const inUse = (pid: number) =>
  expect.objectContaining({
    code: "data_dir",
    hint: `stop it first: kill ${pid}, or systemctl stop mcpgate where systemd runs it`,
    message: expect.stringContaining(`pid ${pid}`),
  });

test("a second process is told who holds the directory; kill -9 lets it in, though a child of the dead lives", async () => {
  const directory = join(root, "killed");
  const { holder, child } = await startHolder(directory);
  try {
    expect(() => lockDirectory(directory)).toThrow(inUse(holder.pid));
    holder.kill("SIGKILL");
    await holder.exited;
    process.kill(child, 0); // throws when it is gone
    const lock = lockDirectory(directory);
    lock.release();
  } finally {
    holder.kill("SIGKILL");
    process.kill(child, "SIGKILL");
  }
});

test("within one process it is one holder too, until it is released", () => {
  const directory = join(root, "released");
  const lock = lockDirectory(directory);
  expect(() => lockDirectory(directory)).toThrow(inUse(process.pid));
  expect(() => lockDirectory(directory)).toThrow(inUse(process.pid)); // the failed try let go of nothing
  lock.release();
  lock.release();
  const again = lockDirectory(directory);
  lock.release(); // the first one's, again: not the second's
  expect(() => lockDirectory(directory)).toThrow(inUse(process.pid));
  again.release();
  expect(existsSync(join(directory, "lock.pid"))).toBe(false);
});

test("by another path it is the same directory", () => {
  const directory = join(root, "real");
  mkdirSync(directory);
  symlinkSync(directory, join(root, "alias"));
  const lock = lockDirectory(directory);
  expect(() => lockDirectory(join(root, "alias"))).toThrow(inUse(process.pid));
  lock.release();
});

test("its files are 0600, and a planted link is refused", () => {
  const directory = join(root, "modes");
  const lock = lockDirectory(directory);
  expect([statSync(directory).mode & 0o777, statSync(join(directory, "lock")).mode & 0o777]).toEqual([0o700, 0o600]);
  lock.release();
  rmSync(join(directory, "lock"));
  symlinkSync(join(root, "elsewhere"), join(directory, "lock"));
  expect(() => lockDirectory(directory)).toThrow(expect.objectContaining({ code: "data_dir" }));
  expect(existsSync(join(root, "elsewhere"))).toBe(false);
});

test("a stale or broken lock.pid is no lock", () => {
  const directory = join(root, "stale");
  mkdirSync(directory, { mode: 0o700 });
  writeFileSync(join(directory, "lock.pid"), "1\n", { mode: 0o600 });
  const lock = lockDirectory(directory);
  writeFileSync(join(directory, "lock.pid"), "rubbish");
  expect(() => lockDirectory(directory)).toThrow(
    expect.objectContaining({ code: "data_dir", hint: expect.stringContaining("stop it first") }),
  );
  lock.release();
});
