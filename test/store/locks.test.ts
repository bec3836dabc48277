import { afterEach, beforeEach, expect, test } from "bun:test";
import type { LockSpec } from "../../src/rbac/lock.ts";
import { activeLocks, getLock, putLock, removeLock } from "../../src/store/locks.ts";
import { policyRevision } from "../../src/store/meta.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";

const now = Date.UTC(2026, 10, 23);
let store: Store;
beforeEach(async () => {
  store = await openStore(":memory:", { now: () => now });
});
afterEach(() => store.destroy());

const spec = (more: Partial<LockSpec> = {}): LockSpec => ({
  name: undefined,
  kind: "user",
  target: "alice",
  message: "",
  expiresAt: undefined,
  ...more,
});
const put = (lock: LockSpec, replace = false, at = now) =>
  putLock(store, lock, { replace, createdBy: "uid:0", now: at });

test("made, replaced, removed; every change moves the policy's revision", async () => {
  const before = await policyRevision(store);
  const { lock } = await put(spec());
  expect(lock).toMatchObject({ name: expect.stringMatching(/^[0-9a-f-]{36}$/), createdAt: now, createdBy: "uid:0" });
  await put(spec({ name: "b", kind: "role", target: "dev" }), false, now + 1);
  await expect(put(spec({ name: "b" }))).rejects.toMatchObject({ code: "already_exists" });
  expect((await put(spec({ name: "b", message: "why" }), true)).created).toBe(false);
  expect((await getLock(store, "b", now)).message).toBe("why");
  expect(await removeLock(store, "b")).toMatchObject({ name: "b" });
  await expect(removeLock(store, "b")).rejects.toMatchObject({ code: "not_found" });
  await expect(getLock(store, "b", now)).rejects.toMatchObject({ code: "not_found" });
  expect(await activeLocks(store, now)).toEqual([lock]);
  expect(await policyRevision(store)).toBe(before + 4);
});

test("a lock ends with its time", async () => {
  await put(spec({ name: "short", expiresAt: now + 1000 }));
  expect((await activeLocks(store, now + 999)).map(({ name }) => name)).toEqual(["short"]);
  expect(await activeLocks(store, now + 1000)).toEqual([]);
  // its name is free then
  expect((await put(spec({ name: "short" }), false, now + 1000)).created).toBe(true);
});
