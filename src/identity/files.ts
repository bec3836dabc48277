/**
 * Files that hold secrets, and the directories they lie in: written whole or not at all, for this OS user alone, and refused
 * when somebody else could have read or planted them. On Windows the profile directory's access list does that work, and
 * modes are not looked at.
 */
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { Failure, messageOf } from "../errors.ts";

/** A secret file at the most, bytes. */
const MAX_SECRET = 1024 * 1024;
/** A temporary file older than this was left by a process that died, milliseconds. */
const STALE_MS = 60_000;
const { O_CREAT, O_EXCL, O_NOFOLLOW = 0, O_NONBLOCK = 0, O_RDONLY, O_WRONLY } = constants;
const hasModes = process.platform !== "win32";

/**
 * Writes `text` with mode 0600, durably and all at once: a reader, a crash or a loss of power sees the old text or the new
 * one. Missing directories are made 0700. A symbolic link at `path` is replaced, not followed. Throws
 * `Failure("permissions")` when others could swap the file, `Failure("data_dir")` when it can't be written.
 */
export function writeSecretFile(path: string, text: string): void {
  const target = resolve(path);
  const directory = dirname(target);
  makePrivate(directory);
  refuseForeign(directory, statSync(directory));
  const temporary = join(directory, `.${basename(target)}.${randomBytes(8).toString("hex")}.tmp`);
  try {
    removeStale(directory, basename(target));
    const fd = openSync(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      if (hasModes) fchmodSync(fd, 0o600); // whatever the umask
      writeFileSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, target);
    syncDirectory(directory);
  } catch (cause) {
    rmSync(temporary, { force: true });
    throw new Failure("data_dir", `can't write ${target}: ${messageOf(cause)}`, { cause });
  }
}

/**
 * The text of a secret file, or `undefined` when there is none. Throws `Failure("permissions")`, with the command that
 * mends it, when group or others have any access to it, when it belongs to somebody else than this user or root, when
 * others may write its directory, or when it is not a plain file.
 */
export function readSecretFile(path: string): string | undefined {
  const target = resolve(path);
  let fd: number;
  try {
    // NONBLOCK: a named pipe in its place must not hang us
    fd = openSync(target, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    if (code === "ELOOP") throw new Failure("permissions", `${target} is a symbolic link`, { hint: `rm '${target}'` });
    throw new Failure("permissions", `can't read ${target}: ${messageOf(cause)}`, { cause });
  }
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw new Failure("permissions", `${target} is not a plain file`);
    if (stats.size > MAX_SECRET) throw new Failure("permissions", `${target} is too long to be what it should be`);
    refuseShared(target, stats);
    refuseForeign(dirname(target), statSync(dirname(target)));
    return readFileSync(fd, "utf8");
  } finally {
    closeSync(fd);
  }
}

/**
 * Makes sure that `directory` is there and is this user's alone (0700). One of ours that group or others could only list
 * is tightened; one that they could write, with something in it, is refused: what lies there may not be ours. Throws
 * `Failure("permissions")` or `Failure("data_dir")`.
 */
export function openPrivateDirectory(directory: string): void {
  const path = resolve(directory);
  makePrivate(path);
  if (!hasModes) return;
  const stats = statSync(path);
  if ((stats.mode & 0o077) === 0 && isOurs(stats)) return;
  if ((stats.mode & 0o022) !== 0 && readdirSync(path).length > 0) refuseForeign(path, stats);
  try {
    chmodSync(path, 0o700);
  } catch (cause) {
    throw foreign(path, cause);
  }
}

/**
 * Makes the directory in which each service has one of its own (0700). Where it is root's, others pass through it: the
 * proxy may have an account of systemd's making, and host users read packages. One that is there stays as it is.
 */
export function makeDataDirectory(directory: string): void {
  if (process.getuid?.() !== 0) return;
  try {
    // after it: the umask may take away what they need
    if (mkdirSync(directory, { recursive: true, mode: 0o711 }) !== undefined) chmodSync(directory, 0o711);
  } catch {
    // whoever needs it says what is wrong with it
  }
}

function makePrivate(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new Failure("data_dir", `can't make the directory ${directory}: ${messageOf(cause)}`, {
      hint: "choose another with data_dir in the configuration (client: MCPGATE_HOME)",
      cause,
    });
  }
}

function refuseShared(path: string, stats: Stats): void {
  if (!hasModes) return;
  if (!isOurs(stats)) throw foreign(path);
  if ((stats.mode & 0o077) === 0) return;
  throw new Failure("permissions", `${path} holds a secret and other users have access to it`, {
    hint: `chmod 600 '${path}'`,
  });
}

/** Who may write a directory may put another file in the place of ours. */
function refuseForeign(directory: string, stats: Stats): void {
  if (!hasModes) return;
  if (!isOurs(stats)) throw foreign(directory);
  if ((stats.mode & 0o022) === 0) return;
  throw new Failure("permissions", `other users may write the directory ${directory}`, {
    hint: `chmod 700 '${directory}'`,
  });
}

const isOurs = (stats: Stats): boolean => stats.uid === 0 || stats.uid === process.getuid?.();

function foreign(path: string, cause?: unknown): Failure {
  return new Failure("permissions", `${path} belongs to another user`, {
    hint: "run mcpgate as the user it belongs to, or choose another directory",
    cause,
  });
}

/** Temporary files of writers that were killed half-way. */
function removeStale(directory: string, name: string): void {
  for (const entry of readdirSync(directory)) {
    if (!entry.startsWith(`.${name}.`) || !entry.endsWith(".tmp")) continue;
    const path = join(directory, entry);
    const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > STALE_MS) rmSync(path, { force: true });
  }
}

/** A rename is durable once its directory is. */
export function syncDirectory(directory: string): void {
  if (!hasModes) return; // Windows opens no directory
  const fd = openSync(directory, O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
