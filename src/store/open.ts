/** Opens the store: one SQLite file, its tables up to date, the preset roles in place. */
import { Database } from "bun:sqlite";
import { closeSync, fstatSync, openSync } from "node:fs";
import { Kysely, SqliteDialect } from "kysely";
import { Migrator } from "kysely/migration";
import { Failure, messageOf } from "../errors.ts";
import { migrations } from "./migrations.ts";
import { seedPresets } from "./roles.ts";
import { kyselyDatabase } from "./sqlite.ts";
import type { Store } from "./store.ts";
import type { Tables } from "./tables.ts";

/**
 * `path`: the database file (made 0600 when it is new; its directory must be there) or `:memory:`. One process at a
 * time: the data directory's lock sees to that. Throws `Failure("data_dir")` when it is no database, is damaged or was
 * written by a newer release, `permissions` when other users have access to it.
 */
export async function openStore(path: string, o: { now?: () => number } = {}): Promise<Store> {
  return (await openDatabase(path, o)).store;
}

/** The same, and the connection beneath it: the thread that the proxy's store runs in takes statements for it too. */
export async function openDatabase(
  path: string,
  o: { now?: () => number } = {},
): Promise<{ store: Store; database: Database }> {
  let database: Database;
  try {
    // SQLite gives the mode of the database to its `-wal` and `-shm` files
    if (path !== ":memory:") makePrivate(path);
    database = new Database(path, { create: true, readwrite: true });
  } catch (error) {
    throw notOpened(path, error);
  }
  const store = new Kysely<Tables>({ dialect: new SqliteDialect({ database: kyselyDatabase(database) }) });
  try {
    // a commit is on the disk when it returns: the proxy acknowledges audit events on the strength of it
    database.run("PRAGMA journal_mode = WAL");
    database.run("PRAGMA synchronous = FULL");
    database.run("PRAGMA foreign_keys = ON");
    // A statement of many rows would open a journal of its own in a file.
    database.run("PRAGMA temp_store = MEMORY");
    // The ends of nine B-trees change with every batch of events: a page that a checkpoint writes once in 16 MiB of log instead
    // of once in 4 is written a quarter as often.
    database.run("PRAGMA wal_autocheckpoint = 4096");
    database.run("PRAGMA cache_size = -8192");
    database.run("PRAGMA busy_timeout = 5000");
    const migrator = new Migrator({ db: store, provider: { getMigrations: async () => migrations } });
    const { error } = await migrator.migrateToLatest();
    if (error !== undefined) throw error;
    await seedPresets(store, (o.now ?? Date.now)());
  } catch (error) {
    database.close();
    throw notOpened(path, error);
  }
  return { store, database };
}

/** Makes the file 0600. One that others could read has been read, for all we know: it holds the cluster's keys. */
function makePrivate(path: string): void {
  const file = openSync(path, "a", 0o600);
  try {
    if ((fstatSync(file).mode & 0o077) === 0) return;
  } finally {
    closeSync(file);
  }
  throw new Failure("permissions", `${path} holds the cluster's keys and other users have access to it`, {
    hint: `chmod 600 '${path}'`,
  });
}

function notOpened(path: string, error: unknown): Failure {
  if (error instanceof Failure) return error;
  const reason = messageOf(error);
  const newer = /previously executed migration .* is missing/i.test(reason);
  return new Failure(
    "data_dir",
    newer ? `${path} was written by a newer mcpgate` : `${path} cannot be opened as the store: ${reason}`,
    {
      hint: newer
        ? "start the release that wrote it, or a later one"
        : "check the data directory, or restore it from a backup",
      cause: error,
    },
  );
}
