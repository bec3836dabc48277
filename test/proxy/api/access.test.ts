import { afterEach, beforeEach, expect, test } from "bun:test";
import { generateKeyPair } from "../../../src/identity/keys.ts";
import { signProof } from "../../../src/identity/proof.ts";
import { publicUrl } from "../../../src/identity/url.ts";
import { LOGIN_TTL, revokeLogins } from "../../../src/store/logins.ts";
import { type Fixture, OUTSIDE, openFixture, SOCKET } from "./fixture.ts";

let f: Fixture;
beforeEach(async () => {
  f = await openFixture();
});
afterEach(() => f.close());

/** Every operation of admins, and what a role needs for it. */
const operations: [method: string, path: string, resource: string, verbs: string[], event?: string][] = [
  ["POST", "/v1/api/tokens", "token", ["create"], "token.create"],
  ["GET", "/v1/api/tokens", "token", ["list"]],
  ["POST", "/v1/api/tokens/revoke", "token", ["delete"], "token.delete"],
  ["GET", "/v1/api/tokens/documents", "token", ["list"]],
  ["GET", "/v1/api/tokens/documents/x", "token", ["read"]],
  ["POST", "/v1/api/tokens/documents", "token", ["create"], "token.create"],
  ["PUT", "/v1/api/tokens/documents/x", "token", ["create", "update"], "token.create"],
  ["DELETE", "/v1/api/tokens/documents/x", "token", ["delete"], "token.delete"],
  ["GET", "/v1/api/users", "user", ["list"]],
  ["GET", "/v1/api/users/x", "user", ["read"]],
  ["POST", "/v1/api/users", "user", ["create"], "user.create"],
  ["POST", "/v1/api/users/x/invite", "user", ["update"], "user.update"],
  ["PATCH", "/v1/api/users/x", "user", ["update"], "user.update"],
  ["DELETE", "/v1/api/users/x", "user", ["delete"], "user.delete"],
  ["GET", "/v1/api/roles", "role", ["list"]],
  ["GET", "/v1/api/roles/x", "role", ["read"]],
  ["POST", "/v1/api/roles", "role", ["create"], "role.create"],
  ["PUT", "/v1/api/roles/x", "role", ["create", "update"], "role.create"],
  ["DELETE", "/v1/api/roles/x", "role", ["delete"], "role.delete"],
  ["POST", "/v1/api/decisions", "role,user", ["read"]],
  ["GET", "/v1/api/app-resources", "app", ["list"]],
  ["GET", "/v1/api/app-resources/x", "app", ["read"]],
  ["POST", "/v1/api/app-resources", "app", ["create"], "app.create"],
  ["PUT", "/v1/api/app-resources/x", "app", ["create", "update"], "app.create"],
  ["DELETE", "/v1/api/app-resources/x", "app", ["delete"], "app.delete"],
  ["GET", "/v1/api/locks", "lock", ["list"]],
  ["GET", "/v1/api/locks/x", "lock", ["read"]],
  ["POST", "/v1/api/locks", "lock", ["create"], "lock.create"],
  ["PUT", "/v1/api/locks/x", "lock", ["create", "update"], "lock.create"],
  ["DELETE", "/v1/api/locks/x", "lock", ["delete"], "lock.delete"],
  ["GET", "/v1/api/apps", "app", ["list"]],
  ["GET", "/v1/api/apps/x/pins", "app", ["read"]],
  ["POST", "/v1/api/apps/x/approve", "app", ["update"], "app.approve"],
  ["GET", "/v1/api/agents", "agent", ["list"]],
  ["DELETE", "/v1/api/agents/x", "agent", ["delete"], "agent.remove"],
  ["GET", "/v1/api/sessions", "session", ["list"]],
  ["DELETE", "/v1/api/sessions/x", "session", ["delete"], "session.kill"],
  ["GET", "/v1/api/events", "event", ["list"]],
  ["GET", "/v1/api/audit/chains", "event", ["list"]],
  ["GET", "/v1/api/audit/lines", "event", ["list"]],
];
const body = (method: string) => (method === "GET" || method === "DELETE" ? {} : { body: {} });

test("the table above has every operation of admins", () => {
  const routes = f.api.routes.filter(({ path, method }) => path.startsWith("/v1/api/") && method !== "ALL");
  const known = operations.map(([method, path]) => `${method} ${path}`);
  const found = routes.map(({ method, path }) => `${method} ${path.replace(/:\w+/, "x")}`);
  expect([...new Set(found)].sort()).toEqual(known.sort());
});

test("without a login nothing but the public operations answers", async () => {
  const stranger = await generateKeyPair();
  const closed = ["/v1/whoami", "/v1/apps"].map((path): [string, string] => ["GET", path]);
  closed.push(["POST", "/v1/logout"], ...operations.map(([method, path]): [string, string] => [method, path]));
  for (const [method, path] of closed) {
    for (const key of [undefined, stranger]) {
      const answer = await f.send(method, path, { ...body(method), ...(key === undefined ? {} : { key }) });
      expect([path, answer.status, answer.body.error.code]).toEqual([path, 401, "not_logged_in"]);
      expect(answer.headers.get("dpop-nonce")).toMatch(/./);
    }
  }
});

