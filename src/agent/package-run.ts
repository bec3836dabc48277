/**
 * Command lines of `npx` and `uvx`: which packages they ask for, and what they run of them. What can't be pinned to a version
 * of a registry (git, URLs, directories) or isn't understood is a failure, never a guess.
 */
import { basename } from "node:path";
import { Failure } from "../errors.ts";

export interface PackageRun {
  tool: "npx" | "uvx";
  /** As they are asked for: `NAME`, `NAME@1.2`, `NAME==1.2`; the first is what the command is looked for in. */
  packages: string[];
  /** Undefined: the package's own command. */
  bin: string | undefined;
  /** For the server. */
  args: string[];
  /** For the tool that installs: where its registry is, which Python. */
  options: string[];
}

interface Flags {
  /** Without a value, and without a meaning for what is installed. */
  plain: readonly string[];
  /** With a value: a package. The first one is where the command is, the rest stand beside it. */
  packages: readonly string[];
  beside: readonly string[];
  /** With a value, handed on to the tool that installs under the name beside it. */
  handed: Readonly<Record<string, string>>;
}

const NPX: Flags = {
  plain: ["-y", "--yes", "-q", "--quiet", "-s", "--silent", "--prefer-offline", "--prefer-online", "--ignore-scripts"],
  packages: ["-p", "--package"],
  beside: [],
  handed: { "--registry": "--registry" },
};
const UVX: Flags = {
  plain: ["-q", "--quiet", "--isolated", "--no-progress", "--refresh", "-n", "--no-cache", "--no-env-file"],
  packages: ["--from"],
  beside: ["-w", "--with"],
  handed: {
    ...{ "-p": "--python", "--python": "--python", "--index": "--index", "--default-index": "--default-index" },
    ...{ "-i": "--index-url", "--index-url": "--index-url", "--extra-index-url": "--extra-index-url" },
  },
};

/** npm: a name with or without a scope, and a version, range or tag. */
const NPM_SPEC = /^(?:@[a-z0-9~][\w.~-]*\/)?[A-Za-z0-9~][\w.~-]*(?:@[^/:@]+)?$/;
/** PEP 508 without URLs and markers, and uvx's own `NAME@VERSION`. */
const PYPI_SPEC = /^[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?(?:\[[\w\s,.-]+\])?(?:\s*[=<>~!][^;@/]*|@[\w.!+-]+)?$/;

/** `undefined` where the command is neither. Failure `config` for what can't be pinned. */
export function packageRun(command: string, args: readonly string[]): PackageRun | undefined {
  const name = basename(command);
  if (name === "npx") return read("npx", NPX, NPM_SPEC, args);
  if (name === "uvx") return read("uvx", UVX, PYPI_SPEC, args);
  if (name === "uv" && args[0] === "tool" && args[1] === "run") return read("uvx", UVX, PYPI_SPEC, args.slice(2));
  return undefined;
}

function read(tool: PackageRun["tool"], flags: Flags, spec: RegExp, args: readonly string[]): PackageRun {
  const packages: string[] = [];
  const beside: string[] = [];
  const options: string[] = [];
  let i = 0;
  for (; i < args.length && args[i]?.startsWith("-"); i++) {
    const arg = args[i] as string;
    if (arg === "--") {
      i++;
      break;
    }
    if (flags.plain.includes(arg)) continue;
    const [flag = "", inline] = arg.startsWith("--") ? splitOnce(arg) : [arg];
    const handed = flags.handed[flag];
    if (!flags.packages.includes(flag) && !flags.beside.includes(flag) && handed === undefined) {
      throw unpinnable(`the option ${flag} of ${tool} is not understood`);
    }
    const value = inline ?? args[++i];
    if (value === undefined || value === "") throw unpinnable(`${flag} of ${tool} has no value`);
    if (handed !== undefined) options.push(handed, value);
    else (flags.beside.includes(flag) ? beside : packages).push(value);
  }
  const first = args[i];
  if (first === undefined) throw unpinnable(`${tool} is told to run nothing`);
  const all = [...(packages.length > 0 ? packages : [first]), ...beside];
  for (const each of all) {
    if (!spec.test(each)) throw unpinnable(`${JSON.stringify(each)} is no package of a registry`);
  }
  const bin = packages.length > 0 ? first : undefined;
  return { tool, packages: all, bin, args: args.slice(i + 1), options };
}

function splitOnce(arg: string): [string, string?] {
  const at = arg.indexOf("=");
  return at < 0 ? [arg] : [arg.slice(0, at), arg.slice(at + 1)];
}

const unpinnable = (what: string): Failure =>
  new Failure("config", `it can't be pinned: ${what}`, {
    hint: "like command: npx, args: [-y, NAME@VERSION, …]; or install it yourself, and name its program in mcp.command",
  });
