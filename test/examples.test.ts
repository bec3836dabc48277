/** Every example is one that works. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseDocument } from "yaml";
import { loadConfig } from "../src/config/load.ts";
import { parseRole } from "../src/rbac/role.ts";
import { runRoleTests } from "../src/rbac/role-tests.ts";

const examples = join(import.meta.dir, "../examples");
const files = (pattern: string) => [...new Bun.Glob(pattern).scanSync(examples)].sort();

const configurations = files("*.yaml");
const roles = files("roles/*.yaml");

test("there are examples", () => {
  expect([configurations.length, roles.length, files("*.json").length].every((count) => count > 0)).toBe(true);
  expect(files("**/*").length).toBe(configurations.length + roles.length + files("*.json").length);
});

test.each(configurations)("%s loads, as root and not", (name) => {
  for (const uid of [0, 1000]) {
    const config = loadConfig({ path: join(examples, name), env: {}, uid });
    expect(config.proxy ?? config.app).toBeDefined();
  }
});

test.each(roles)("%s is a role whose own tests hold", (name) => {
  const role = parseRole(parseDocument(readFileSync(join(examples, name), "utf8")).toJS());
  for (const { test: each, passed, verdict } of runRoleTests(role)) {
    expect({ each, passed, verdict }).toEqual({ each, passed: true, verdict });
  }
});

test("mcp.json launches what `client config` writes", () => {
  const { mcpServers } = JSON.parse(readFileSync(join(examples, "mcp.json"), "utf8"));
  expect(mcpServers["mcpgate-everything"].args).toEqual(["client", "connect", "everything"]);
});
