/**
 * One process for each data directory. The lock is SQLite's own on an empty database (`BEGIN EXCLUSIVE`): the kernel drops
 * it with the process, however that ends; a child does not inherit it; and it works alike on Linux (glibc and musl), macOS and
 * Windows, with no binding of ours to the C library. Nothing may open the file `lock` but SQLite: closing any other
 * descriptor of it would drop the lock (POSIX). The holder's process id lies beside it, in `lock.pid`.
 */
import { constants, Database } from "bun:sqlite";
import { readFileSync, realpathSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../errors.ts";
import { openPrivateDirectory, writeSecretFile } from "./files.ts";

/** SQLite's, and not among Bun's constants: no part of the path may be a symbolic link. */
const SQLITE_OPEN_NOFOLLOW = 0x01000000;

/** A database that nobody refers to is collected, and its lock with it. */
const held = new Set<Database>();

export interface DirectoryLock {
  /** Lets the next process in; a second call does nothing. */
  release(): void;
}

/**
 * Locks a data directory, made 0700 where it is missing, for as long as this process lives. Throws `Failure("data_dir")`
 * at once when another process holds it.
 */
export function lockDirectory(directory: string): DirectoryLock {
  openPrivateDirectory(directory);
  const path = realpathSync(directory);
  const database = open(path);
  try {
    database.run("PRAGMA busy_timeout = 0");
    database.run("BEGIN EXCLUSIVE");
    writeSecretFile(join(path, "lock.pid"), `${process.pid}\n`);
  } catch (cause) {
    database.close();
    if (cause instanceof Failure) throw cause;
    throw isBusy(cause) ? inUse(path) : unlockable(path, cause);
  }
  held.add(database);
  return {
    release() {
      if (!held.delete(database)) return;
      rmSync(join(path, "lock.pid"), { force: true });
      database.close();
    },
  };
}

function open(path: string): Database {
  const umask = process.umask(0o077);
  try {
    const { SQLITE_OPEN_READWRITE, SQLITE_OPEN_CREATE } = constants;
    return new Database(join(path, "lock"), SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW);
  } catch (cause) {
    throw unlockable(path, cause);
  } finally {
    process.umask(umask);
  }
}

const isBusy = (error: unknown): boolean => /^SQLITE_BUSY/.test(String((error as { code?: unknown }).code));

function inUse(path: string): Failure {
  const pid = holder(path);
  return new Failure("data_dir", `another mcpgate${pid === undefined ? "" : ` (pid ${pid})`} uses ${path}`, {
    hint:
      pid === undefined
        ? "stop it first, or choose another data_dir"
        : `stop it first: kill ${pid}, or systemctl stop mcpgate where systemd runs it`,
  });
}

/** `lock.pid` of a process that was killed may be stale for the moment between two holders: it only serves the hint. */
function holder(path: string): number | undefined {
  try {
    const pid = Number(readFileSync(join(path, "lock.pid"), "utf8"));
    return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

function unlockable(path: string, cause: unknown): Failure {
  return new Failure("data_dir", `can't lock ${path}: ${cause instanceof Error ? cause.message : String(cause)}`, {
    hint: "choose a data_dir on a local file system that this user may write",
    cause,
  });
}
