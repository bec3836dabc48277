/** What is on offer: plain files under the names of our platforms that nobody else could have written. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLog } from "../../src/log.ts";
import { Downloads } from "../../src/proxy/downloads.ts";
import { ownPlatform, programName } from "../../src/proxy/platforms.ts";

const OWN = programName(ownPlatform() ?? "linux-x64");
const OTHER = programName("darwin-arm64");
const [PIPE, THIRD] = [programName("darwin-x64"), programName("windows-x64")];
const sum = (text: string) => createHash("sha256").update(text).digest("hex");

let dir: string;
let directory: string;
let logged: string[];
const make = (program?: string) =>
  new Downloads({ directory, program, log: createLog({ write: (line) => void logged.push(line) }) });

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "mcpgate-downloads-"));
  directory = join(dir, "downloads");
  mkdirSync(directory);
  logged = [];
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function put(name: string, text: string, mode = 0o644): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

test("the program that runs comes first; others are there as soon as they are put there", async () => {
  const program = join(dir, "running");
  writeFileSync(program, "own");
  put(OWN, "another");
  const downloads = make(program);
  expect(await downloads.sums()).toBe(`${sum("own")}  ${OWN}\n`);
  put(OTHER, "other");
  put("mcpgate-plan9-x64", "x");
  put("notes.txt", "x");
  expect((await downloads.sums()).split("\n").sort()).toEqual(
    ["", `${sum("other")}  ${OTHER}`, `${sum("own")}  ${OWN}`].sort(),
  );
  expect(await make().sums()).toContain(sum("another"));
  expect(logged).toEqual([]);
});

test("without a directory there is nothing, and nothing to complain about", async () => {
  rmSync(directory, { recursive: true });
  expect(await make().sums()).toBe("");
  expect(logged).toEqual([]);
});

test("a file that changed is summed again, also where size and time look the same", async () => {
  const downloads = make();
  const path = put(OTHER, "one");
  const time = new Date("2026-01-01");
  utimesSync(path, time, time);
  expect(await downloads.sums()).toContain(sum("one"));
  writeFileSync(path, "two");
  utimesSync(path, time, time);
  expect(await downloads.sums()).toContain(sum("two"));
  writeFileSync(`${path}.new`, "six");
  renameSync(`${path}.new`, path);
  expect(await downloads.sums()).toContain(sum("six"));
});

/** Bytes that this process has read so far. */
const bytesRead = () => Number(/^rchar: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"))?.[1]);

test.skipIf(process.platform !== "linux")("a file is read once, however many ask, at once and later", async () => {
  const text = "x".repeat(3_000_000);
  put(OTHER, text);
  const downloads = make();
  const before = bytesRead();
  const all = await Promise.all(Array.from({ length: 200 }, () => downloads.sums()));
  expect(new Set(all)).toEqual(new Set([`${sum(text)}  ${OTHER}\n`]));
  const opened = await Promise.all(Array.from({ length: 20 }, () => downloads.open(OTHER)));
  await Promise.all(opened.map((each) => each?.file.close()));
  expect(opened.map((each) => each?.sha256)).toEqual(Array(20).fill(sum(text)));
  expect(bytesRead() - before).toBeLessThan(2 * text.length);
});

test("links, directories, pipes, empty files and files of others are not on offer; the log says so once", async () => {
  writeFileSync(join(dir, "secret"), "secret");
  symlinkSync(join(dir, "secret"), join(directory, OTHER));
  mkdirSync(join(directory, THIRD));
  expect((await Bun.$`mkfifo ${join(directory, PIPE)}`.nothrow()).exitCode).toBe(0);
  put(programName("linux-arm64-musl"), "");
  put(programName("linux-x64-musl"), "x", 0o666);
  const foreign = put(programName("linux-arm64"), "x");
  if (process.getuid?.() === 0) chownSync(foreign, 65534, 65534);
  else chmodSync(foreign, 0o664);
  const downloads = make();
  for (let i = 0; i < 3; i++) expect(await downloads.sums()).toBe("");
  const reasons = logged.filter((line) => line.includes("downloads.refused"));
  expect(reasons).toHaveLength(6);
  for (const words of ["symbolic link", "not a plain file", "is empty", "other users may write it"]) {
    expect(reasons.join("")).toContain(words);
  }
});

test("a directory that others may write offers nothing, until it is mended", async () => {
  put(OTHER, "x");
  chmodSync(directory, 0o777);
  const downloads = make();
  expect(await downloads.sums()).toBe("");
  expect(logged.join("")).toContain("other users may write its directory");
  chmodSync(directory, 0o755);
  expect(await downloads.sums()).toContain(OTHER);
});
