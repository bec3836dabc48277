import { afterEach, beforeEach, expect, test } from "bun:test";
import { appendOwn } from "../../../src/audit/store.ts";
import type { AuditEvent } from "../../../src/event.ts";
import { joinAgent } from "../../../src/store/agents.ts";
import { enrolApps } from "../../../src/store/apps.ts";
import { policyRevision } from "../../../src/store/meta.ts";
import { createSession } from "../../../src/store/sessions.ts";
import { type Fixture, openFixture } from "./fixture.ts";

let f: Fixture;
beforeEach(async () => {
  f = await openFixture({ caPin: "sha256:00" });
});
afterEach(() => f.close());

const role = (name: string, allow: unknown = {}) => ({
  kind: "role",
  version: "v8",
  metadata: { name },
  spec: { allow },
});
const agent = (name: string) => joinAgent(f.store, { name, jkt: `k-${name}`, publicJwk: {}, now: f.clock.now });
const session = (sid: string, user: string, agentId = "a") =>
  createSession(
    f.store,
    { sid, user, app: "everything", agentId, agent: "host-a", clientJkt: "k", remote: "192.0.2.1" },
    f.clock.now,
  );

test("a token is told once, and then only by its id", async () => {
  const added = (await f.admin("POST", "/v1/api/tokens", { type: "app", ttl_seconds: 60 })).body;
  const { token, public_addr, ca_pin, ...listed } = added;
  expect(token).toMatch(/^[0-9a-f]{32}$/);
  expect([public_addr, ca_pin]).toEqual(["mcpgate.example.com:443", "sha256:00"]);
  expect(listed).toEqual({
    id: expect.stringMatching(/^[0-9a-f]{16}$/),
    type: "app",
    method: "token",
    created_at: "2026-11-23T00:00:00.000Z",
    expires_at: "2026-11-23T00:01:00.000Z",
    created_by: "uid:1000",
  });
  expect((await f.admin("GET", "/v1/api/tokens")).body).toEqual({ tokens: [listed] });
  expect((await f.admin("POST", "/v1/api/tokens", { type: "app", ttl_seconds: 86_401 })).status).toBe(400);
  expect((await f.admin("POST", "/v1/api/tokens/revoke", { token: listed.id })).body).toEqual({ id: listed.id });
  expect((await f.admin("POST", "/v1/api/tokens/revoke", { token: listed.id })).status).toBe(404);
  expect((await f.events("token.create", "token.delete")).map((e) => [e.event, e.details?.token_id])).toEqual([
    ["token.create", listed.id],
    ["token.delete", listed.id],
  ]);
  expect(JSON.stringify(await f.events())).not.toContain(token);
});

test("users: add, list, update, remove; live sessions hear of it", async () => {
  expect((await f.admin("POST", "/v1/api/users", { name: "bob", roles: ["mcp-user"] })).status).toBe(201);
  expect((await f.admin("POST", "/v1/api/users", { name: "bob", roles: ["mcp-user"] })).status).toBe(409);
  for (const bad of [
    { name: "uid:0", roles: ["mcp-user"] },
    { name: "", roles: ["mcp-user"] },
    { name: "x", roles: [] },
    { name: "x", roles: ["nope"] },
    { name: "x" },
  ]) {
    expect((await f.admin("POST", "/v1/api/users", bad)).body.error.code).toBe("invalid");
  }
  await session("s1", "bob");

  const updated = await f.admin("PATCH", "/v1/api/users/bob", { roles: ["auditor", "mcp-user"] });
  const bob = {
    name: "bob",
    roles: ["auditor", "mcp-user"],
    traits: {},
    status: "invited",
    created_at: "2026-11-23T00:00:00.000Z",
  };
  expect(updated.body).toEqual(bob);
  expect(f.calls).toEqual([["policyChanged"]]);
  expect((await f.admin("GET", "/v1/api/users")).body).toEqual({ users: [bob] });
  expect((await f.admin("GET", "/v1/api/users/bob")).body).toEqual(bob);

  expect((await f.admin("DELETE", "/v1/api/users/bob")).body).toEqual({ name: "bob", ended_sessions: 1 });
  expect(f.calls.at(-1)).toEqual(["endSessions", { user: "bob" }, "user removed"]);
  for (const [method, path] of [
    ["GET", "/v1/api/users/bob"],
    ["DELETE", "/v1/api/users/bob"],
    ["POST", "/v1/api/users/bob/invite"],
  ] as const) {
    expect((await f.admin(method, path)).status).toBe(404);
  }
  expect((await f.admin("PATCH", "/v1/api/users/bob", { roles: ["mcp-user"] })).status).toBe(404);
  expect((await f.events("user.create", "user.update", "user.delete")).map((e) => [e.event, e.user])).toEqual([
    ["user.create", "bob"],
    ["user.update", "bob"],
    ["user.delete", "bob"],
  ]);
});

