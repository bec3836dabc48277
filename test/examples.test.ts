/** Every example is one that works. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseDocument } from "yaml";
import { admitResources } from "../src/agent/admit-resources.ts";
import { loadConfig } from "../src/config/load.ts";
import { parseTokenDocument } from "../src/identity/token-resource.ts";
import { parseRole } from "../src/rbac/role.ts";
import { runRoleTests } from "../src/rbac/role-tests.ts";

const examples = join(import.meta.dir, "../examples");
const files = (pattern: string) => [...new Bun.Glob(pattern).scanSync(examples)].sort();

const configurations = files("*.yaml");
const roles = files("roles/*.yaml");
const tokens = files("tokens/*.yaml");
const apps = files("apps/*.yaml");

test("there are examples", () => {
  expect([configurations.length, roles.length, files("*.json").length].every((count) => count > 0)).toBe(true);
  const monitoring = files("monitoring/*"); // `monitoring.test.ts`
  const schemas = files("schema/*.json"); // `config/json-schema.test.ts`
  const known = [configurations, roles, tokens, apps, files("*.json"), monitoring, schemas].map(({ length }) => length);
  expect(files("**/*").length).toBe(known.reduce((sum, each) => sum + each));
});

test.each(configurations)("%s loads, as root and not", (name) => {
  for (const uid of [0, 1000]) {
    const config = loadConfig({ path: join(examples, name), env: {}, uid });
    expect(config.proxy ?? config.app).toBeDefined();
  }
});

test.each(apps)("%s is an app that the example's agent runs", (name) => {
  const document = parseDocument(readFileSync(join(examples, name), "utf8")).toJS();
  const { app } = loadConfig({ path: join(examples, "agent-for-app-resources.yaml"), env: {}, uid: 0 });
  if (app === undefined) throw new Error("app_service is not enabled");
  const resource = { name: document.metadata.name, revision: "1", document };
  expect(admitResources([resource], app).reports).toEqual([{ name: resource.name, revision: "1", state: "offered" }]);
});

test.each(tokens)("%s is a join token", (name) => {
  const token = parseTokenDocument(parseDocument(readFileSync(join(examples, name), "utf8")).toJS());
  expect(token.method).not.toBe("token");
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
