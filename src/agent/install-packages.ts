/** Installs what an `npx` or `uvx` command line asks for, with a lock file that has the hash of every package in it. */
import { readFileSync, realpathSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import * as v from "valibot";
import { Failure } from "../errors.ts";
import { spawnOwn } from "./own-child.ts";
import type { PackageRun } from "./package-run.ts";

export interface InstallOptions {
  /** Empty, and ours. */
  dir: string;
  run: PackageRun;
  env: Record<string, string | undefined>;
}

export interface Installed {
  /** Those that were asked for. */
  packages: { name: string; version: string }[];
  /** The lock file, within `dir`. */
  lock: string;
  /** The program, within `dir`. */
  program: string;
  /** Packages whose install scripts were left out. */
  scripts: string[];
}

/** Milliseconds for one command. */
const COMMAND_MS = 10 * 60 * 1000;

// --- npm ---

const npmLock = v.object({
  packages: v.record(
    v.string(),
    v.object({
      version: v.optional(v.string()),
      integrity: v.optional(v.string()),
      inBundle: v.optional(v.boolean()),
      hasInstallScript: v.optional(v.boolean()),
      dependencies: v.optional(v.record(v.string(), v.string())),
    }),
  ),
});
const NODE_MODULES = "node_modules/";

/** Failure `start_failed`: no npm, no such package, a package without integrity, no such command in it. */
export async function installWithNpm({ dir, run, env }: InstallOptions): Promise<Installed> {
  writeFileSync(join(dir, "package.json"), '{"private":true}\n');
  const quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"];
  const install = ["install", "--save-exact", "--ignore-scripts", "--install-strategy=hoisted", ...quiet];
  await runTool([toolPath("npm", env), ...install, ...run.options, "--", ...run.packages], dir, env);
  const { packages } = v.parse(npmLock, JSON.parse(readFileSync(join(dir, "package-lock.json"), "utf8")));
  const scripts: string[] = [];
  for (const [path, { integrity, inBundle, hasInstallScript }] of Object.entries(packages)) {
    if (path === "") continue;
    const name = path.slice(path.lastIndexOf(NODE_MODULES) + NODE_MODULES.length);
    // What is bundled lies within a package that has one.
    if (integrity === undefined && inBundle !== true) {
      throw new Failure("start_failed", `the registry gives no integrity for ${name}`, {
        hint: "install it yourself, and name its program in mcp.command",
      });
    }
    if (hasInstallScript === true) scripts.push(name);
  }
  const asked = run.packages.map((spec) => npmName(spec));
  const [first = ""] = asked;
  const bin = run.bin ?? binOf(dir, first);
  return {
    packages: asked.map((name) => ({ name, version: packages[`${NODE_MODULES}${name}`]?.version ?? "" })),
    lock: "package-lock.json",
    program: join("node_modules/.bin", bin),
    scripts,
  };
}

/** `@scope/name@range` → `@scope/name` */
function npmName(spec: string): string {
  const at = spec.indexOf("@", 1);
  return at < 0 ? spec : spec.slice(0, at);
}

const manifest = v.object({ bin: v.optional(v.union([v.string(), v.record(v.string(), v.string())])) });

/** As npx chooses: the only program, under however many names; else the one that is named as the package. */
function binOf(dir: string, name: string): string {
  const { bin } = v.parse(manifest, JSON.parse(readFileSync(join(dir, NODE_MODULES, name, "package.json"), "utf8")));
  const own = name.replace(/^@[^/]+\//, "");
  const bins = typeof bin === "string" ? { [own]: bin } : (bin ?? {});
  const [only] = Object.keys(bins);
  if (only !== undefined && new Set(Object.values(bins)).size === 1) return only;
  if (Object.hasOwn(bins, own)) return own;
  throw new Failure("start_failed", `${name} has no program that is plainly its own`, {
    hint: `say which: args: [-y, --package=${name}, PROGRAM]; it has: ${Object.keys(bins).join(", ") || "none"}`,
  });
}

// --- uv ---

const LOCKED = /^([A-Za-z0-9][\w.-]*)==([^\s\\;]+)/;

/** Failure `start_failed`: no uv, no such package, one without a wheel, no such command in it. */
export async function installWithUv({ dir, run, env }: InstallOptions): Promise<Installed> {
  const program = toolPath("uv", env);
  const uv = (args: string[]): Promise<void> =>
    runTool([program, ...args], dir, {
      ...env,
      // A Python of the caller's own may be out of the host users' reach; one that has to be downloaded is put in the copy.
      PATH: (env.PATH ?? "").split(":").filter(isOpenToAll).join(":"),
      UV_PYTHON_INSTALL_DIR: join(dir, "python"),
      UV_LINK_MODE: "copy",
    });
  const python = join(dir, "venv/bin/python");
  const at = run.options.indexOf("--python");
  const version = at < 0 ? [] : run.options.slice(at, at + 2);
  const indexes = run.options.filter((_, i) => at < 0 || (i !== at && i !== at + 1));
  await uv(["venv", "--quiet", "--no-project", ...version, "venv"]);
  if (!isOpenToAll(python)) {
    await uv(["venv", "--quiet", "--no-project", "--clear", "--managed-python", ...version, "venv"]);
  }
  const specs = run.packages.map(uvSpec);
  writeFileSync(join(dir, "requirements.in"), `${specs.join("\n")}\n`);
  const wheels = ["--only-binary", ":all:", ...indexes];
  const compile = [
    "pip",
    "compile",
    "--quiet",
    "--no-header",
    "--no-annotate",
    "--generate-hashes",
    "--python",
    python,
  ];
  await uv([...compile, ...wheels, "-o", "requirements.txt", "requirements.in"]);
  const install = ["pip", "install", "--quiet", "--require-hashes", "--compile-bytecode", "--python", python];
  await uv([...install, ...wheels, "-r", "requirements.txt"]);
  const versions = new Map<string, string>();
  for (const line of readFileSync(join(dir, "requirements.txt"), "utf8").split("\n")) {
    const [, name, locked] = LOCKED.exec(line) ?? [];
    if (name !== undefined && locked !== undefined) versions.set(normalized(name), locked);
  }
  const names = specs.map((spec) => /^[\w.-]+/.exec(spec)?.[0] ?? spec);
  const [first = ""] = names;
  return {
    packages: names.map((name) => ({ name, version: versions.get(normalized(name)) ?? "" })),
    lock: "requirements.txt",
    program: join("venv/bin", run.bin ?? first),
    scripts: [],
  };
}

/** uvx's own `NAME@VERSION` and `NAME@latest` as a requirement. */
function uvSpec(spec: string): string {
  const [name = "", version] = spec.split("@");
  if (version === undefined) return spec;
  return version === "latest" ? name : `${name}==${version}`;
}

/** PEP 503. */
const normalized = (name: string): string => name.toLowerCase().replace(/[-_.]+/g, "-");

/** Whether any user may get to what this link leads to; where nobody is switched to, that is no question. */
function isOpenToAll(path: string): boolean {
  if (process.getuid?.() !== 0) return true;
  try {
    for (let at = realpathSync(path); at !== dirname(at); at = dirname(at)) {
      if ((statSync(at).mode & 0o001) === 0) return false;
    }
    return true;
  } catch {
    return false;
  }
}

// --- both ---

function toolPath(tool: "npm" | "uv", env: InstallOptions["env"]): string {
  const path = Bun.which(tool, { PATH: env.PATH ?? "" });
  if (path !== null) return path;
  throw new Failure("start_failed", `${tool} is not in the PATH`, {
    hint: tool === "npm" ? "install Node.js: https://nodejs.org" : "install uv: https://docs.astral.sh/uv",
  });
}

async function runTool(argv: string[], cwd: string, env: InstallOptions["env"]): Promise<void> {
  const child = spawnOwn(argv, {
    ...{ cwd, env, stdin: "ignore", stdout: "pipe", stderr: "pipe", timeout: COMMAND_MS, killSignal: "SIGKILL" },
  });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code === 0) return;
  const [tool = "", ...args] = argv;
  const said = `${stderr}\n${stdout}`.split("\n").filter((line) => line.trim() !== "");
  const what = `${basename(tool)} ${args[0]} failed (exit code ${code})`;
  throw new Failure("start_failed", `${what}:\n${said.slice(0, 8).join("\n")}`, {
    hint: "is the package's name right, and can this host reach the registry?",
  });
}
