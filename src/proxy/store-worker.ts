/**
 * The thread that the proxy's store runs in: it alone has the database open. It takes one message at a time, in order:
 * statements of the main thread's Kysely (`store-thread.ts`), and whole jobs (`store-jobs.ts`).
 */
import type { Database } from "bun:sqlite";
import { Failure } from "../errors.ts";
import { openDatabase } from "../store/open.ts";
import { kyselyDatabase } from "../store/sqlite.ts";
import type { Store } from "../store/store.ts";
import { jobsHere } from "./store-jobs.ts";
import type { FromStoreThread, ToStoreThread } from "./store-thread.ts";

declare const self: Worker;

let opened: { store: Store; database: Database } | undefined;
let work: Promise<void> = Promise.resolve();

self.onmessage = (event: MessageEvent<ToStoreThread>) => {
  const message = event.data;
  work = work.then(async () => {
    try {
      self.postMessage({ id: message.id, value: await answer(message) } satisfies FromStoreThread);
    } catch (error) {
      self.postMessage({ id: message.id, error: told(error) } satisfies FromStoreThread);
    }
  });
};

function answer(message: ToStoreThread): unknown {
  if (message.t === "open") return open(message.path);
  if (opened === undefined) throw new Error("the store is not open");
  const { store, database } = opened;
  switch (message.t) {
    case "query": {
      const statement = kyselyDatabase(database).prepare(message.sql);
      if (statement.reader) return { rows: statement.all(message.parameters) };
      return statement.run(message.parameters);
    }
    case "job":
      return jobsHere(store)(message.name, message.given as never);
    case "ping":
      return undefined;
    case "close":
      opened = undefined;
      return store.destroy();
  }
}

async function open(path: string): Promise<void> {
  opened = await openDatabase(path);
}

function told(error: unknown): Extract<FromStoreThread, { error: unknown }>["error"] {
  if (error instanceof Failure) return { failure: error.toJSON() };
  const { message, code } = error as { message?: string; code?: string };
  return { message: message ?? String(error), ...(code === undefined ? {} : { code }) };
}
