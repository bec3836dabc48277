/**
 * Which rules of `app_service.allow_commands` let whoever writes app resources run whatever they like: an interpreter, a
 * program that starts others, or one that fetches packages or images, with something left open before it is certain what
 * runs. What follows a script or program that the rule names is that program's own business. A list of known names can
 * only ever warn: what isn't in it may be as bad.
 */
import { basename } from "node:path";
import type { CommandRule } from "./command-rule.ts";

const SHELLS = ["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "pwsh", "powershell", "cmd"];
const INTERPRETERS = [
  ...[
    "python",
    "pypy",
    "node",
    "nodejs",
    "bun",
    "deno",
    "tsx",
    "ts-node",
    "ruby",
    "irb",
    "perl",
    "php",
    "lua",
    "tclsh",
  ],
  ...["awk", "gawk", "mawk", "sed", "Rscript", "java", "jshell", "osascript", "wscript", "cscript", "expect", "gdb"],
  ...["make", "vi", "vim", "nvim", "ed", "emacs", "psql", "sqlite3", "git", "tar", "rsync", "curl", "wget", "openssl"],
];
/** Programs whose arguments are another program and its own. */
const STARTERS = [
  ...["env", "sudo", "doas", "runuser", "pkexec", "setpriv", "nsenter", "unshare", "capsh", "bwrap"],
  ...["nohup", "nice", "ionice", "chrt", "taskset", "timeout", "time", "stdbuf", "setsid", "strace", "ltrace", "xargs"],
  ...["systemd-run", "busybox", "toybox", "dbus-run-session", "ld.so", "ld-linux-x86-64.so", "xvfb-run", "firejail"],
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
  ],
];
const ENGINES = ["docker", "podman", "nerdctl", "finch"];
/** Of `docker run`, those without a value; all others take the next argument, unless they hold a `=`. */
const ENGINE_FLAGS =
  /^(-[itdPq]+|--(rm|init|interactive|tty|detach|privileged|read-only|publish-all|no-healthcheck|oom-kill-disable|quiet|sig-proxy))$/;
/** What a container may then do to its host. */
const UNCONTAINED = /^(--privileged|--(pid|ipc|uts|userns|cgroupns)=host|--cap-add.*|--device.*|--security-opt.*)$/;
const HOST_FOLDER = /^(\/:|\/(etc|usr|bin|root|home|boot|proc|sys|dev|var|run)\/?:)|docker\.sock/;
/** Commands by any name of these folders are all the system's. */
const SYSTEM_FOLDERS = /^\/(usr\/)?(local\/)?s?bin\/[^/]*\*/;

/** Why the rule is arbitrary code: the end of a sentence that begins with the rule. `undefined`: it isn't known to be. */
export function arbitraryCode(rule: CommandRule): string | undefined {
  const [command = "", ...args] = rule;
  if (SYSTEM_FOLDERS.test(command)) return "lets any program of the system run";
  const name = programName(command);
  const runner = RUNNERS.find(([first, ...rest]) => first === name && rest.every((word, i) => args[i] === word));
  if (runner !== undefined) return freePackage(runner.join(" "), args.slice(runner.length - 1));
  if (ENGINES.includes(name)) return freeContainer(name, args);
  if (SHELLS.includes(name)) return freeScript(name, args);
  if (INTERPRETERS.includes(name)) return freeScript(name, args);
  if (STARTERS.includes(name)) return freeProgram(name, args);
  if (LATE_STARTERS.includes(name) && args.some(isFree)) return startsAnything(name);
  return undefined;
}

/** `/usr/bin/python3.12` → `python`, `node.exe` → `node`. */
const programName = (command: string): string =>
  basename(command.replaceAll("\\", "/"))
    .replace(/\.(exe|cmd|bat)$/i, "")
    .replace(/(?<=[a-z])-?\d+(\.\d+)*$/i, "");

const isFree = (argument: string): boolean => argument.includes("*");
const isRest = (argument: string): boolean => argument === "**";

function freeScript(name: string, args: readonly string[]): string | undefined {
  const at = args.findIndex((each) => isFree(each) || !each.startsWith("-"));
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
    if (isRest(argument) || (argument.startsWith("-") && isFree(argument))) {
      return `lets ${name} run any package, which is arbitrary code`;
    }
    if (argument.startsWith("-")) continue;
    // The owner of an npm scope decides what is in it; a name without one is for anybody to take.
    const [, scope, own = argument] = /^(@[^/]*\/)?([^@]*)/.exec(argument) ?? [];
    const named = scope === undefined ? !isFree(own) : !isFree(scope);
    return named ? undefined : `lets ${name} run packages that anybody may publish, which is arbitrary code`;
  }
  return undefined;
}

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
      if (UNCONTAINED.test(argument) || HOST_FOLDER.test(value)) loose ??= argument;
      continue;
    }
    if (isRest(argument)) return options;
    const anybody = isFree(argument.split("/")[0] ?? "");
    if (anybody) return `lets ${name} run images that anybody may publish`;
    return isFree(argument) && loose !== undefined
      ? `lets ${name} run more than one image with ${loose}, which gives it hold of the host`
      : undefined;
  }
  return undefined;
}