test("roles: create, replace, remove; every change moves the policy's revision", async () => {
  const document = role("dev", { app_labels: { env: "dev" }, mcp: { tools: ["get_*"] } });
  const before = await policyRevision(f.store);
  const created = await f.admin("POST", "/v1/api/roles", document);
  expect([created.status, created.body]).toEqual([
    201,
    { name: "dev", preset: false, updated_at: "2026-11-23T00:00:00.000Z", document, created: true },
  ]);
  expect((await f.admin("POST", "/v1/api/roles", document)).body.error.code).toBe("already_exists");
  const changed = role("dev", { app_labels: { env: "dev" }, mcp: { tools: ["*"] } });
  expect((await f.admin("PUT", "/v1/api/roles/dev", changed)).body).toMatchObject({
    created: false,
    document: changed,
  });
  expect((await f.admin("PUT", "/v1/api/roles/new", role("new"))).body).toMatchObject({ created: true });
  expect((await f.admin("PUT", "/v1/api/roles/new", role("other"))).body.error.code).toBe("invalid");
  expect(await policyRevision(f.store)).toBe(before + 3);
  expect(f.calls).toEqual([["policyChanged"], ["policyChanged"], ["policyChanged"]]);

  const names = (await f.admin("GET", "/v1/api/roles")).body.roles.map((r: { name: string }) => r.name);
  expect(names).toEqual(["admin", "auditor", "dev", "mcp-user", "new"]);
  expect((await f.admin("GET", "/v1/api/roles/dev")).body.document).toEqual(changed);
  expect((await f.admin("DELETE", "/v1/api/roles/dev")).body).toEqual({ name: "dev" });
  expect((await f.admin("DELETE", "/v1/api/roles/dev")).status).toBe(404);
  expect((await f.admin("DELETE", "/v1/api/roles/mcp-user")).status).toBe(409);
  const refused = await f.admin("POST", "/v1/api/roles", { ...document, spec: { allow: { mpc: {} } } });
  expect([refused.status, refused.body.error.message]).toEqual([400, expect.stringContaining("mcp")]);
  expect((await f.events("role.create", "role.update", "role.delete")).map((e) => [e.event, e.details?.role])).toEqual([
    ["role.create", "dev"],
    ["role.update", "dev"],
    ["role.create", "new"],
    ["role.delete", "dev"],
  ]);
});

test("agents with their apps; one is removed by name or id, and its apps are free", async () => {
  const a = await agent("host-a");
  const b = await agent("host-b");
  const app = { labels: {}, description: "", shared: false };
  await enrolApps(f.store, a.id, [{ name: "one", ...app }], f.clock.now);
  f.online.add(a.id);
  const listed = { joined_at: "2026-11-23T00:00:00.000Z", last_seen_at: null };
  const connected = { ...listed, last_seen_at: new Date(f.clock.now).toISOString() };
  expect((await f.admin("GET", "/v1/api/agents")).body).toEqual({
    agents: [
      { id: a.id, name: "host-a", online: true, apps: ["one"], ...connected },
      { id: b.id, name: "host-b", online: false, apps: [], ...listed },
    ],
  });
  await session("s1", "bob", a.id);
  expect((await f.admin("DELETE", "/v1/api/agents/host-a")).body).toEqual({
    id: a.id,
    name: "host-a",
    ended_sessions: 1,
  });
  expect((await f.admin("DELETE", `/v1/api/agents/${b.id}`)).body.name).toBe("host-b");
  expect((await f.admin("DELETE", "/v1/api/agents/host-a")).status).toBe(404);
  expect((await f.admin("GET", "/v1/api/agents")).body).toEqual({ agents: [] });
});

