import { afterEach, beforeEach, expect, test } from "bun:test";
import { generateKeyPair, type KeyPair } from "../../../src/identity/keys.ts";
import { createSession } from "../../../src/store/sessions.ts";
import { INVITE_TTL } from "../../../src/store/users.ts";
import { type Fixture, OUTSIDE, openFixture } from "./fixture.ts";

let f: Fixture;
beforeEach(async () => {
  f = await openFixture({ caPin: "sha256:00" });
});
afterEach(() => f.close());

const password = "correct horse battery";

async function invite(name: string): Promise<string> {
  const { body } = await f.admin("POST", "/v1/api/users", { name, roles: ["mcp-user"] });
  return body.invite_url.split("#")[1];
}
/** A user who has accepted an invite with `password`. */
const hashed = Bun.password.hash(password);
async function addUser(name: string): Promise<void> {
  await invite(name);
  await f.store
    .updateTable("users")
    .set({ password_hash: await hashed })
    .where("name", "=", name)
    .execute();
}
const accept = (code: string, pass = password) =>
  f.send("POST", "/v1/invite", { body: { invite: code, password: pass } });
const login = async (user: string, o: { pass?: string; key?: KeyPair; remote?: string } = {}) =>
  f.send("POST", "/v1/login", {
    body: { user, password: o.pass ?? password },
    key: o.key ?? (await generateKeyPair()),
    from: { remote: o.remote ?? OUTSIDE.remote },
  });
const session = (sid: string, user: string, key: KeyPair) =>
  createSession(
    f.store,
    { sid, user, app: "x", agentId: "a", agent: "host-a", clientJkt: key.jkt, remote: "" },
    f.clock.now,
  );

