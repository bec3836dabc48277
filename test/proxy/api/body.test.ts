import { afterEach, beforeEach, expect, test } from "bun:test";
import { MAX_BODY, MAX_ROLE_BODY } from "../../../src/proxy/api/body.ts";
import { type Fixture, openFixture, SOCKET } from "./fixture.ts";

let f: Fixture;
beforeEach(async () => {
  f = await openFixture();
});
afterEach(() => f.close());

test("unknown, missing and wrong fields are refused by name, and never quoted", async () => {
  const tries: [unknown, string][] = [
    ["{", "the request's body is not JSON"],
    ["7", "body: must be Object"],
    [{ type: "app", ttl: 5 }, "ttl: unknown key"],
    [{}, "type: is missing"],
    [{ type: "hunter2" }, 'type: must be "app"'],
    [{ type: "app", ttl_seconds: "hunter2" }, "ttl_seconds: must be number"],
  ];
  for (const [body, message] of tries) {
    const answer = await f.admin("POST", "/v1/api/tokens", body);
    expect([answer.status, answer.body.error]).toEqual([400, { code: "invalid", message }]);
  }
  const secret = await f.send("POST", "/v1/invite", { body: { invite: { a: "hunter2" }, password: "hunter2" } });
  expect(JSON.stringify(secret.body)).not.toContain("hunter2");
});

test("bodies are bounded, with and without a length", async () => {
  const big = JSON.stringify({ type: "app", x: "y".repeat(MAX_BODY) });
  expect((await f.admin("POST", "/v1/api/tokens", big)).body.error.message).toBe("the request's body is over 64 KiB");
  let pulled = 0;
  const endless = new ReadableStream<Uint8Array>({
    pull(controller) {
      pulled += 1;
      controller.enqueue(new Uint8Array(16 * 1024).fill(32));
    },
  });
  const request = new Request("http://x/v1/api/tokens", { method: "POST", body: endless });
  expect((await f.api.fetch(request, SOCKET)).status).toBe(400);
  expect(pulled).toBeLessThan(10);

  const description = "d".repeat(MAX_BODY);
  const role = { kind: "role", version: "v8", metadata: { name: "long", description }, spec: { allow: {} } };
  expect((await f.admin("POST", "/v1/api/roles", role)).status).toBe(201);
  role.metadata.description = "d".repeat(MAX_ROLE_BODY);
  expect((await f.admin("POST", "/v1/api/roles", role)).body.error.message).toBe("the request's body is over 256 KiB");
});

test("what is not there answers with an error of ours, and a failure inside tells nothing of itself", async () => {
  expect((await f.send("GET", "/nope")).body.error.code).toBe("not_found");
  expect((await f.send("PATCH", "/v1/join", { body: {} })).status).toBe(404);
  await f.store.schema.dropTable("tokens").execute();
  const answer = await f.admin("GET", "/v1/api/tokens");
  expect([answer.status, answer.body]).toEqual([
    500,
    { error: { code: "internal", message: "the proxy failed; its log says why" } },
  ]);
  expect(f.logged.join("")).toContain("no such table: tokens");
});

test("answers are kept by no cache", async () => {
  for (const path of ["/v1/webapi/find", "/nope", "/v1/whoami"]) {
    const { headers } = await f.send("GET", path);
    expect([headers.get("cache-control"), headers.get("x-content-type-options")]).toEqual(["no-store", "nosniff"]);
  }
});
