/**
 * The proxy's store, in a thread of its own: SQLite's calls return when the disk has the data, which takes milliseconds, and
 * the main thread is the relay's. Statements of Kysely go there one by one and in order; whole jobs (`store-jobs.ts`), such as
 * storing a batch of audit events, are done there.
 */
import {
  type CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  Kysely,
  type QueryResult,
  CompiledQuery as Raw,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from "kysely";
import type { Ingested } from "../audit/ingest.ts";
import { Failure, type FailureJson } from "../errors.ts";
import type { Store } from "../store/store.ts";
import type { Tables } from "../store/tables.ts";
import type { JobName, RunJob } from "./store-jobs.ts";

export type ToStoreThread = { id: number } & (
  | { t: "open"; path: string }
  | { t: "query"; sql: string; parameters: readonly unknown[] }
  | { t: "job"; name: JobName; given: unknown }
  | { t: "ping" }
  | { t: "close" }
);

export type FromStoreThread =
  | { id: number; value: unknown }
  | { id: number; error: { failure: FailureJson } | { message: string; code?: string } };

export interface StoreThread {
  /** Use it like any other store. `destroy()` ends the thread. */
  store: Store;
  /** Resolves when what the job wrote is on the disk. */
  run: RunJob;
  /** `ingest` of `audit/ingest.ts`, of lines with line feeds between them. They go to the thread: nothing is left of them here. */
  ingest(agentId: string, lines: Uint8Array, now: number): Promise<Ingested>;
  /** Resolves once the thread has done what it was asked before: it is alive. */
  alive(): Promise<unknown>;
  /** Rejects when the thread died; what was under way is rejected too. */
  failed: Promise<never>;
}

/** As `openStore`, in a new thread. */
export async function openStoreThread(path: string): Promise<StoreThread> {
  const thread = new Thread();
  try {
    await thread.ask({ t: "open", path });
  } catch (error) {
    thread.end();
    throw error;
  }
  const store = new Kysely<Tables>({ dialect: dialect(thread) });
  // the one connection is held meanwhile: no transaction of the main thread's is open around it
  const job = (name: JobName, given: unknown, own: ArrayBufferLike[] = []) =>
    store.connection().execute(() => thread.ask({ t: "job", name, given }, own));
  return {
    store,
    run: job as RunJob,
    ingest(agentId, given, now) {
      const lines = alone(given);
      return job("ingest", { agentId, lines, now }, [lines.buffer]) as ReturnType<StoreThread["ingest"]>;
    },
    alive: () => thread.ask({ t: "ping" }),
    failed: thread.failed,
  };
}

/** With memory of their own: what lies in a pool can't be given away. */
const alone = (bytes: Uint8Array): Uint8Array => (bytes.buffer.byteLength === bytes.byteLength ? bytes : bytes.slice());

/** In a compiled binary the bundles lie as the sources do, and this file is in main's. */
function workerUrl(): URL {
  const compiled =
    /^file:\/\/\/(\$bunfs|[A-Z]:\/~BUN)\//i.test(import.meta.url) || import.meta.url.startsWith("/$bunfs/");
  return new URL(compiled ? "./proxy/store-worker.ts" : "./store-worker.ts", import.meta.url);
}

type Unsent = ToStoreThread extends infer M ? (M extends { id: number } ? Omit<M, "id"> : never) : never;

class Thread {
  readonly failed: Promise<never>;
  readonly #worker = new Worker(workerUrl().href);
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #next = 1;
  #dead: Failure | undefined;

  constructor() {
    const failed = Promise.withResolvers<never>();
    failed.promise.catch(() => {});
    this.failed = failed.promise;
    const die = (reason: string) => {
      if (this.#dead !== undefined) return;
      this.#dead = new Failure("internal", `the store's thread ended: ${reason}`);
      for (const { reject } of this.#waiting.values()) reject(this.#dead);
      this.#waiting.clear();
      failed.reject(this.#dead);
    };
    this.#worker.onerror = (event) => die(event.message);
    this.#worker.addEventListener("close", () => die("it was closed"));
    this.#worker.onmessage = (event: MessageEvent<FromStoreThread>) => {
      const answer = event.data;
      const waiting = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      if ("error" in answer) waiting?.reject(thrown(answer.error));
      else waiting?.resolve(answer.value);
    };
  }

  /** `own`: what goes to the thread instead of being copied. */
  ask(message: Unsent, own: ArrayBufferLike[] = []): Promise<unknown> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead);
    const id = this.#next++;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(id, waiting);
    this.#worker.postMessage({ ...message, id } satisfies ToStoreThread, own as ArrayBuffer[]);
    return waiting.promise;
  }

  end(): void {
    this.#dead ??= new Failure("unavailable", "the store is closed");
    this.#worker.terminate();
  }
}

function thrown(error: Extract<FromStoreThread, { error: unknown }>["error"]): Error {
  if ("failure" in error) return Failure.fromJSON(error.failure);
  return Object.assign(new Error(error.message), error.code === undefined ? {} : { code: error.code });
}

function dialect(thread: Thread): Dialect {
  return {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => new ThreadDriver(thread),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  };
}

/** One connection, which Kysely gives to one user at a time: the adapter says that there is no other. */
class ThreadDriver implements Driver {
  readonly #thread: Thread;
  readonly #connection: DatabaseConnection;

  constructor(thread: Thread) {
    this.#thread = thread;
    this.#connection = {
      executeQuery: <R>(query: CompiledQuery) => execute<R>(thread, query),
      // biome-ignore lint/correctness/useYield: nothing streams; pages do
      async *streamQuery() {
        throw new Error("the store does not stream");
      },
    };
  }

  async init(): Promise<void> {}

  acquireConnection(): Promise<DatabaseConnection> {
    return Promise.resolve(this.#connection);
  }

  async beginTransaction(): Promise<void> {
    await execute(this.#thread, Raw.raw("begin"));
  }

  async commitTransaction(): Promise<void> {
    await execute(this.#thread, Raw.raw("commit"));
  }

  async rollbackTransaction(): Promise<void> {
    await execute(this.#thread, Raw.raw("rollback"));
  }

  async releaseConnection(): Promise<void> {}

  async destroy(): Promise<void> {
    await this.#thread.ask({ t: "close" });
    this.#thread.end();
  }
}

async function execute<R>(thread: Thread, { sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
  const answer = (await thread.ask({ t: "query", sql, parameters })) as
    | { rows: R[] }
    | { changes: number | bigint; lastInsertRowid: number | bigint };
  if ("rows" in answer) return answer;
  return { insertId: BigInt(answer.lastInsertRowid), numAffectedRows: BigInt(answer.changes), rows: [] };
}
