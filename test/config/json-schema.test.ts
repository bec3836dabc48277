/** The JSON Schemas for editors, by a validator of others': they take what the program takes. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { Ajv, type ValidateFunction } from "ajv";
import * as v from "valibot";
import { parse, parseAllDocuments } from "yaml";
import { appShape, parseAppResource } from "../../src/config/app-resource.ts";
import { describeApp, describeConfig } from "../../src/config/descriptions.ts";
import { type JsonSchema, jsonSchema } from "../../src/config/json-schema.ts";
import { parseConfig } from "../../src/config/parse.ts";
import { fileSchema } from "../../src/config/schema.ts";
import { describeToken } from "../../src/identity/descriptions.ts";
import { parseTokenDocument, tokenShape } from "../../src/identity/token-resource.ts";
import { describeLock, describeRole } from "../../src/rbac/descriptions.ts";
import { lockShape, parseLock } from "../../src/rbac/lock.ts";
import { parseRole, roleShape } from "../../src/rbac/role.ts";

const root = join(import.meta.dir, "../..");
const read = (...path: string[]): string => readFileSync(join(root, ...path), "utf8");
const compile = (schema: JsonSchema): ValidateFunction =>
  new Ajv({ allErrors: true, strict: true, allowUnionTypes: true, strictRequired: false }).compile(schema);

const schemas = {
  config: jsonSchema(fileSchema, { title: "config", describe: describeConfig }),
  role: jsonSchema(roleShape, { title: "role", describe: describeRole }),
  lock: jsonSchema(lockShape, { title: "lock", describe: describeLock }),
  token: jsonSchema(tokenShape, { title: "token", describe: describeToken }),
  app: jsonSchema(appShape, { title: "app", describe: describeApp }),
};
const validators = {
  config: compile(schemas.config),
  role: compile(schemas.role),
  lock: compile(schemas.lock),
  token: compile(schemas.token),
  app: compile(schemas.app),
};

/** What is wrong with a document, by its path and what was said. */
function faults(kind: keyof typeof schemas, text: string): string[] {
  const validate = validators[kind];
  validate(parse(text));
  return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
}

describe("the examples", () => {
  test.each([...new Bun.Glob("{*,roles/*,tokens/*,apps/*}.yaml").scanSync(join(root, "examples"))].sort())(
    "%s names its schema in its first line, and passes it",
    (name) => {
      const text = read("examples", name);
      const named = /^# yaml-language-server: \$schema=(\S+)\n/.exec(text)?.[1] ?? "";
      const schema = JSON.parse(readFileSync(resolve(root, "examples", dirname(name), named), "utf8"));
      const validate = compile(schema);
      for (const document of parseAllDocuments(text)) {
        validate(document.toJS());
        expect(validate.errors ?? []).toEqual([]);
      }
    },
  );
});

test.each(["agent.yaml", "app-service.yaml"])("the seed's %s passes as it is", (name) => {
  expect(faults("config", read("test/fixtures/seed", name))).toEqual([]);
});

test("so does the seed's role", () => {
  expect(faults("role", read("test/fixtures/seed/role.yaml"))).toEqual([]);
});

/** Everything at once, in spellings that the program takes. */
const everything = `\
version: v3
teleport:
mcpgate:
  data_dir: data
  diag_addr: off
  log: {severity: info, format: JSON}
  proxy_server: p
  join_params: {method: token, token_name: /tmp/token}
  ca_pin: SHA256:${"0aBC".repeat(16)}
proxy_service:
  enabled: yes
  public_addr: p
  tls: off
  trusted_proxies: [10.0.0.0/8, "::1"]
  audit:
    retention: {max_age: 90d, max_size: 10 GiB}
    sinks: [{type: stdout}, {type: http, url: "https://x/y", token: "env:T"}]
app_service:
  resume_window: 1h30m
  drain: 0s
  allow_host_users: [a]
  resources: [{labels: {env: [a, b], team: c}}]
  allow_commands: [["docker", "run", "**"]]
  audit: {spool_limit: 1MiB, on_full: drop_oldest, sync: always}
  apps:
    - name: a
      labels:
      description:
      shared: true
      tool_pinning: off
      mcp:
        command: x
        args: [a]
        run_as_host_user: "{{user.traits.login}}"
        env: {A: text, B: "file:/x", C: {command: [/bin/x, y]}, D: {value: "file:"}, E: {env: X}}
        share: user
        linger: 0s
        stop_grace: {stdin: 0s, term: 5m}
        limits: {memory: 512MiB, cpu: 0.5, processes: 1, idle_timeout: 30m}
        sandbox: {read: [/a]}
auth_service: {enabled: no, anything: 1}
`;