test("invite, login, whoami, logout", async () => {
  const added = (await f.admin("POST", "/v1/api/users", { name: "bob", roles: ["mcp-user"] })).body;
  expect(added).toEqual({
    name: "bob",
    roles: ["mcp-user"],
    traits: {},
    status: "invited",
    created_at: "2026-11-23T00:00:00.000Z",
    invite_url: expect.stringMatching(/^https:\/\/mcpgate\.example\.com\/web\/invite#[0-9a-f]{32}$/),
    invite_expires_at: "2026-11-23T01:00:00.000Z",
    public_addr: "mcpgate.example.com:443",
    ca_pin: "sha256:00",
  });
  expect((await login("bob")).body.error.code).toBe("bad_credentials");
  expect((await accept(added.invite_url.split("#")[1])).body).toEqual({ user: "bob", cluster_name: "example" });

  const key = await generateKeyPair();
  const answer = await login("bob", { key });
  expect(answer.body).toEqual({
    user: "bob",
    expires_at: "2026-11-23T12:00:00.000Z",
    expires_in: 43_200,
    roles: ["mcp-user"],
    cluster_name: "example",
    public_addr: "mcpgate.example.com:443",
    signing_keys: [expect.objectContaining({ kty: "OKP" })],
  });
  f.clock.now += 1500;
  expect((await f.send("GET", "/v1/whoami", { key })).body).toEqual({
    actor: "bob",
    user: "bob",
    expires_at: "2026-11-23T12:00:00.000Z",
    expires_in: 43_198,
    roles: ["mcp-user"],
    cluster_name: "example",
  });

  await session("s1", "bob", key);
  await session("s2", "bob", await generateKeyPair());
  expect((await f.send("POST", "/v1/logout", { key })).body).toEqual({ user: "bob", ended_sessions: 1 });
  expect(f.calls.filter(([name]) => name === "endSessions").at(-1)).toEqual([
    "endSessions",
    { sid: "s1" },
    "logged out",
  ]);
  expect((await f.send("GET", "/v1/whoami", { key })).body.error.code).toBe("not_logged_in");

  const events = await f.events("user.create", "user.invite.accept", "user.login", "user.logout");
  expect(events.map((event) => [event.event, event.user, event.actor, event.success])).toEqual([
    ["user.create", "bob", "uid:1000", true],
    ["user.login", "bob", undefined, false],
    ["user.invite.accept", "bob", undefined, true],
    ["user.login", "bob", undefined, true],
    ["user.logout", "bob", undefined, true],
  ]);
  for (const text of [JSON.stringify(await f.events()), f.logged.join("")]) {
    expect(text).not.toContain(password);
    expect(text).not.toContain(added.invite_url.split("#")[1]);
  }
});

test("a wrong password and a user who is not there look the same and take the same work", async () => {
  await addUser("bob");
  const answers = [];
  const times: Record<string, number[]> = { bob: [], nobody: [] };
  for (const [user, pass] of [
    ["bob", "wrong"],
    ["nobody", "wrong"],
    ["bob", "wrong again"],
    ["nobody", password],
  ] as const) {
    const start = performance.now();
    answers.push((await login(user, { pass })).body);
    times[user]?.push(performance.now() - start);
  }
  expect(new Set(answers.map((body) => JSON.stringify(body))).size).toBe(1);
  expect(answers[0].error.code).toBe("bad_credentials");
  // a hash takes tens of milliseconds, and all the rest two or three
  for (const taken of Object.values(times)) expect(Math.min(...taken)).toBeGreaterThan(20);
  expect((await f.events("user.login")).every((event) => event.success === false)).toBe(true);
});

test("the password alone registers no key", async () => {
  await addUser("bob");
  const answer = await f.send("POST", "/v1/login", { body: { user: "bob", password } });
  expect([answer.status, answer.body.error.code]).toEqual([401, "bad_proof"]);
  expect(answer.headers.get("dpop-nonce")).toMatch(/./);
});

test("ten wrong passwords for a user from one address, then a pause; others get in meanwhile", async () => {
  await addUser("bob");
  await addUser("alice");
  const tries = await Promise.all(Array.from({ length: 12 }, () => login("bob", { pass: "wrong" })));
  expect(tries.map((answer) => answer.status).sort()).toEqual([...Array(10).fill(401), 429, 429]);
  expect((await login("bob")).status).toBe(429);
  expect((await login("bob", { remote: "198.51.100.9" })).status).toBe(200);
  expect((await login("alice")).status).toBe(200);
  f.clock.now += 5 * 60_000;
  expect((await login("bob")).status).toBe(200);
});

test("logins that work are not counted", async () => {
  await addUser("bob");
  for (let i = 0; i < 11; i++) expect((await login("bob")).status).toBe(200);
});

test("an invite is good once and for an hour; the password has to be one", async () => {
  const code = await invite("bobby-tables");
  for (const [pass, message] of [
    ["short", "at least 12"],
    ["bobby-tables", "must not be the user name"],
    ["x".repeat(300), "at most 256"],
  ] as const) {
    const answer = await accept(code, pass);
    expect([answer.status, answer.body.error.code]).toEqual([400, "invalid"]);
    expect(answer.body.error.message).toContain(message);
  }
  expect((await accept(code)).status).toBe(200);
  expect((await accept(code)).body.error.code).toBe("token_invalid");
  const late = await invite("late");
  f.clock.now += INVITE_TTL * 1000;
  expect((await accept(late)).body.error.code).toBe("token_invalid");
});

test("two who accept one invite at once: one of them does", async () => {
  const code = await invite("bob");
  const answers = await Promise.all([accept(code), accept(code, "another password")]);
  expect(answers.map((answer) => answer.status).sort()).toEqual([200, 403]);
});

test("a new invite replaces the password, and ends what the old one began", async () => {
  await addUser("bob");
  const key = await generateKeyPair();
  await login("bob", { key });
  const { body } = await f.admin("POST", "/v1/api/users/bob/invite");
  expect((await f.send("GET", "/v1/whoami", { key })).status).toBe(200);
  expect((await accept(body.invite_url.split("#")[1], "quite another phrase")).status).toBe(200);
  expect((await f.send("GET", "/v1/whoami", { key })).status).toBe(401);
  expect(f.calls.at(-1)).toEqual(["endSessions", { user: "bob" }, "password changed"]);
  expect((await login("bob")).status).toBe(401);
  expect((await login("bob", { pass: "quite another phrase" })).status).toBe(200);
});

test("a key that logs in as somebody else ends the sessions of the one before", async () => {
  await addUser("alice");
  await addUser("bob");
  const key = await generateKeyPair();
  await login("alice", { key });
  await session("s1", "alice", key);
  f.calls.length = 0;
  await login("alice", { key });
  expect(f.calls).toEqual([]);
  await login("bob", { key });
  expect(f.calls).toEqual([["endSessions", { sid: "s1" }, "logged out"]]);
  expect((await f.send("GET", "/v1/whoami", { key })).body.user).toBe("bob");
});
