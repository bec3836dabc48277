import { afterEach, beforeEach, expect, test } from "bun:test";
import { addLogin, checkLogin, LOGIN_TTL, revokeLogins } from "../../src/store/logins.ts";
import { policyRevision } from "../../src/store/meta.ts";
import { openStore } from "../../src/store/open.ts";
import { loadSubject, putRole, removeRole } from "../../src/store/roles.ts";
import type { Store } from "../../src/store/store.ts";
import {
  acceptInvite,
  addInvite,
  addUser,
  checkInvite,
  getUser,
  INVITE_TTL,
  listUsers,
  passwordHash,
  removeUser,
  updateUser,
} from "../../src/store/users.ts";

let store: Store;
beforeEach(async () => {
  store = await openStore(":memory:");
});
afterEach(() => store.destroy());

const now = 1_000_000;
const add = (name: string, roles = ["mcp-user"]) => addUser(store, { name, roles, now });
const readOnly = {
  kind: "role",
  version: "v8",
  metadata: { name: "read-only" },
  spec: { allow: { app_labels: { "*": "*" }, mcp: { tools: ["get_*"] } } },
};

test("users keep the order of their roles, are unique, and begin without a password", async () => {
  await add("bob", ["auditor", "mcp-user", "auditor"]);
  await add("alice");
  expect(await listUsers(store)).toEqual([
    { name: "alice", roles: ["mcp-user"], traits: {}, active: false, createdAt: now },
    { name: "bob", roles: ["auditor", "mcp-user"], traits: {}, active: false, createdAt: now },
  ]);
  expect(await passwordHash(store, "bob")).toBeUndefined();
  await expect(add("bob")).rejects.toMatchObject({ code: "already_exists" });
  expect((await getUser(store, "bob")).roles).toEqual(["auditor", "mcp-user"]);
});

test("a role that is not there is refused, and nothing has changed", async () => {
  await expect(add("bob", ["mcp-user", "nope"])).rejects.toMatchObject({
    code: "invalid",
    message: "there is no role nope",
  });
  expect(await listUsers(store)).toEqual([]);
  await add("bob");
  const revision = await policyRevision(store);
  await expect(updateUser(store, "bob", { roles: ["nope"] })).rejects.toMatchObject({ code: "invalid" });
  await expect(updateUser(store, "bob", { roles: [] })).rejects.toMatchObject({ code: "invalid" });
  expect((await getUser(store, "bob")).roles).toEqual(["mcp-user"]);
  expect(await policyRevision(store)).toBe(revision);
  await updateUser(store, "bob", { roles: ["auditor"] });
  expect(await policyRevision(store)).toBe(revision + 1);
});

test("a role that users hold stays; one that nobody holds goes", async () => {
  await putRole(store, readOnly, { replace: false, now });
  await expect(putRole(store, readOnly, { replace: false, now })).rejects.toMatchObject({ code: "already_exists" });
  await add("bob", ["read-only"]);
  await expect(removeRole(store, "read-only")).rejects.toMatchObject({
    code: "conflict",
    message: "users hold the role read-only: bob",
  });
  expect((await loadSubject(store, "bob")).roles.map((role) => role.metadata.name)).toEqual(["read-only"]);
  await updateUser(store, "bob", { roles: ["mcp-user"] });
  await removeRole(store, "read-only");
  await expect(removeRole(store, "read-only")).rejects.toMatchObject({ code: "not_found" });
  await expect(loadSubject(store, "nobody")).rejects.toMatchObject({ code: "not_found" });
});

test("a role's document that cannot be read allows nothing, rather than being left out", async () => {
  await putRole(store, readOnly, { replace: false, now });
  await add("bob", ["mcp-user", "read-only"]);
  await store.updateTable("roles").set({ document: '{"kind":"role"}' }).where("name", "=", "read-only").execute();
  await expect(loadSubject(store, "bob")).rejects.toThrow();
});

