import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { Failure } from "../../src/errors.ts";
import { capture, fakeApi } from "./capture.ts";

let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "mcpgate-resources-"));
});
afterAll(() => rm(dir, { recursive: true }));

const seed = join(import.meta.dir, "../fixtures/seed/role.yaml");
const role = (name: string) => ({ kind: "role", version: "v8", metadata: { name }, spec: {} });
const stored = (name: string, created = true) => ({ name, document: role(name), created });

async function file(text: string): Promise<string> {
  const path = join(dir, "file.yaml");
  await Bun.write(path, text);
  return path;
}

describe("create", () => {
  test("the seed's role, unchanged", async () => {
    const { api, calls } = fakeApi({ name: "mcp-user", created: true });
    expect(await capture(["create", "-f", seed], { api })).toEqual({
      exitCode: 0,
      stdout: 'role "mcp-user" has been created\n',
      stderr: "",
    });
    expect(calls).toEqual([
      { method: "POST", path: "/v1/api/roles", body: parse(await Bun.file(seed).text()) as Record<string, unknown> },
    ]);
  });

  test("several documents, also as a list, also from standard input", async () => {
    const { api } = fakeApi(stored("a"), stored("b"), stored("c"));
    const text = `${JSON.stringify([role("a"), role("b")])}\n---\n# nothing\n---\n${JSON.stringify(role("c"))}\n`;
    const { stdout } = await capture(["create", "-f", "-"], { api, stdin: text });
    expect(stdout).toBe('role "a" has been created\nrole "b" has been created\nrole "c" has been created\n');
  });

  test("--force replaces", async () => {
    const { api, calls } = fakeApi(stored("a b", false));
    const { stdout } = await capture(["create", "-f", "-", "--force"], { api, stdin: JSON.stringify(role("a b")) });
    expect(stdout).toBe('role "a b" has been updated\n');
    expect(calls).toEqual([{ method: "PUT", path: "/v1/api/roles/a%20b", body: role("a b") }]);
  });

  test("a join token; one whose name is the secret has it in no address", async () => {
    const document = (name: string) => ({ kind: "token", version: "v2", metadata: { name }, spec: { roles: ["App"] } });
    const secret = "0123456789abcdef0123456789abcdef";
    const { api, calls } = fakeApi(stored("aws"), stored("aws", false), stored("0123456789abcdef"));
    const aws = JSON.stringify(document("aws"));
    await capture(["create", "-f", "-"], { api, stdin: aws });
    await capture(["create", "-f", "-", "--force"], { api, stdin: aws });
    const { stdout } = await capture(["create", "-f", "-", "--force"], {
      api,
      stdin: JSON.stringify(document(secret)),
    });
    expect(stdout).toBe('token "0123456789abcdef" has been created\n');
    expect(calls.map(({ method, path }) => [method, path])).toEqual([
      ["POST", "/v1/api/tokens/documents"],
      ["PUT", "/v1/api/tokens/documents/aws"],
      ["POST", "/v1/api/tokens/documents"],
    ]);
    for (const verb of ["get", "rm"]) {
      const { exitCode, stderr } = await capture([verb, `token/${secret}`], { api });
      expect([exitCode, stderr]).toEqual([2, expect.stringContaining("that is a secret token, which has no document")]);
    }
    expect(calls).toHaveLength(3);
  });

  test("what is there stays without it", async () => {
    const path = await file(`# first\n${JSON.stringify(role("a"))}\n`);
    const { api } = fakeApi(new Failure("already_exists", "there is a role a already"));
    expect(await capture(["create", "-f", path], { api })).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: `mcpgate: error: ${path}:2:1: there is a role a already\nmcpgate: hint: mcpgate create -f ${path} --force\n`,
    });
  });

  test("what is wrong with a role is placed in the file", async () => {
    const { api } = fakeApi(stored("a"), new Failure("invalid", "spec.alow: unknown key; did you mean allow?"));
    const text = "- {kind: role, metadata: {name: a}}\n- kind: role\n  metadata: {name: b}\n  spec:\n    alow: {}\n";
    expect(await capture(["create", "-f", "-"], { api, stdin: text })).toEqual({
      exitCode: 1,
      stdout: 'role "a" has been created\n',
      stderr: "mcpgate: error: standard input:5:5: spec.alow: unknown key; did you mean allow?\n",
    });
  });

  const broken: [text: string, error: string, hint: string][] = [
    ["", "FILE: holds no document", "for an example: mcpgate get role/mcp-user"],
    ["kind: [\n", "FILE:2:1: flow sequence in block collection must be sufficiently indented and end with a ]", ""],
    ["kind: rle\n", `FILE:1:1: kind: "rle" can't be created`, "did you mean: kind: role"],
    ["kind: vm\n", `FILE:1:1: kind: "vm" can't be created`, "known: kind: role, kind: lock, kind: token, kind: app"],
    ["kind: role\n---\n- 3\n", "FILE:3:3: kind: is required", "known: kind: role, kind: lock, kind: token, kind: app"],
  ];
  for (const [text, error, hint] of broken) {
    test(`nothing is created of ${JSON.stringify(text)}`, async () => {
      const path = await file(text);
      const { exitCode, stderr } = await capture(["create", "-f", path]);
      const hinted = hint === "" ? "" : `mcpgate: hint: ${hint}\n`;
      expect(exitCode).toBe(2);
      expect(stderr.replaceAll(path, "FILE")).toBe(`mcpgate: error: ${error}\n${hinted}`);
    });
  }
});

describe("get and rm", () => {
  test("what get prints, create takes", async () => {
    for (const format of ["yaml", "json"]) {
      const { api } = fakeApi({ roles: [stored("a"), stored("b")] });
      const { stdout } = await capture(["get", "roles", `--format=${format}`], { api });
      const again = fakeApi(stored("a"), stored("b"));
      await capture(["create", "-f", "-"], { api: again.api, stdin: stdout });
      expect(again.calls.map(({ body }) => body)).toEqual([role("a"), role("b")]);
    }
  });

  test("one by its name", async () => {
    const { api, calls } = fakeApi(stored("a"), stored("a"));
    expect((await capture(["get", "role/a"], { api })).stdout).toBe(
      "kind: role\nversion: v8\nmetadata:\n  name: a\nspec: {}\n",
    );
    expect(JSON.parse((await capture(["get", "role/a", "--format=json"], { api })).stdout)).toEqual(role("a"));
    expect(calls.map(({ path }) => path)).toEqual(["/v1/api/roles/a", "/v1/api/roles/a"]);
  });

  test("rm", async () => {
    const { api, calls } = fakeApi({ name: "a" });
    expect((await capture(["rm", "role/a"], { api })).stdout).toBe('role "a" has been deleted\n');
    expect(calls).toEqual([{ method: "DELETE", path: "/v1/api/roles/a" }]);
  });
});
