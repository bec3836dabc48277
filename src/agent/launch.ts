/**
 * What a server starts with: its environment, and the orders that the agent hands to the exec helper.
 *
 * The environment is made from nothing. `HOME`, `USER`, `LOGNAME`, `SHELL` come from the host user's account, `PATH` is
 * `DEFAULT_PATH`, `LANG` and `TZ` come from the agent, and the app's own `env` is laid over them. An agent that isn't
 * root starts servers as the very user that it is, so there the agent's own `PATH` (where that user's `npx` is) stands
 * in for the default. Nothing else is inherited: no `BUN_*`, `LD_*`, `NODE_OPTIONS`, no secret of the agent's.
 */
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { Failure } from "../errors.ts";
import type { HostUser } from "./host-user.ts";

/** Where a bare command is looked up, unless the app's `env` has a `PATH` of its own. */
export const DEFAULT_PATH =
  process.platform === "darwin"
    ? "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** All that a server may get of the agent's own environment (and `PATH`, only where no user is switched). */
export const INHERITED: readonly string[] =
  process.platform === "win32"
    ? ["SystemRoot", "ComSpec", "PATHEXT", "TEMP", "TMP", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "LANG", "TZ"]
    : ["LANG", "TZ"];

export type Environment = Record<string, string>;

export interface EnvironmentOptions {
  user: HostUser;
  /** Whether the server runs as another user than the agent (or as root by order). */
  switching: boolean;
  /** The app's own `env`. */
  given?: Environment | undefined;
  /** The agent's environment. */
  inherited?: Record<string, string | undefined> | undefined;
}

/** The server's whole environment. Failure `config` for a name or value that no environment can hold. */
export function serverEnvironment(o: EnvironmentOptions): Environment {
  const inherited = o.inherited ?? process.env;
  const env: Environment = {
    HOME: o.user.home,
    USER: o.user.name,
    LOGNAME: o.user.name,
    SHELL: o.user.shell,
    PATH: (o.switching ? undefined : inherited.PATH) || DEFAULT_PATH,
    LANG: "C.UTF-8",
  };
  for (const name of INHERITED) {
    const value = inherited[name];
    if (value) env[name] = value;
  }
  for (const [name, value] of Object.entries(o.given ?? {})) {
    if (!/^[^=\0]+$/.test(name) || value.includes("\0")) {
      // The value may be a secret: only the name is told.
      throw new Failure("config", `mcp.env: ${JSON.stringify(name)} is not a variable that an environment can hold`, {
        hint: "names have no =, and neither names nor values a zero byte",
      });
    }
    env[name] = value;
  }
  return env;
}

/** What the agent tells the exec helper, over a pipe. */
export interface Orders {
  v: 1;
  /** The helper ends if this isn't its parent any more. */
  agentPid: number;
  command: string;
  args: string[];
  env: Environment;
  /** Where the app says so; it must be there then. Otherwise `home`, or `/` where that can't be entered. */
  cwd: string | undefined;
  home: string;
  /** Resource and limit, for setrlimit(2); besides those that every server gets. */
  rlimits?: [resource: number, limit: number][] | undefined;
  /** There are limits on its control group: it has to be in it. */
  grouped?: boolean | undefined;
  /** Whom to become; `undefined`: stay. */
  switchTo: { name: string; uid: number; gid: number } | undefined;
}

/** What the helper tells the agent; end of file after `exec` means that the server runs. */
export type Report = { at: "exec"; ungrouped?: string } | { at: "failed"; step: Step; code: string; detail: string };

export type Step = "orders" | "session" | "user" | "cwd" | "find" | "exec";

export type Found = { path: string } | { fault: "not_found" | "not_executable"; path: string };

/**
 * Looks a command up as the user that this process is: a bare name in `path` (empty and relative entries are skipped,
 * they would mean the working directory), one with a slash as it stands.
 */
export function findCommand(command: string, path: string): Found {
  if (command.includes("/")) return look(command);
  let best: Found = { fault: "not_found", path: command };
  for (const folder of path.split(":")) {
    if (!isAbsolute(folder)) continue;
    const found = look(join(folder, command));
    if ("path" in found && !("fault" in found)) return found;
    // One that merely lies behind a folder that can't be entered may not be there at all.
    if ("fault" in found && found.fault === "not_executable" && existsSync(found.path)) best = found;
  }
  return best;
}

function look(path: string): Found {
  try {
    if (!statSync(path).isFile()) return { fault: "not_executable", path };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return { fault: code === "EACCES" ? "not_executable" : "not_found", path };
  }
  try {
    accessSync(path, constants.X_OK);
    return { path };
  } catch {
    return { fault: "not_executable", path };
  }
}

/** A report of the helper as what a person reads. Never holds a value of the environment, nor an argument. */
export function startFailure(report: Extract<Report, { at: "failed" }>, orders: Orders): Failure {
  const { command, env } = orders;
  const user = env.USER ?? "";
  const as = orders.switchTo === undefined ? "" : `sudo -u ${user} `;
  const fail = (message: string, hint: string): Failure => new Failure("start_failed", message, { hint });
  switch (report.step) {
    case "find":
      if (report.code === "not_executable") {
        return fail(
          `command "${command}" can't be executed by host user ${user}: ${report.detail}`,
          `see its owner and mode: ls -l ${report.detail}`,
        );
      }
      return command.includes("/")
        ? fail(`command "${command}" doesn't exist`, `see what is there: ${as}ls -l ${command}`)
        : fail(
            `command "${command}" isn't in the PATH of host user ${user} (${env.PATH})`,
            "install it there, give its absolute path as mcp.command, or set PATH in mcp.env",
          );
    case "exec":
      if (report.code === "ENOEXEC") {
        return fail(
          `command "${command}" is neither a program for this machine nor a script with an interpreter: ${report.detail}`,
          `a script's first line names its interpreter, such as #!/bin/sh: head -n 1 ${report.detail}`,
        );
      }
      if (report.code === "ENOENT") {
        return fail(
          `command "${command}" needs an interpreter that isn't there: ${report.detail}`,
          `look at its first line (also for a carriage return at its end): head -n 1 ${report.detail} | od -c`,
        );
      }
      if (report.code === "E2BIG") {
        return fail(`arguments and environment of "${command}" are too large`, "make mcp.args or mcp.env smaller");
      }
      return fail(
        `command "${command}" can't be executed by host user ${user}: ${report.code} ${report.detail}`,
        `try it there: ${as}${report.detail} --version`,
      );
    case "cwd":
      return fail(
        `host user ${user} can't enter the working directory ${report.detail} (${report.code})`,
        `see its owner and mode: ls -ld ${report.detail}`,
      );
    case "user":
      return fail(
        `can't become host user ${user}: ${report.detail} (${report.code})`,
        "the agent has to run as root, with CAP_SETUID and CAP_SETGID, to start servers as other users",
      );
    default:
      return fail(
        `the exec helper couldn't start "${command}": ${report.detail} (${report.code})`,
        "look at the agent's log; a container or a sandbox around the agent may forbid it",
      );
  }
}
