/** Disk space, inodes, and who else may read or write what should be one user's alone. */
import { existsSync, lstatSync, readdirSync, type Stats, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Finding, type Part, report } from "./finding.ts";

/** As statfs(2) says. */
export interface Space {
  bsize: number;
  blocks: number;
  /** For users who are not root. */
  bavail: number;
  /** Inodes; 0 where the file system does not count them. */
  files: number;
  ffree: number;
}

const MIB = 1024 * 1024;
/** Below these it is full soon, and below those it is full: bytes and share of the whole. */
const LOW = { bytes: 1024 * MIB, share: 0.05 };
const FULL_BYTES = 64 * MIB;
const FULL_INODES = 100;

/** `needed`: bytes that may come to lie there. */
export async function checkSpace(
  part: Part,
  directory: string,
  statfs: (path: string) => Promise<Space>,
  needed = 0,
): Promise<Finding[]> {
  const say = { disk: report(part, "disk"), inodes: report(part, "inodes") };
  const at = existing(directory);
  const { bsize, blocks, bavail, files, ffree } = await statfs(at);
  const free = bsize * bavail;
  const [who, shown] = [`the file system of ${directory}`, size(free)];
  const clean = `df -h '${at}'; sudo du -xsh '${at}'/* | sort -h`;
  const least = Math.max(Math.min(LOW.bytes, LOW.share * bsize * blocks), needed);
  const disk =
    free < FULL_BYTES
      ? say.disk.fail(`${who} is full: ${shown} left`, clean)
      : free < least
        ? say.disk.warn(
            `${who} has only ${shown} left${needed > free ? `, and ${size(needed)} may be needed` : ""}`,
            clean,
          )
        : say.disk.ok(`${who} has ${shown} left`);
  if (files === 0) return [disk];
  const fix = `df -i '${at}'`;
  const inodes =
    ffree < FULL_INODES
      ? say.inodes.fail(`${who} has ${ffree} inodes left`, fix)
      : ffree < LOW.share * files
        ? say.inodes.warn(`${who} has only ${ffree} of ${files} inodes left`, fix)
        : say.inodes.ok(`${ffree} of ${files} are free`);
  return [disk, inodes];
}

/** The directory, or the nearest above it that is there. */
function existing(directory: string): string {
  for (let at = directory; ; at = dirname(at)) if (existsSync(at) || at === dirname(at)) return at;
}

const size = (bytes: number): string =>
  bytes >= 10 * 1024 * MIB ? `${Math.round(bytes / 1024 / MIB)} GiB` : `${Math.round(bytes / MIB)} MiB`;

/** What group and others may do to it at the most: nothing, read, or enter and list. */
export type Allowed = "nothing" | "read";

/**
 * One finding for all paths that others may read or write, or that belong to somebody else than this user or root; a path
 * that is not there is nobody's. On Windows modes mean nothing.
 */
export function checkModes(part: Part, paths: [path: string, allowed: Allowed][], uid: number): Finding[] {
  const say = report(part, "permissions");
  if (process.platform === "win32") return [];
  const wrong: Finding[] = [];
  let seen = 0;
  for (const [path, allowed] of paths) {
    const stats = lookAt(path);
    if (stats === undefined) continue;
    if (stats === "hidden") {
      wrong.push(
        say.fail(
          `${path} can't be looked at by this user`,
          "run it as the service's user or as root: sudo mcpgate doctor",
        ),
      );
      continue;
    }
    seen += 1;
    if (stats.isSymbolicLink()) wrong.push(say.fail(`${path} is a symbolic link`, `ls -l '${path}'`));
    else if (stats.uid !== 0 && uid !== 0 && stats.uid !== uid) {
      wrong.push(say.fail(`${path} belongs to another user (uid ${stats.uid})`, `ls -ld '${path}'`));
    } else {
      const more = stats.mode & (allowed === "nothing" ? 0o077 : 0o022);
      if (more === 0) continue;
      const can = (more & 0o022) !== 0 ? "write" : "read";
      const mode = allowed === "read" ? "go-w" : stats.isDirectory() ? "700" : "600";
      wrong.push(say.fail(`other users may ${can} ${path}`, `chmod ${mode} '${path}'`));
    }
  }
  return wrong.length > 0 || seen === 0 ? wrong : [say.ok("nobody else gets at the secrets")];
}

/**
 * What is there; of a link to a directory, the directory: the data of a service with an account of systemd's making
 * (`DynamicUser=`) lies behind one. Nobody but who may write the link's own directory can put it elsewhere.
 */
function lookAt(path: string): Stats | "hidden" | undefined {
  try {
    const stats = lstatSync(path);
    const target = stats.isSymbolicLink() ? statSync(path) : stats;
    return target.isDirectory() ? target : stats;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === "ENOENT" || code === "ENOTDIR" ? undefined : "hidden";
  }
}

/** Bytes of the files in a directory; undefined where it can't be read. */
export function bytesIn(directory: string): number | undefined {
  try {
    return readdirSync(directory).reduce((sum, name) => sum + lstatSync(join(directory, name)).size, 0);
  } catch {
    return undefined;
  }
}
