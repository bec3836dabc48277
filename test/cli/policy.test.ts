/** `roles test` and `can`: what they ask, what they print, and how they end. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Failure } from "../../src/errors.ts";
import { capture, fakeApi } from "./capture.ts";

const dir = mkdtempSync(join(tmpdir(), "mcpgate-policy-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const ROLE = `\
kind: role
version: v8
metadata: { name: analyst }
spec:
  allow:
    app_labels: { env: dev }
    mcp:
      tools:
        - read_*
tests:
  - { user: alice, app: { name: db, labels: { env: dev } }, tool: read_x, expect: allow }
  - { user: alice, app: { name: db, labels: { env: dev } }, tool: drop, expect: DROP }
`;

function file(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}

test("roles test: each test with its place and the rule's", async () => {
  const good = file("good.yaml", ROLE.replace("DROP", "deny"));
  expect(await capture(["roles", "test", good])).toEqual({
    exitCode: 0,
    stdout: `\
ok   ${good}:11:5 alice db/read_x: allow: the role analyst allows the tool read_x (${good}:9:11)
ok   ${good}:12:5 alice db/drop: deny: no role allows the tool drop
`,
    stderr: "mcpgate: 2 tests, all passed\n",
  });
  const bad = await capture(["roles", "test", file("bad.yaml", ROLE.replace("DROP", "allow"))]);
  expect([bad.exitCode, bad.stderr]).toEqual([1, "mcpgate: 2 tests, 1 failed\n"]);
  expect(bad.stdout).toContain("bad.yaml:12:5 alice db/drop: expected allow, and no role allows the tool drop\n");
});

test("roles test: what is no test is placed", async () => {
  const path = file("broken.yaml", ROLE.replace("DROP", "maybe"));
  const { exitCode, stderr } = await capture(["roles", "test", path]);
  expect([exitCode, stderr]).toEqual([1, `mcpgate: error: ${path}:12:73: tests.1.expect: is none of allow, deny\n`]);
});

test("can: asks the proxy, prints the rule, ends with the answer", async () => {
  const verdict = {
    allowed: true,
    reason: "the role analyst allows the tool read_x",
    role: "analyst",
    path: "spec.allow.mcp.tools.0",
  };
  const denied = { allowed: false, reason: "no role allows the tool drop" };
  const { api, calls } = fakeApi({ ...verdict, entry: "read_*" }, denied, { ...verdict, entry: "read_*" });
  expect(await capture(["can", "alice", "db/read_x", '{"a": 1}'], { api })).toEqual({
    exitCode: 0,
    stdout: "allowed: the role analyst allows the tool read_x\n  role/analyst spec.allow.mcp.tools.0: read_*\n",
    stderr: "",
  });
  expect(await capture(["can", "alice", "db/drop"], { api })).toEqual({
    exitCode: 1,
    stdout: "denied: no role allows the tool drop\n",
    stderr: "",
  });
  const path = file("role.yaml", ROLE.replace("DROP", "deny"));
  expect((await capture(["can", "alice", "db/read_x", "-f", path], { api })).stdout).toBe(
    `allowed: the role analyst allows the tool read_x\n  ${path}:9:11: read_*\n`,
  );
  expect(calls.map(({ body }) => body)).toMatchObject([
    { user: "alice", app: "db", tool: "read_x", arguments: '{"a": 1}' },
    { user: "alice", app: "db", tool: "drop" },
    { user: "alice", app: "db", roles: [{ kind: "role", metadata: { name: "analyst" } }] },
  ]);
});

test("can: what it can't be asked", async () => {
  for (const argv of [
    ["alice", "db/"],
    ["alice", "db/x", "[]"],
    ["alice", "db/x", "{"],
    ["alice", "db/x", "--prompt=p"],
  ]) {
    expect((await capture(["can", ...argv], { api: fakeApi().api })).exitCode).toBe(2);
  }
});

test("create: a role whose tests fail points at the test, and at the command that runs them", async () => {
  const path = file("fails.yaml", ROLE.replace("DROP", "allow"));
  const failure = new Failure("invalid", "tests.1: expected allow, and no role allows the tool drop", {
    hint: "mcpgate roles test FILE",
  });
  expect((await capture(["create", "-f", path], { api: fakeApi(failure).api })).stderr).toBe(
    `mcpgate: error: ${path}:12:5: tests.1: expected allow, and no role allows the tool drop\nmcpgate: hint: mcpgate roles test ${path}\n`,
  );
});
