/**
 * Which rules of `app_service.allow_commands` let whoever writes app resources run whatever they like: an interpreter, a
 * program that starts others, or one that fetches packages or images, with something left open before it is certain what
 * runs. What follows a script or program that the rule names is that program's own business. A list of known names can
 * only ever warn: what isn't in it may be as bad.
 */
import { basename, posix } from "node:path";
import type { CommandRule } from "./command-rule.ts";

const SHELLS = ["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "pwsh", "powershell", "cmd"];
const INTERPRETERS = [
  ...["python", "pypy", "node", "nodejs", "bun", "deno", "tsx", "ts-node", "ruby", "irb", "perl", "php", "lua"],
  ...[
    "tclsh",
    "awk",
    "gawk",
    "mawk",
    "Rscript",
    "java",
    "jshell",
    "osascript",
    "wscript",
    "cscript",
    "expect",
    "dotnet",
  ],
];
/** Of interpreters, what takes the next argument and names no program: behind it there may still be one. */
const VALUED: Record<string, readonly string[]> = {
  python: ["-W", "-X", "--check-hash-based-pycs"],
  node: ["-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions"],
  bun: ["-r", "--preload", "--cwd"],
  java: ["-cp", "-classpath", "--class-path", "-p", "--module-path", "--add-modules"],
  ruby: ["-r", "-I", "-C"],
  php: ["-d", "-c"],
  lua: ["-l"],
};
/** Programs of which some option, wherever it stands, names a command to run or a file to write. */
const RECKLESS = [
  ...["make", "vi", "vim", "nvim", "ed", "emacs", "less", "more", "man", "gdb", "sed", "tar", "zip", "rsync", "git"],
  ...[
    "curl",
    "wget",
    "openssl",
    "socat",
    "nc",
    "ncat",
    "psql",
    "mysql",
    "mariadb",
    "sqlite",
    "duckdb",
    "tmux",
    "screen",
  ],
  ...["ffmpeg", "systemctl", "terraform", "helm", "pip", "gcc", "mcpgate"],
];
/** Programs whose arguments are another program and its own. */
const STARTERS = [
  ...["env", "sudo", "doas", "runuser", "pkexec", "setpriv", "nsenter", "unshare", "capsh", "bwrap"],
  ...["nohup", "nice", "ionice", "chrt", "taskset", "timeout", "time", "stdbuf", "setsid", "strace", "ltrace", "xargs"],
  ...["systemd-run", "busybox", "toybox", "dbus-run-session", "xvfb-run", "firejail", "ld.so"],
];
/** Of these, something else comes before the program, or the program after anything. */
const LATE_STARTERS = [
  ...["su", "chroot", "flock", "script", "find", "parallel", "watch", "entr", "ssh", "flatpak", "snap", "wsl"],
  ...["kubectl", "oc", "lxc", "machinectl"],
];
/** Programs that fetch a package and run it; with the words that come first. */
const RUNNERS = [
  ...[["npx"], ["bunx"], ["pnpx"], ["uvx"], ["npm", "exec"], ["npm", "x"], ["pnpm", "dlx"], ["yarn", "dlx"]],
  ...[
    ["bun", "x"],
    ["uv", "run"],
    ["uv", "tool", "run"],
    ["pipx", "run"],
    ["go", "run"],
    ["deno", "run"],
    ["nix", "run"],
    ["pnpm", "exec"],
    ["pip", "install"],
  ],
];
/** Of these, an option behind the package is still the runner's, unless `--` stands between. */
const LATE_OPTIONS = ["npm exec", "npm x", "nix run"];
const ENGINES = ["docker", "podman", "nerdctl", "finch"];
/** Of `docker run`, those without a value; all others take the next argument, unless they hold a `=`. */
const ENGINE_FLAGS =
  /^(-[itdPq]+|--(rm|init|interactive|tty|detach|privileged|read-only|publish-all|no-healthcheck|oom-kill-disable|quiet|sig-proxy))$/;
/** What a container may then do to its host. */
const UNCONTAINED = /^(--privileged|--(pid|ipc|uts|userns|cgroupns)=host|--cap-add.*|--device.*|--security-opt.*)$/;
const HOST_FOLDER = /^\/((etc|usr|bin|sbin|lib|opt|root|home|boot|proc|sys|dev|var|run)\/?)?$/;
/** Commands by any name of these folders are all the system's. */
const SYSTEM_FOLDERS = /^\/(usr\/)?(local\/)?s?bin\/[^/]*\*/;

/** Why the rule is arbitrary code: the end of a sentence that begins with the rule. `undefined`: it isn't known to be. */
export function arbitraryCode(rule: CommandRule): string | undefined {
  const [command = "", ...args] = rule;
  if (SYSTEM_FOLDERS.test(command)) return "lets any program of the system run";
  const name = programName(command);
  const runner = RUNNERS.find(([first, ...rest]) => first === name && rest.every((word, i) => args[i] === word));
  if (runner !== undefined) return freePackage(runner.join(" "), args.slice(runner.length - 1));
  if (RUNNERS.some(([first, ...rest]) => first === name && mayBe(rest, args))) return runsAnyPackage(name);
  if (ENGINES.includes(name)) return freeContainer(name, args);
  if (SHELLS.includes(name)) return freeScript(name, args);
  if (INTERPRETERS.includes(name)) return freeScript(name, args);
  if (STARTERS.includes(name)) return freeProgram(name, args);
  if (RECKLESS.includes(name) && args.some(mayBeOption)) return startsAnything(name);
  if (LATE_STARTERS.includes(name) && args.some(isFree)) return startsAnything(name);
  return undefined;
}

/** `/usr/bin/python3.12` → `python`, `node.exe` → `node`, `/lib64/ld-linux-x86-64.so.2` → `ld.so`. */
const programName = (command: string): string =>
  basename(command.replaceAll("\\", "/"))
    .replace(/\.(exe|cmd|bat)$/i, "")
    .replace(/^ld(-[\w-]+)?\.so(\.\d+)*$/, "ld.so")
    .replace(/(?<=[a-z])-?\d+(\.\d+)*$/i, "");

const isFree = (argument: string): boolean => argument.includes("*");
const isRest = (argument: string): boolean => argument === "**";
/** A `*` never begins an option (`command-rule.ts`). */
const mayBeOption = (argument: string): boolean => isRest(argument) || (isFree(argument) && argument.startsWith("-"));

/** Whether what is left open before the words differ may make these words of it. */
function mayBe(words: readonly string[], args: readonly string[]): boolean {
  const at = words.findIndex((word, i) => args[i] !== word);
  return at >= 0 && isFree(args[at] ?? "");
}

function freeScript(name: string, args: readonly string[]): string | undefined {
  const at = args.findIndex(
    (each, i) => isFree(each) || !(each.startsWith("-") || VALUED[name]?.includes(args[i - 1] ?? "")),
  );
  // Without any argument it reads its program from the standard input, where the client's messages come in.
  if (at < 0) return args.length === 0 ? `has ${name} read its program from whoever connects` : undefined;
  return isFree(args[at] ?? "") && !isOfFolder(args[at] ?? "")
    ? `lets ${name} run whatever the resource says, which is arbitrary code`
    : undefined;
}

/** A script of a folder that the rule names: what is in it is the host's. */
const isOfFolder = (argument: string): boolean => /^\/.+\/[^/]*$/.test(argument) && !isRest(argument);

function freeProgram(name: string, args: readonly string[]): string | undefined {
  const open = args.findIndex(isFree);
  if (open < 0) return undefined;
  const named = args.findIndex((each, i) => isProgram(each, args[i - 1] ?? ""));
  if (named < 0 || open < named) return startsAnything(name);
  // Which of the words is the program depends on the starter's own options: each may be it.
  for (let i = named; i < open; i++) {
    const inner = arbitraryCode(args.slice(i));
    if (inner !== undefined) return inner;
  }
  return undefined;
}

const startsAnything = (name: string): string =>
  `lets ${name} start whatever the resource says, which is arbitrary code`;

/** Not an option, nor what may be its value, nor a variable, nor a number. */
const isProgram = (argument: string, before: string): boolean =>
  !isFree(argument) && (argument.startsWith("/") || (!before.startsWith("-") && !/^(-|\d|\w+=)/.test(argument)));

function freePackage(name: string, args: readonly string[]): string | undefined {
  for (const argument of args) {
    if (mayBeOption(argument)) return runsAnyPackage(name);
    if (argument.startsWith("-")) continue;
    // The owner of an npm scope decides what is in it; a name without one is for anybody to take.
    const [, scope, own = argument] = /^(@[^/]*\/)?([^@]*)/.exec(argument) ?? [];
    const named = scope === undefined ? !isFree(own) : !isFree(scope);
    if (!named) return `lets ${name} run packages that anybody may publish, which is arbitrary code`;
    const behind = args.includes("--") ? args.slice(0, args.indexOf("--")) : args;
    return LATE_OPTIONS.includes(name) && behind.some(mayBeOption) ? runsAnyPackage(name) : undefined;
  }
  return undefined;
}

const runsAnyPackage = (name: string): string => `lets ${name} run any package, which is arbitrary code`;

function freeContainer(name: string, args: readonly string[]): string | undefined {
  const options = `lets the resource choose options of ${name}, with which a container gets hold of its host`;
  const at = args.indexOf("run");
  const open = args.findIndex(isFree);
  if (open < 0) return undefined;
  if (at < 0 || open < at) return options;
  const given = args.slice(at + 1);
  let loose: string | undefined;
  for (let i = 0; i < given.length; i++) {
    const argument = given[i] ?? "";
    if (argument.startsWith("-") && !isRest(argument)) {
      const value = argument.includes("=") || ENGINE_FLAGS.test(argument) ? argument : (given[++i] ?? "");
      if (isFree(argument) || isRest(value)) return options;
      const plain = /^(-e|--env|--name|-l|--label|-h|--hostname)$/.test(argument);
      if (isFree(value) && !plain) return options;
      if (UNCONTAINED.test(argument) || UNCONTAINED.test(`${argument}=${value}`) || sharesHost(value))
        loose ??= argument;
      continue;
    }
    if (isRest(argument)) return options;
    const anybody = isFree(argument.split("/")[0] ?? "");
    if (anybody) return `lets ${name} run images that anybody may publish`;
    if (loose === undefined) return undefined;
    if (isFree(argument)) return `lets ${name} run more than one image with ${loose}, which gives it hold of the host`;
    return given.slice(i + 1).some(isFree)
      ? `lets the resource choose what a container with ${loose} does, which has hold of the host`
      : undefined;
  }
  return undefined;
}

/** Whether the value of `-v` or `--mount`, or the option with it, hands over what is the whole host's. */
function sharesHost(value: string): boolean {
  const [source = ""] = value.replace(/^-[\w-]*=/, "").split(":");
  const mount = /(?:^|[=,])(?:src|source)=([^,]*)/.exec(value)?.[1];
  return (
    value.includes("docker.sock") || [source, mount].some((path) => path && HOST_FOLDER.test(posix.normalize(path)))
  );
}
