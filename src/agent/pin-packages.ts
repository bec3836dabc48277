/**
 * `mcpgate agent pin`: what an app's `npx` or `uvx` would download is resolved and installed once, into a directory that the
 * server's host user reads and can't write, and that is what the agent runs from then on. No code of a package runs meanwhile
 * (no install scripts, no building from source): whoever pins may be root.
 */
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { AppConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import { type Installed, type InstallOptions, installWithNpm, installWithUv } from "./install-packages.ts";
import { fits, loadPackagePin, misfit, type PackagePin, pinPath, shownPin } from "./package-pins.ts";
import { type PackageRun, packageRun } from "./package-run.ts";

export interface PinOptions {
  apps: readonly AppConfig[];
  /** One app's name; all of them unless told. */
  only?: string | undefined;
  /** `keep`: what is pinned stays as it is; `list` changes nothing at all. */
  how: "keep" | "update" | "remove" | "list";
  /** `packagesDirectory`. */
  packages: string;
  /** Of whoever pins: registries and proxies are theirs. */
  env: Record<string, string | undefined>;
  /** What happens, for a person. */
  say(line: string): void;
  install?: Partial<Record<PackageRun["tool"], (o: InstallOptions) => Promise<Installed>>>;
  now?: () => Date;
}

export interface PinResult {
  app: string;
  state: "pinned" | "unchanged" | "removed" | "not pinned" | "not a package" | "failing";
  /** `NAME@1.2.3` */
  pin?: string;
  pinned_at?: string;
  /** Where the copy is. */
  path?: string;
  /** Packages whose install scripts were left out. */
  scripts?: string[];
  error?: Failure;
}

/** One after the other; what fails for one app is in its result. Failure `not_found` for an app that isn't there. */
export async function pinPackages(o: PinOptions): Promise<PinResult[]> {
  // An app that is gone may have left its copy.
  if (o.how === "remove" && o.only !== undefined && !o.apps.some(({ name }) => name === o.only)) {
    if (loadOrUndefined(o.packages, o.only) !== undefined) return [remove(o.only, o.packages)];
  }
  const apps = o.apps.filter(({ name }) => o.only === undefined || name === o.only);
  if (apps.length === 0 && o.only !== undefined) {
    throw new Failure("not_found", `the configuration has no app ${JSON.stringify(o.only)}`, {
      hint: `apps there: ${o.apps.map(({ name }) => name).join(", ")}`,
    });
  }
  const results: PinResult[] = [];
  for (const app of apps) {
    try {
      results.push(await pinApp(app, o));
    } catch (error) {
      results.push({ app: app.name, state: "failing", error: Failure.from(error) });
    }
  }
  return results;
}

async function pinApp({ name, mcp }: AppConfig, o: PinOptions): Promise<PinResult> {
  if (o.how === "remove") return remove(name, o.packages);
  const pin = o.how === "update" ? undefined : loadPackagePin(o.packages, name);
  const sure = pin !== undefined || o.how === "list";
  const run = sure ? runOrUndefined(mcp) : packageRun(mcp.command, mcp.args);
  if (pin !== undefined) {
    if (run === undefined || !fits(pin, run)) throw misfit(pin, name, run);
    return resultOf("unchanged", name, pin, o.packages);
  }
  if (run === undefined) {
    const left = loadOrUndefined(o.packages, name);
    if (left !== undefined) throw misfit(left, name, undefined);
    return { app: name, state: "not a package" };
  }
  if (o.how === "list") return { app: name, state: "not pinned" };
  o.say(`${name}: ${run.tool} ${run.packages.join(" ")}`);
  const { pin: made, scripts } = await install(name, run, o);
  return { ...resultOf("pinned", name, made, o.packages), ...(scripts.length === 0 ? {} : { scripts }) };
}

function remove(app: string, packages: string): PinResult {
  const dir = join(packages, app);
  const was = existsSync(dir);
  removeTree(dir);
  return { app, state: was ? "removed" : "not pinned" };
}

function runOrUndefined(mcp: AppConfig["mcp"]): PackageRun | undefined {
  try {
    return packageRun(mcp.command, mcp.args);
  } catch {
    return undefined;
  }
}

const resultOf = (state: PinResult["state"], app: string, pin: PackagePin, packages: string): PinResult => ({
  ...{ app, state, pin: shownPin(pin), pinned_at: pin.pinned_at, path: join(packages, app, pin.dir) },
});

async function install(app: string, run: PackageRun, o: PinOptions): Promise<{ pin: PackagePin; scripts: string[] }> {
  const parent = join(o.packages, app);
  openReadable(parent);
  const before = loadOrUndefined(o.packages, app);
  const dir = crypto.randomUUID();
  const path = join(parent, dir);
  mkdirSync(path, { mode: 0o755 });
  chmodSync(path, 0o755);
  try {
    const tool = o.install?.[run.tool] ?? (run.tool === "npx" ? installWithNpm : installWithUv);
    const { packages, lock, program, scripts } = await tool({ dir: path, run, env: o.env });
    if (!existsSync(join(path, program))) {
      throw new Failure("start_failed", `the package has no program ${program}`, { hint: `ls ${path}` });
    }
    const hash = createHash("sha512")
      .update(readFileSync(join(path, lock)))
      .digest("base64");
    closeTree(path);
    checkReachable(join(path, program));
    const { bin } = run;
    const pin: PackagePin = {
      v: 1,
      tool: run.tool,
      asked: { packages: run.packages, ...(bin === undefined ? {} : { bin }), options: run.options },
      packages,
      integrity: `sha512-${hash}`,
      dir,
      program,
      pinned_at: (o.now?.() ?? new Date()).toISOString(),
    };
    writeWhole(pinPath(o.packages, app), `${JSON.stringify(pin, null, 2)}\n`);
    // A server that runs may still need the copy that it was started from.
    for (const each of readdirSync(parent)) {
      if (each !== dir && each !== before?.dir && each !== "pin.json") removeTree(join(parent, each));
    }
    return { pin, scripts };
  } catch (error) {
    removeTree(path);
    if (readdirSync(parent).length === 0) rmdirSync(parent);
    throw error;
  }
}

function loadOrUndefined(packages: string, app: string): PackagePin | undefined {
  try {
    return loadPackagePin(packages, app);
  } catch {
    return undefined;
  }
}

/** Ours, for everybody to read; and what is around it lets them through, where that is ours to say. */
function openReadable(dir: string): void {
  const packages = dirname(dir);
  const data = dirname(packages);
  try {
    mkdirSync(data, { recursive: true, mode: 0o711 });
    for (const each of [packages, dir]) {
      mkdirSync(each, { recursive: true });
      chmodSync(each, 0o755);
    }
    const { mode } = statSync(data);
    // The directories in it that hold secrets are 0700 themselves.
    if (isRoot() && (mode & 0o011) !== 0o011) chmodSync(data, (mode & 0o7777) | 0o011);
  } catch (cause) {
    const { message } = cause as Error;
    throw new Failure("permissions", `can't make the directory ${dir}: ${message}`, {
      hint: "run it as the agent's user: sudo mcpgate agent pin",
      cause,
    });
  }
}

const isRoot = (): boolean => process.getuid?.() === 0;

/** All of it ours, readable for everybody and writable for nobody. */
function closeTree(path: string): void {
  const stats = lstatSync(path);
  const uid = process.getuid?.();
  if (uid !== undefined && (stats.uid !== uid || stats.gid !== process.getgid?.())) {
    lchownSync(path, uid, process.getgid?.() ?? stats.gid);
  }
  if (stats.isSymbolicLink()) return;
  if (!stats.isDirectory()) {
    chmodSync(path, (stats.mode & 0o111) === 0 ? 0o444 : 0o555);
    return;
  }
  for (const name of readdirSync(path)) closeTree(join(path, name));
  chmodSync(path, 0o555);
}

function removeTree(path: string): void {
  const open = (at: string): void => {
    if (!lstatSync(at).isDirectory()) return;
    chmodSync(at, 0o755);
    for (const name of readdirSync(at)) open(join(at, name));
  };
  if (!existsSync(path)) return;
  open(path);
  rmSync(path, { recursive: true, force: true });
}

/** Where the agent is root, servers run as somebody else. */
function checkReachable(program: string): void {
  if (!isRoot()) return;
  for (let at = dirname(realpathSync(program)); ; at = dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0) {
      throw new Failure("permissions", `other users can't reach the copy: ${at} is closed to them`, {
        hint: `choose another mcpgate.data_dir, or: chmod o+x '${at}'`,
      });
    }
    if (at === dirname(at)) return;
  }
}

function writeWhole(path: string, text: string): void {
  const temporary = `${path}.new`;
  rmSync(temporary, { force: true });
  writeFileSync(temporary, text, { mode: 0o644, flush: true });
  chmodSync(temporary, 0o644);
  renameSync(temporary, path);
}
