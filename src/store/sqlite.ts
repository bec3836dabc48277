/** `bun:sqlite` as the little of better-sqlite3 that Kysely's SqliteDialect needs. */
import type { Database, SQLQueryBindings } from "bun:sqlite";
import type { SqliteDatabase, SqliteStatement } from "kysely";

/** Integers come back as numbers: nothing in the store is over 2^53, and `changes` is counted in BigInt by Kysely. */
export function kyselyDatabase(database: Database): SqliteDatabase {
  return {
    close: () => database.close(),
    prepare: (sql) => statement(database, sql),
  };
}

function statement(database: Database, sql: string): SqliteStatement {
  // `query` keeps the twenty statements used last compiled, `prepare` would compile each one again
  const prepared = database.query<unknown, SQLQueryBindings[]>(sql);
  const bindings = (parameters: readonly unknown[]) => parameters as SQLQueryBindings[];
  return {
    reader: prepared.columnNames.length > 0,
    all: (parameters) => prepared.all(...bindings(parameters)),
    run: (parameters) => prepared.run(...bindings(parameters)),
    iterate: (parameters) => prepared.iterate(...bindings(parameters)),
  };
}
