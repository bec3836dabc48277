import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadPackagePin, packagesDirectory, programOf } from "../../src/agent/package-pins.ts";
import { type PinOptions, pinPackages } from "../../src/agent/pin-packages.ts";
import type { AppConfig } from "../../src/config/config.ts";

let dataDir: string;
let packages: string;

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), "mcpgate-pin-"));
  chmodSync(dataDir, 0o700);
  packages = packagesDirectory(dataDir);
});

afterEach(async () => {
  await pin([app("it", [])], { how: "remove", only: "it" }).catch(() => {});
  rmSync(dataDir, { recursive: true, force: true });
});

const app = (name: string, args: string[], command = "npx"): AppConfig => ({
  ...{ name, labels: {}, description: "", shared: false, mcp: { command, args } },
});

/** Installs a program without a registry. */
function installer() {
  let version = 0;
  const asked: string[][] = [];
  const install: PinOptions["install"] = {
    async npx({ dir, run }) {
      asked.push(run.packages);
      version++;
      mkdirSync(join(dir, "node_modules/.bin"), { recursive: true, mode: 0o700 });
      writeFileSync(join(dir, "package-lock.json"), "{}", { mode: 0o600 });
      writeFileSync(join(dir, "node_modules/.bin/it"), "#!/bin/sh\n", { mode: 0o700 });
      return {
        packages: [{ name: "it", version: `${version}.0.0` }],
        lock: "package-lock.json",
        program: "node_modules/.bin/it",
        scripts: [],
      };
    },
  };
  return { install, asked };
}

const pin = (apps: AppConfig[], more: Partial<PinOptions> = {}) =>
  pinPackages({ apps, how: "keep", packages, env: {}, say: () => {}, ...more });

test("what was pinned is what runs, with the arguments that the configuration has now", async () => {
  const { install, asked } = installer();
  const args = ["-y", "it@^1", "a"];
  expect(programOf(packages, "it", { command: "npx", args })).toEqual({ command: "npx", args, reads: [] });
  const [first] = await pin([app("it", args), app("other", ["x"], "node")], { install });
  expect(first).toMatchObject({ app: "it", state: "pinned", pin: "it@1.0.0" });
  const path = first?.path ?? "";
  expect(programOf(packages, "it", { command: "npx", args: ["-y", "it@^1", "b", "c"] })).toEqual({
    ...{ command: join(path, "node_modules/.bin/it"), args: ["b", "c"], reads: [path] },
  });
  expect(loadPackagePin(packages, "it")?.integrity).toMatch(/^sha512-[\w+/]{86}==$/);
  expect(await pin([app("it", args)], { install })).toMatchObject([{ state: "unchanged", pin: "it@1.0.0" }]);
  expect(asked).toEqual([["it@^1"]]);
});

test("anyone may read the copy, and nobody write it", async () => {
  const { install } = installer();
  const [{ path = "" } = {}] = await pin([app("it", ["it"])], { install });
  const mode = (...names: string[]): number => statSync(join(path, ...names)).mode & 0o777;
  expect([mode(), mode("node_modules/.bin"), mode("node_modules/.bin/it"), mode("package-lock.json")]).toEqual([
    ...[0o555, 0o555, 0o555, 0o444],
  ]);
  if (process.getuid?.() === 0) expect(statSync(dataDir).mode & 0o777).toBe(0o711);
});

test("another version or package asked for is a failure until it is pinned again", async () => {
  const { install } = installer();
  await pin([app("it", ["it@1"])], { install });
  for (const [command, args] of [
    ["npx", ["it@2"]],
    ["npx", ["other"]],
    ["npx", ["-p", "it@1", "prog"]],
    ["uvx", ["it==1"]],
  ] as const) {
    expect(() => programOf(packages, "it", { command, args: [...args] })).toThrow('"it" is pinned to what "it@1"');
    for (const how of ["keep", "list"] as const) {
      const [{ state, error } = {}] = await pin([app("it", [...args], command)], { how, install });
      expect(state).toBe("failing");
      expect(error?.hint).toBe("mcpgate agent pin it --update");
    }
  }
  const [{ error } = {}] = await pin([app("it", ["x"], "node")], { install });
  expect(error?.hint).toBe("mcpgate agent pin it --remove");
  expect(await pin([app("it", ["it@2"])], { how: "update", install })).toMatchObject([{ state: "pinned" }]);
  expect(programOf(packages, "it", { command: "npx", args: ["it@2"] }).args).toEqual([]);
});

test("an update keeps the copy that may still run, and no older one; removing leaves nothing", async () => {
  const { install } = installer();
  const paths: string[] = [];
  for (const how of ["keep", "update", "update"] as const) {
    const [{ path = "" } = {}] = await pin([app("it", ["it"])], { how, install });
    paths.push(path);
  }
  expect(paths.map((path) => existsSync(path))).toEqual([false, true, true]);
  expect(await pin([], { how: "remove", only: "it" })).toMatchObject([{ state: "removed" }]);
  expect(readdirSync(packages)).toEqual([]);
});

test("an install that fails leaves what was there", async () => {
  const { install } = installer();
  await pin([app("it", ["it"])], { install });
  const before = readFileSync(join(packages, "it/pin.json"), "utf8");
  const failing = { npx: () => Promise.reject(new Error("no such package")) };
  const [{ state, error } = {}] = await pin([app("it", ["it"])], { how: "update", install: failing });
  expect([state, error?.message]).toEqual(["failing", "no such package"]);
  expect(readFileSync(join(packages, "it/pin.json"), "utf8")).toBe(before);
  expect(readdirSync(join(packages, "it"))).toHaveLength(2);
});

test("a copy that is gone, and a pin that can't be read, are failures", async () => {
  const { install } = installer();
  const [{ path = "" } = {}] = await pin([app("it", ["it"])], { install });
  chmodSync(join(path, "node_modules/.bin"), 0o755);
  rmSync(join(path, "node_modules/.bin/it"));
  expect(() => programOf(packages, "it", { command: "npx", args: ["it"] })).toThrow("its copy is not there");
  writeFileSync(join(packages, "it/pin.json"), "{");
  expect(() => programOf(packages, "it", { command: "npx", args: ["it"] })).toThrow("can't be read");
});
