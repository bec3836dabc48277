/** Locks over the API: who is refused, where, and with what. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { generateKeyPair } from "../../../src/identity/keys.ts";
import { addUser } from "../../../src/store/users.ts";
import { type Fixture, openFixture } from "./fixture.ts";

let f: Fixture;
beforeEach(async () => {
  f = await openFixture();
});
afterEach(() => f.close());

const lock = (target: object, more: object = {}) => ({ kind: "lock", version: "v2", spec: { target, ...more } });

test("add, list, read, replace, remove; live sessions hear of it", async () => {
  const added = await f.admin("POST", "/v1/api/locks", lock({ user: "bob" }, { message: "stolen", ttl_seconds: 60 }));
  expect([added.status, added.body]).toEqual([
    201,
    {
      name: expect.any(String),
      target: { kind: "user", name: "bob" },
      message: "stolen",
      expires_at: "2026-11-23T00:01:00.000Z",
      created_at: "2026-11-23T00:00:00.000Z",
      created_by: "uid:1000",
      document: expect.objectContaining({ kind: "lock", version: "v2" }),
      created: true,
    },
  ]);
  const { created: _, ...listed } = added.body;
  const { name } = listed;
  expect((await f.admin("GET", "/v1/api/locks")).body).toEqual({ locks: [listed] });
  expect((await f.admin("GET", `/v1/api/locks/${name}`)).body).toEqual(listed);
  // what `get` prints, `create --force` takes
  expect((await f.admin("PUT", `/v1/api/locks/${name}`, listed.document)).body).toMatchObject({ created: false });
  expect((await f.admin("PUT", "/v1/api/locks/other", listed.document)).body.error.code).toBe("invalid");
  expect(f.calls).toEqual([["locksChanged"], ["locksChanged"]]);
  f.clock.now += 60_000;
  expect((await f.admin("GET", "/v1/api/locks")).body).toEqual({ locks: [] });
  expect((await f.admin("DELETE", `/v1/api/locks/${name}`)).body).toEqual({ name });
  expect((await f.admin("DELETE", `/v1/api/locks/${name}`)).status).toBe(404);
  expect((await f.admin("POST", "/v1/api/locks", lock({ node: "x" }))).body.error.code).toBe("invalid");
  expect((await f.events("lock.create", "lock.delete")).map((e) => [e.event, e.actor, e.details?.target])).toEqual([
    ["lock.create", "uid:1000", { user: "bob" }],
    ["lock.create", "uid:1000", { user: "bob" }],
    ["lock.delete", "uid:1000", { user: "bob" }],
  ]);
});

test("a locked user, or one who holds a locked role, gets in nowhere, and may leave", async () => {
  for (const [name, target] of [
    ["bob", { user: "bob" }],
    ["carol", { role: "auditor" }],
  ] as const) {
    const key = await f.user(name, ["mcp-user", "auditor"]);
    expect((await f.send("GET", "/v1/apps", { key })).status).toBe(200);
    const { body } = await f.admin("POST", "/v1/api/locks", lock(target, { message: "ask Dana" }));
    for (const path of ["/v1/apps", "/v1/whoami", "/v1/api/events"]) {
      const refused = await f.send("GET", path, { key });
      expect([refused.status, refused.body.error.code]).toEqual([403, "locked"]);
      expect(refused.body.error.message).toEndWith("is locked: ask Dana");
    }
    await f.admin("DELETE", `/v1/api/locks/${body.name}`);
    expect((await f.send("GET", "/v1/apps", { key })).status).toBe(200);
    await f.admin("POST", "/v1/api/locks", lock(target));
    expect((await f.send("POST", "/v1/logout", { key })).status).toBe(200);
  }
});

test("a login is refused with the message, once the password is right", async () => {
  await addUser(f.store, { name: "bob", roles: ["mcp-user"], now: f.clock.now });
  const invite = (await f.admin("POST", "/v1/api/users/bob/invite")).body.invite_url.split("#")[1];
  await f.send("POST", "/v1/invite", { body: { invite, password: "correct horse battery" } });
  await f.admin("POST", "/v1/api/locks", lock({ user: "bob" }, { message: "ask Dana" }));
  const key = await generateKeyPair();
  const login = (password: string) => f.send("POST", "/v1/login", { key, body: { user: "bob", password } });
  expect((await login("wrong password here")).body.error.code).toBe("bad_credentials");
  expect((await login("correct horse battery")).body.error).toMatchObject({
    code: "locked",
    message: "the user bob is locked: ask Dana",
  });
  expect((await f.events("user.login")).map((e) => [e.success, e.error])).toEqual([
    [false, "wrong user name or password"],
    [false, "the user bob is locked: ask Dana"],
  ]);
});

test("locks are for those whose roles say so", async () => {
  const key = await f.user("eve", ["auditor"]);
  const refused = await f.send("POST", "/v1/api/locks", { key, body: lock({ user: "bob" }) });
  expect(refused.body.error.code).toBe("access_denied");
  expect((await f.events("lock.create")).map((e) => [e.actor, e.success])).toEqual([["eve", false]]);
  const admin = await f.user("dana", ["admin"]);
  expect((await f.send("POST", "/v1/api/locks", { key: admin, body: lock({ user: "bob" }) })).status).toBe(201);
});