test("whatever the program takes", () => {
  const o = { file: "/f", shownAs: "F", uid: 0, defaultDataDir: () => "/d" };
  expect(parseConfig(everything, o).app?.apps).toHaveLength(1);
  expect(faults("config", everything)).toEqual([]);
  // YAML 1.1's words are booleans to some editors
  expect(faults("config", everything.replaceAll(": off", ": false").replace(": yes", ": true"))).toEqual([]);
});

test.each([
  ["foo: 1", " must NOT have additional properties"],
  ["mcpgate: []", "/mcpgate must be object,null"],
  ["mcpgate: {join_params: {}}", "/mcpgate/join_params must have required property 'token_name'"],
  ["mcpgate: {ca_pin: sha256:12}", '/mcpgate/ca_pin must match pattern "^[Ss][Hh][Aa]256:[0-9A-Fa-f]{64}$"'],
  ["mcpgate: {log: {severity: LOUD}}", "/mcpgate/log/severity must be equal to one of the allowed values"],
  ["app_service: {drain: 10}", "/app_service/drain must be string,null"],
  ["app_service: {drain: 10 s}", '/app_service/drain must match pattern "^(\\d{1,9}[smhd])+$"'],
  ["app_service: {apps: [{name: a}]}", "/app_service/apps/0 must have required property 'mcp'"],
  [
    "app_service: {apps: [{name: A, mcp: {command: x}}]}",
    '/app_service/apps/0/name must match pattern "^[a-z0-9][a-z0-9_-]{0,62}$"',
  ],
  ["app_service: {apps: [{name: a, mcp: {command: x, args: x}}]}", "/app_service/apps/0/mcp/args must be array,null"],
  ["app_service: {apps: [{name: a, mcp: {command: x, warm: 101}}]}", "/app_service/apps/0/mcp/warm must be <= 100"],
  [
    "app_service: {apps: [{name: a, mcp: {command: x, warm: 1.5}}]}",
    "/app_service/apps/0/mcp/warm must be integer,null",
  ],
  [
    "app_service: {apps: [{name: a, mcp: {command: x, cwd: x}}]}",
    '/app_service/apps/0/mcp/cwd must match pattern "^/"',
  ],
  [
    "app_service: {apps: [{name: a, mcp: {command: x, env: {A: 1}}}]}",
    "/app_service/apps/0/mcp/env/A must match a schema in anyOf",
  ],
])("%s is wrong to both", (text, fault) => {
  expect(faults("config", text)).toContain(fault);
  expect(v.safeParse(fileSchema, parse(text)).success).toBe(false);
});

test.each([
  ["role", "kind: role\nversion: v8\nmetadata: {name: a}\nspec: {alow: {}}\n", parseRole],
  ["role", "kind: role\nversion: v8\nmetadata: {name: a}\nspec: {allow: {mcp: {tools: [{name: a}]}}}\n", parseRole],
  ["lock", "kind: lock\nversion: v2\nspec: {target: {usr: a}}\n", (value: unknown) => parseLock(value, 0)],
  ["token", "kind: token\nversion: v2\nmetadata: {name: a}\nspec: {join_method: iam}\n", parseTokenDocument],
  ["app", "kind: app\nversion: v3\nmetadata: {name: a}\nspec: {mcp: {command: x}}\n", parseAppResource],
  [
    "app",
    "kind: app\nversion: v3\nmetadata: {name: a}\nspec: {mcp: {command: x, run_as_host_user: y, env: {A: b}}}\n",
    parseAppResource,
  ],
] as const)("a wrong %s is wrong to both: %s", (kind, text, parseDocument) => {
  expect(faults(kind, text).length).toBeGreaterThan(0);
  expect(() => parseDocument(parse(text))).toThrow();
});

test("every key says what it means", () => {
  const silent: string[] = [];
  const walk = (schema: JsonSchema, path: string): void => {
    for (const [key, child] of Object.entries((schema.properties ?? {}) as Record<string, JsonSchema>)) {
      if (typeof child.description !== "string") silent.push(`${path}.${key}`);
      walk(child, `${path}.${key}`);
    }
    for (const each of (schema.anyOf ?? []) as JsonSchema[]) walk(each, path);
    for (const each of [schema.items, schema.additionalProperties]) {
      if (typeof each === "object" && each !== null) walk(each as JsonSchema, `${path}[]`);
    }
  };
  for (const [kind, schema] of Object.entries(schemas)) walk(schema, kind);
  expect(silent).toEqual([]);
});

test("a kind of schema that is not known is an error, and not a hole", () => {
  expect(() => jsonSchema(v.date(), { title: "x", describe: () => "" })).toThrow("no JSON Schema is known for date");
  const email = v.pipe(v.string(), v.email());
  expect(() => jsonSchema(email, { title: "x", describe: () => "" })).toThrow("no JSON Schema is known for the action");
});
