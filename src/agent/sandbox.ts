/**
 * A server in bubblewrap (bwrap(1)): the system's own programs and settings to read, what the app names, a `/tmp`, a home
 * and a process table of its own, no new privileges, and with `network: none` not even a loopback that is up. What isn't
 * named isn't there. Where it was asked for and can't be had, the server does not start.
 */
import { existsSync, lstatSync, readlinkSync, realpathSync } from "node:fs";
import type { Sandbox } from "../config/config.ts";
import { Failure } from "../errors.ts";

/** Not looked up in a PATH that an app might set. */
const PLACES = ["/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap"];
const SYSTEM = ["/usr", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt"];
/** Where /etc/resolv.conf leads to on some hosts. */
const RESOLVERS = ["/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager"];

export interface SandboxOptions {
  sandbox: Sandbox;
  command: string;
  args: readonly string[];
  home: string;
  cwd: string | undefined;
  /** Tests have hosts without it. */
  places?: readonly string[];
}

/** The command line that runs the command in a sandbox. Failure `start_failed` where the host has none to offer. */
export function sandboxed({ sandbox, command, args, home, cwd, places = PLACES }: SandboxOptions): {
  command: string;
  args: string[];
} {
  const bwrap = places.find((path) => existsSync(path));
  if (process.platform !== "linux" || bwrap === undefined) {
    throw new Failure("start_failed", "mcp.sandbox is asked for, and bubblewrap is not on this host", {
      hint: "install it: apt-get install bubblewrap, or dnf install bubblewrap",
    });
  }
  const own = privateHome(home, sandbox);
  const options = [
    // It dies with the first process in it, and all of it with the agent.
    ...["--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"],
    ...(sandbox.network === "none" ? ["--unshare-net"] : RESOLVERS.flatMap((path) => ["--ro-bind-try", path, path])),
    ...["--cap-drop", "ALL"],
    ...SYSTEM.flatMap(systemPath),
    ...["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--dir", "/var/tmp"],
    ...(own === undefined ? [] : ["--tmpfs", own]),
    ...sandbox.read.flatMap((path) => ["--ro-bind", path, path]),
    ...sandbox.write.flatMap((path) => ["--bind", path, path]),
    ...["--remount-ro", "/"],
    ...["--chdir", cwd ?? own ?? "/"],
  ];
  return { command: bwrap, args: [...options, "--", command, ...args] };
}

/**
 * For paths that come from the proxy. bwrap follows a path twice: on the host for what is mounted, and within the sandbox for
 * where. With a link in it that somebody could make there, the two may differ, and a file of theirs lie over a program. Failure
 * `start_failed` unless each is there under the very name that it has.
 */
export function requirePlainPaths({ read, write }: Sandbox): void {
  for (const path of [...read, ...write]) {
    const fault = faultOf(path);
    if (fault === undefined) continue;
    throw new Failure("start_failed", `mcp.sandbox names ${JSON.stringify(path)}, which ${fault}`, {
      hint: `an app resource names directories as they are, without links: realpath ${path}`,
    });
  }
}

function faultOf(path: string): string | undefined {
  try {
    return realpathSync(path) === path ? undefined : "is another name of something";
  } catch (error) {
    return `can't be had (${(error as NodeJS.ErrnoException).code})`;
  }
}

/** Modern systems have links from `/bin` into `/usr`. */
function systemPath(path: string): string[] {
  try {
    return lstatSync(path).isSymbolicLink() ? ["--symlink", readlinkSync(path), path] : ["--ro-bind", path, path];
  } catch {
    return [];
  }
}

/** An empty home, unless the user has none, or the app names it (or what is around it) itself. */
function privateHome(home: string, { read, write }: Sandbox): string | undefined {
  const within = (path: string): boolean => home === path || home.startsWith(path.endsWith("/") ? path : `${path}/`);
  if (home === "/" || [...SYSTEM, "/proc", "/dev", "/nonexistent"].some(within)) return undefined;
  return [...read, ...write].some(within) ? undefined : home;
}