test("traits are set one by one, and travel with the roles", async () => {
  await add("bob");
  const revision = await policyRevision(store);
  await updateUser(store, "bob", { traits: { team: ["data", "ops", "data"], none: [] } });
  const updated = await updateUser(store, "bob", { traits: { team: ["web"], unix_login: ["bob"] } });
  expect(updated.traits).toEqual({ team: ["web"], none: [], unix_login: ["bob"] });
  expect((await updateUser(store, "bob", { traits: { none: null } })).traits).toEqual({
    team: ["web"],
    unix_login: ["bob"],
  });
  expect(await policyRevision(store)).toBe(revision + 3);
  expect(await loadSubject(store, "bob")).toMatchObject({ name: "bob", traits: { team: ["web"] } });
  for (const traits of [{ "": ["a"] }, { a: [""] }, { a: ["x".repeat(257)] }, { a: ["\n"] }, { __proto__x: ["a"] }]) {
    await expect(updateUser(store, "bob", { traits })).rejects.toMatchObject({ code: "invalid" });
  }
  const many = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`t${i}`, ["x".repeat(256)]]));
  await expect(updateUser(store, "bob", { traits: many })).rejects.toMatchObject({ code: "invalid" });
});

test("an invite works once, for an hour, and a newer one voids it", async () => {
  await add("bob");
  const older = await addInvite(store, "bob", now);
  const invite = await addInvite(store, "bob", now);
  expect(invite.secret).toMatch(/^[0-9a-f]{32}$/);
  expect(invite.expiresAt).toBe(now + INVITE_TTL * 1000);
  expect(JSON.stringify(await store.selectFrom("invites").selectAll().execute())).not.toContain(invite.secret);

  const refused = { code: "token_invalid" };
  await expect(checkInvite(store, older.secret, now)).rejects.toMatchObject(refused);
  await expect(acceptInvite(store, invite.secret, "hash", invite.expiresAt)).rejects.toMatchObject(refused);
  expect(await acceptInvite(store, invite.secret, "hash", invite.expiresAt - 1)).toBe("bob");
  expect(await passwordHash(store, "bob")).toBe("hash");
  expect((await getUser(store, "bob")).active).toBe(true);
  await expect(acceptInvite(store, invite.secret, "other", now)).rejects.toMatchObject(refused);
  expect(await passwordHash(store, "bob")).toBe("hash");
  await expect(addInvite(store, "nobody", now)).rejects.toMatchObject({ code: "not_found" });
});

test("a login is good for twelve hours, for the one who used the key last", async () => {
  await add("alice");
  await add("bob");
  const login = await addLogin(store, { jkt: "k", user: "alice", now });
  expect(login.expiresAt).toBe(now + LOGIN_TTL * 1000);
  expect((await checkLogin(store, "k", login.expiresAt - 1)).user).toBe("alice");
  await expect(checkLogin(store, "k", login.expiresAt)).rejects.toMatchObject({ code: "login_expired" });
  await expect(checkLogin(store, "other", now)).rejects.toMatchObject({ code: "not_logged_in" });

  await addLogin(store, { jkt: "k", user: "bob", now });
  expect((await checkLogin(store, "k", now)).user).toBe("bob");
  expect(await revokeLogins(store, { user: "alice" }, now)).toEqual([]);
  expect(await revokeLogins(store, { jkt: "k" }, now)).toEqual(["k"]);
  await expect(checkLogin(store, "k", now)).rejects.toMatchObject({ code: "not_logged_in" });
  await addLogin(store, { jkt: "k", user: "bob", now });
  expect((await checkLogin(store, "k", now)).user).toBe("bob");
});

test("a removed user's logins and invites are gone, also for the next one of that name", async () => {
  await add("bob");
  await addLogin(store, { jkt: "k", user: "bob", now });
  const invite = await addInvite(store, "bob", now);
  await removeUser(store, "bob");
  await expect(removeUser(store, "bob")).rejects.toMatchObject({ code: "not_found" });
  await add("bob", ["admin"]);
  await expect(checkLogin(store, "k", now)).rejects.toMatchObject({ code: "not_logged_in" });
  await expect(checkInvite(store, invite.secret, now)).rejects.toMatchObject({ code: "token_invalid" });
});