test("live sessions are listed, and killed once", async () => {
  await session("s1", "bob");
  expect((await f.admin("GET", "/v1/api/sessions")).body).toEqual({
    sessions: [
      {
        sid: "s1",
        user: "bob",
        app: "everything",
        agent: "host-a",
        remote: "192.0.2.1",
        started_at: "2026-11-23T00:00:00.000Z",
        last_seen_at: "2026-11-23T00:00:00.000Z",
      },
    ],
  });
  expect((await f.admin("DELETE", "/v1/api/sessions/s1")).body).toEqual({ sid: "s1" });
  expect(f.calls).toEqual([["endSessions", { sid: "s1" }, "killed"]]);
  expect((await f.admin("DELETE", "/v1/api/sessions/nope")).status).toBe(404);
  expect(await f.events("session.kill")).toMatchObject([{ sid: "s1", user: "bob", actor: "uid:1000", success: true }]);
});

test("events: filters, pages back, and a tail", async () => {
  const drafts = Array.from(
    { length: 25 },
    (_, i): AuditEvent => ({
      event: i % 5 === 0 ? "user.login" : "mcp.session.request",
      uid: crypto.randomUUID(),
      time: new Date(Date.UTC(2026, 0, 1, 0, i)).toISOString(),
      v: 1,
      user: i % 2 === 0 ? "alice" : "bob",
    }),
  );
  const events = await appendOwn(f.store, drafts, 0);
  const get = async (query: string) => (await f.admin("GET", `/v1/api/events?${query}`)).body;

  expect((await get("")).events).toEqual(events);
  const newest = await get("limit=10");
  expect([newest.events, newest.more]).toEqual([events.slice(15), true]);
  const further = await get(`limit=20&before=${encodeURIComponent(newest.before)}`);
  expect(further).toEqual({ events: events.slice(0, 15), more: false, cursor: newest.cursor });
  expect((await get("user=bob&event=user.login,user.logout")).events).toEqual(
    events.filter((e) => e.user === "bob" && e.event === "user.login"),
  );
  expect((await get("since=2026-01-01T01:05:00%2B01:00&until=2026-01-01T00:08:00Z")).events).toEqual(
    events.slice(5, 8),
  );
  expect((await get("since=2026-01-02")).events).toEqual([]);

  expect(await get("after=0&limit=10")).toEqual({ events: events.slice(0, 10), more: true, cursor: 10 });
  expect(await get(`after=${newest.cursor}`)).toEqual({ events: [], more: false, cursor: newest.cursor });

  for (const bad of [
    "limit=0",
    "limit=1001",
    "limit=x",
    "after=-1",
    "since=yesterday",
    "since=2026-02-31T25:00:00Z",
    "before=x",
    "usr=bob",
    "user=a&user=b",
    `after=0&before=${encodeURIComponent(newest.before)}`,
  ]) {
    expect([bad, (await get(bad)).error?.code]).toEqual([bad, "invalid"]);
  }
});

test("what a user may reach, with the tools; not what others may", async () => {
  const a = await agent("host-a");
  const b = await agent("host-b");
  const offer = (name: string, env: string, shared = false) => ({ name, labels: { env }, description: name, shared });
  await enrolApps(f.store, a.id, [offer("dev-db", "dev"), offer("prod-db", "prod"), offer("both", "prod", true)], 0);
  await enrolApps(f.store, b.id, [offer("both", "dev", true)], 0);
  f.online.add(a.id);
  await f.admin("POST", "/v1/api/roles", {
    ...role("dev", { app_labels: { env: "dev" }, mcp: { tools: ["get_*"] } }),
    spec: {
      allow: { app_labels: { env: "dev" }, mcp: { tools: ["get_*"] } },
      deny: { mcp: { tools: ["get_secret"] } },
    },
  });
  const dev = await f.user("dev", ["dev"]);
  const apps = (await f.send("GET", "/v1/apps", { key: dev })).body.apps;
  expect(apps).toEqual([
    {
      name: "both",
      description: "both",
      type: "stdio",
      labels: { env: "dev" },
      allowed_tools: ["get_*"],
      denied_tools: ["get_secret"],
      online: false,
    },
    expect.objectContaining({ name: "dev-db", online: true }),
  ]);
  const all = (await f.send("GET", "/v1/apps", { key: await f.user("all", ["mcp-user"]) })).body.apps;
  expect(all).toMatchObject([
    { name: "both", labels: { env: "prod" }, online: true },
    { name: "dev-db" },
    { name: "prod-db" },
  ]);
  const auditor = await f.user("auditor", ["auditor"]);
  expect((await f.send("GET", "/v1/apps", { key: auditor })).body).toEqual({ apps: [] });
});