test("a user does what the roles' rules say and nothing else; a refused change is in the audit log", async () => {
  const nobody = await f.user("plain", ["mcp-user"]);
  for (const [method, path, resource, verbs, event] of operations) {
    const before = event === undefined ? 0 : (await f.events(event)).length;
    const refused = await f.send(method, path, { ...body(method), key: nobody });
    expect([path, refused.status, refused.body.error.code]).toEqual([path, 403, "access_denied"]);
    if (event !== undefined) {
      const events = await f.events(event);
      expect(events).toHaveLength(before + 1);
      expect(events.at(-1)).toMatchObject({ event, actor: "plain", success: false, remote: OUTSIDE.remote });
    }

    const name = `${method}-${path}`.replaceAll(/[^a-z0-9-]+/gi, ".");
    const rules = [{ resources: resource.split(","), verbs }];
    const role = { kind: "role", version: "v8", metadata: { name }, spec: { allow: { rules } } };
    expect((await f.admin("POST", "/v1/api/roles", role)).status).toBe(201);
    const allowed = await f.send(method, path, { ...body(method), key: await f.user(name, [name]) });
    expect([path, allowed.status]).not.toEqual([path, 401]);
    expect([path, allowed.status]).not.toEqual([path, 403]);
  }
});

test("the preset roles: admin may do everything, auditor look at events and sessions", async () => {
  const admin = await f.user("root", ["admin"]);
  const auditor = await f.user("auditor", ["auditor"]);
  for (const [method, path, resource, verbs] of operations) {
    const byAdmin = await f.send(method, path, { ...body(method), key: admin });
    expect([path, byAdmin.status === 403]).toEqual([path, false]);
    const byAuditor = await f.send(method, path, { ...body(method), key: auditor });
    const allowed = ["event", "session"].includes(resource) && verbs[0] === "list";
    expect([method, path, byAuditor.status !== 403]).toEqual([method, path, allowed]);
  }
});

test("the admin socket needs no proof, and is recorded by uid", async () => {
  expect((await f.admin("GET", "/v1/whoami")).body).toEqual({ actor: "uid:1000", cluster_name: "example" });
  expect((await f.admin("POST", "/v1/api/tokens", { type: "app" })).status).toBe(201);
  expect(await f.events("token.create")).toMatchObject([{ actor: "uid:1000", success: true, remote: "admin socket" }]);
  expect((await f.admin("GET", "/v1/apps")).body.error.code).toBe("not_logged_in");
  // nothing that a request says makes it one of the socket's
  const forged = new Request("http://whatever/v1/api/users?uid=0", { headers: { uid: "0", "x-uid": "0" } });
  expect((await f.api.fetch(forged, OUTSIDE)).status).toBe(401);
  expect((await f.api.fetch(new Request("http://whatever/v1/api/users"), { ...SOCKET, uid: Number.NaN })).status).toBe(
    401,
  );
});

test("a proof is good for one request, to this address, with a nonce of this proxy", async () => {
  const key = await f.user("root", ["admin"]);
  const path = "/v1/api/users";
  const url = publicUrl(f.publicAddr, path);
  const sign = (o: { method?: string; url?: string; nonce?: string } = {}) =>
    signProof({ key, method: "GET", url, nonce: f.nonces.issue(), ...o });

  const proof = await sign();
  expect((await f.send("GET", path, { proof })).status).toBe(200);
  for (const bad of [
    proof,
    await sign({ method: "POST" }),
    await sign({ url: "https://evil.example.com/v1/api/users" }),
    await sign({ url: publicUrl(f.publicAddr, "/v1/api/roles") }),
    await sign({ nonce: "made-up" }),
    "not.a.proof",
    "",
  ]) {
    const answer = await f.send("GET", path, { proof: bad });
    expect([answer.status, answer.body.error.code]).toEqual([401, "bad_proof"]);
    // and the nonce that it is told works
    const nonce = answer.headers.get("dpop-nonce") ?? "";
    expect((await f.send("GET", path, { proof: await sign({ nonce }) })).status).toBe(200);
  }
  const next = (await f.send("GET", path, { key })).headers.get("dpop-nonce") ?? "";
  expect((await f.send("GET", path, { proof: await sign({ nonce: next }) })).status).toBe(200);
  const asked = await f.send("GET", "/v1/nonce");
  expect((await f.send("GET", path, { proof: await sign({ nonce: asked.body.nonce }) })).status).toBe(200);
});

test("a path with escaped characters is proven as it was sent", async () => {
  const key = await f.user("a+b@example.com", ["admin"]);
  for (const name of ["a%2Bb%40example.com", "%61+b@%65xample.com", "a+b@example.com"]) {
    expect((await f.send("GET", `/v1/api/users/${name}`, { key })).body).toMatchObject({ name: "a+b@example.com" });
  }
  expect((await f.send("GET", "/v1/api/users/a%20%C3%A9%2Fb", { key })).status).toBe(404);
});

test("a login ends after twelve hours or when it is revoked, and roles are read anew for each request", async () => {
  const key = await f.user("root", ["admin"]);
  expect((await f.send("GET", "/v1/api/users", { key })).status).toBe(200);
  await f.admin("PATCH", "/v1/api/users/root", { roles: ["auditor"] });
  expect((await f.send("GET", "/v1/api/users", { key })).status).toBe(403);
  f.clock.now += LOGIN_TTL * 1000 - 1;
  expect((await f.send("GET", "/v1/whoami", { key })).body).toMatchObject({ user: "root", roles: ["auditor"] });
  f.clock.now += 1;
  expect((await f.send("GET", "/v1/whoami", { key })).body.error.code).toBe("login_expired");
  await revokeLogins(f.store, { user: "root" }, f.clock.now);
  expect((await f.send("GET", "/v1/whoami", { key })).body.error.code).toBe("not_logged_in");
});
