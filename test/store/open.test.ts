import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { Failure } from "../../src/errors.ts";
import { bumpPolicyRevision, getMeta, policyRevision, setMeta } from "../../src/store/meta.ts";
import { openStore } from "../../src/store/open.ts";
import { listRoles, putRole, removeRole } from "../../src/store/roles.ts";
import { inTransaction } from "../../src/store/store.ts";

const dirs: string[] = [];
function makeDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "mcpgate-store-"));
  dirs.push(dir);
  return dir;
}
afterEach(() => {
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

test("a new store is private, durable, and has the preset roles", async () => {
  const dir = makeDir();
  const umask = process.umask(0);
  const store = await openStore(join(dir, "mcpgate.db")).finally(() => process.umask(umask));
  await setMeta(store, "a", "1");
  expect((await sql`pragma synchronous`.execute(store)).rows).toEqual([{ synchronous: 2 }]); // FULL
  expect((await sql`pragma foreign_keys`.execute(store)).rows).toEqual([{ foreign_keys: 1 }]);
  expect(readdirSync(dir).sort()).toEqual(["mcpgate.db", "mcpgate.db-shm", "mcpgate.db-wal"]);
  for (const file of readdirSync(dir)) expect(statSync(join(dir, file)).mode & 0o777).toBe(0o600);
  expect((await listRoles(store)).map((role) => role.name)).toEqual(["admin", "auditor", "mcp-user"]);
  await store.destroy();

  const file = new Database(join(dir, "mcpgate.db"), { readonly: true });
  expect(file.query("pragma journal_mode").get()).toEqual({ journal_mode: "wal" });
  file.close();
});

test("a store that others could read is refused, with the command that helps", async () => {
  const path = join(makeDir(), "mcpgate.db");
  await (await openStore(path)).destroy();
  chmodSync(path, 0o640);
  await expect(openStore(path)).rejects.toMatchObject({ code: "permissions", hint: `chmod 600 '${path}'` });
  chmodSync(path, 0o600);
  await (await openStore(path)).destroy();
});

test("what was stored is there after opening again, and presets that the admin changed stay changed", async () => {
  const path = join(makeDir(), "mcpgate.db");
  let store = await openStore(path);
  const changed = { kind: "role", version: "v8", metadata: { name: "mcp-user" }, spec: { allow: {} } };
  await putRole(store, changed, { replace: true, now: 5 });
  await store.destroy();
  store = await openStore(path);
  const role = (await listRoles(store)).find((r) => r.name === "mcp-user");
  expect(role).toEqual({ name: "mcp-user", document: changed, preset: true, updatedAt: 5 });
  await expect(removeRole(store, "mcp-user")).rejects.toThrow("preset");
  await store.destroy();
});

test("a file that is no database, and one of a newer release, are refused with a hint", async () => {
  const dir = makeDir();
  writeFileSync(join(dir, "not.db"), "x".repeat(5000), { mode: 0o600 });
  const refused = await openStore(join(dir, "not.db")).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(Failure);
  expect(refused).toMatchObject({ code: "data_dir", message: expect.stringContaining("not a database") });

  const path = join(dir, "newer.db");
  const store = await openStore(path);
  await store.destroy();
  const raw = new Database(path);
  raw.run("insert into kysely_migration(name, timestamp) values ('9999_later', '2030-01-01T00:00:00.000Z')");
  raw.close();
  await expect(openStore(path)).rejects.toMatchObject({
    code: "data_dir",
    message: `${path} was written by a newer mcpgate`,
  });

  await expect(openStore(join(dir, "missing", "x.db"))).rejects.toMatchObject({ code: "data_dir" });
});

test("a transaction is all or nothing, and work side by side does not get into it", async () => {
  const store = await openStore(":memory:");
  const gate = Promise.withResolvers<void>();
  const failing = inTransaction(store, async (tx) => {
    await setMeta(tx, "a", "in the transaction");
    await gate.promise;
    throw new Error("no");
  });
  const beside = setMeta(store, "b", "beside");
  gate.resolve();
  await expect(failing).rejects.toThrow("no");
  await beside;
  expect(await getMeta(store, "a")).toBeUndefined();
  expect(await getMeta(store, "b")).toBe("beside");
  await store.destroy();
});

test("the policy revision counts up, also from within a transaction", async () => {
  const store = await openStore(":memory:");
  const before = await policyRevision(store);
  await bumpPolicyRevision(store);
  await inTransaction(store, (tx) => bumpPolicyRevision(tx));
  expect(await policyRevision(store)).toBe(before + 2);
  await store.destroy();
});
