import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ingest } from "../../src/audit/ingest.ts";
import { newestEvents, recordEvents } from "../../src/audit/store.ts";
import { openStoreThread, type StoreThread } from "../../src/proxy/store-thread.ts";
import { listRoles } from "../../src/store/roles.ts";
import { inTransaction } from "../../src/store/store.ts";
import { addUser, listUsers } from "../../src/store/users.ts";
import { TestLog } from "../audit/log.ts";

// No `expect(…).rejects` here: Bun's waits in an event loop within the event loop, where another thread's messages don't come.

let dir: string;
let thread: StoreThread;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "mcpgate-thread-"));
  thread = await openStoreThread(join(dir, "mcpgate.db"));
});
afterEach(async () => {
  await thread.store.destroy();
  rmSync(dir, { recursive: true });
});

test("it is a store like any other: migrated, seeded, with transactions that roll back", async () => {
  const { store } = thread;
  expect((await listRoles(store)).length).toBeGreaterThan(0);
  await addUser(store, { name: "alice", roles: ["mcp-user"], now: 1 });
  const undone = inTransaction(store, async (tx) => {
    await recordEvents(tx, [{ event: "user.login", user: "alice" }], 1);
    throw new Error("no");
  });
  expect(await undone.catch(String)).toContain("no");
  expect((await newestEvents(store, {}, { limit: 9 })).events).toEqual([]);
  expect((await listUsers(store)).map(({ name }) => name)).toEqual(["alice"]);
  const again = await addUser(store, { name: "alice", roles: ["mcp-user"], now: 1 }).catch((error: unknown) => error);
  expect(again).toMatchObject({ code: "already_exists" });
});

test("what SQLite says is wrong is said here", async () => {
  const row = { key: "k", value: "1" };
  await thread.store.insertInto("meta").values(row).execute();
  const again = await thread.store.insertInto("meta").values(row).execute().catch(String);
  expect(again).toContain("UNIQUE constraint failed");
});

test("batches of events go in between the main thread's transactions, whole", async () => {
  const log = await TestLog.make(thread.store);
  const agent = await log.agent("a");
  await agent.boot();
  const { chainLines } = await import("../../src/audit/chain.ts");
  const { newUid } = await import("../../src/audit/uid.ts");
  const batches = Array.from({ length: 20 }, () => {
    const drafts = Array.from({ length: 10 }, () => ({ uid: newUid(), time: log.time(), v: 1, ...agent.event() }));
    const { lines, end } = chainLines(drafts as never, agent.end);
    agent.end = end;
    return lines;
  });
  const stored = batches.map((lines) => thread.ingest(agent.id, new TextEncoder().encode(lines.join("\n")), log.now));
  const own = Array.from({ length: 20 }, () => log.own(1));
  const results = await Promise.all(stored);
  await Promise.all(own);
  expect(results.every((result) => result.stored === 10 && result.invalid === 0)).toBe(true);
  await agent.sign();
  await log.seal();
  expect(await log.verify()).toMatchObject({ found: [], problems: 0 });
  expect(await ingest(thread.store, agent.id, batches[3] ?? [], log.now)).toEqual({ stored: 0, invalid: 0 });
});

test("a database that can't be opened is a failure with its reason, and leaves no thread", async () => {
  const path = join(dir, "no.db");
  writeFileSync(path, "this is no database, and long enough for SQLite to see that".repeat(50), { mode: 0o600 });
  expect(await openStoreThread(path).catch((error: unknown) => error)).toMatchObject({ code: "data_dir" });
});
