import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bytesIn, checkModes, checkSpace, type Space } from "../../src/doctor/storage.ts";
import { wrong } from "./proxy-in-here.ts";

const uid = process.getuid?.() ?? -1;
const MIB = 1024 * 1024;
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "mcpgate-doctor-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const space = (o: Partial<Space>) => async (): Promise<Space> => ({
  ...{ bsize: 4096, blocks: 2_500_000, bavail: 2_000_000, files: 1_000_000, ffree: 900_000 },
  ...o,
});
const looked = async (o: Partial<Space>, needed?: number) => wrong(await checkSpace("agent", dir, space(o), needed));

test("room enough, by the file system's own word too", async () => {
  expect(await looked({})).toEqual([]);
  const found = await checkSpace("agent", join(dir, "not", "there", "yet"), statfs);
  expect(found.map(({ check }) => check)).toContain("disk");
});

test("little room, none, and not enough for what may come", async () => {
  const blocks = (mib: number) => ({ bavail: (mib * MIB) / 4096 });
  expect(await looked(blocks(300))).toEqual([`warn disk: the file system of ${dir} has only 300 MiB left`]);
  expect(await looked(blocks(20))).toEqual([`fail disk: the file system of ${dir} is full: 20 MiB left`]);
  expect(await looked(blocks(2000), 4000 * MIB)).toEqual([
    `warn disk: the file system of ${dir} has only 2000 MiB left, and 4000 MiB may be needed`,
  ]);
  // small as a whole, as a container's may be
  expect(await looked({ blocks: (500 * MIB) / 4096, ...blocks(300) })).toEqual([]);
  const [found] = await checkSpace("agent", join(dir, "deep"), space(blocks(20)));
  expect(found?.fix).toBe(`df -h '${dir}'; sudo du -xsh '${dir}'/* | sort -h`);
});

test("inodes", async () => {
  expect(await looked({ ffree: 20_000 })).toEqual([
    `warn inodes: the file system of ${dir} has only 20000 of 1000000 inodes left`,
  ]);
  expect(await looked({ ffree: 5 })).toEqual([`fail inodes: the file system of ${dir} has 5 inodes left`]);
  expect(await looked({ files: 0, ffree: 0 })).toEqual([]);
});

test("secrets that others may read or write, with the command that mends it", () => {
  const [key, config, link] = ["key.json", "config.yaml", "link"].map((name) => join(dir, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(key, "x", { mode: 0o600 });
  writeFileSync(config, "x", { mode: 0o644 });
  const paths: Parameters<typeof checkModes>[1] = [
    [dir, "nothing"],
    [key, "nothing"],
    [config, "read"],
    [join(dir, "absent"), "nothing"],
  ];
  expect(checkModes("agent", paths, uid)).toEqual([
    { part: "agent", check: "permissions", state: "ok", message: "nobody else gets at the secrets" },
  ]);
  chmodSync(key, 0o644);
  chmodSync(config, 0o664);
  chmodSync(dir, 0o750);
  const found = checkModes("agent", paths, uid);
  expect(wrong(found)).toEqual([
    `fail permissions: other users may read ${dir}`,
    `fail permissions: other users may read ${key}`,
    `fail permissions: other users may write ${config}`,
  ]);
  const mend = found.map(({ fix }) => fix ?? "");
  expect(mend).toEqual([`chmod 700 '${dir}'`, `chmod 600 '${key}'`, `chmod go-w '${config}'`]);
  for (const command of mend) expect(Bun.spawnSync(["sh", "-c", command]).exitCode).toBe(0);
  expect(wrong(checkModes("agent", paths, uid))).toEqual([]);

  symlinkSync(key, link);
  expect(wrong(checkModes("agent", [[link, "nothing"]], uid))).toEqual([
    `fail permissions: ${link} is a symbolic link`,
  ]);
  expect(checkModes("agent", [[join(dir, "absent"), "nothing"]], uid)).toEqual([]);
});

test("a directory behind a link, as systemd makes it for an account of its own making, is what counts", () => {
  const [real, link] = [join(dir, "private"), join(dir, "proxy")];
  mkdirSync(real, { mode: 0o700 });
  symlinkSync(real, link);
  expect(wrong(checkModes("proxy", [[link, "nothing"]], uid))).toEqual([]);
  chmodSync(real, 0o755);
  expect(wrong(checkModes("proxy", [[link, "nothing"]], uid))).toEqual([
    `fail permissions: other users may read ${link}`,
  ]);
});

test.skipIf(uid !== 0)("what belongs to somebody else (as root only)", () => {
  const file = join(dir, "key.json");
  writeFileSync(file, "x", { mode: 0o600 });
  chownSync(file, 12_345, 12_345);
  expect(wrong(checkModes("client", [[file, "nothing"]], 1000))).toEqual([
    `fail permissions: ${file} belongs to another user (uid 12345)`,
  ]);
  expect(wrong(checkModes("client", [[file, "nothing"]], 0))).toEqual([]);
});

test("bytes in a directory", () => {
  mkdirSync(join(dir, "spool"));
  expect(bytesIn(join(dir, "spool"))).toBe(0);
  writeFileSync(join(dir, "spool", "1"), "x".repeat(1000));
  expect(bytesIn(join(dir, "spool"))).toBe(1000);
  expect(bytesIn(join(dir, "absent"))).toBeUndefined();
});
