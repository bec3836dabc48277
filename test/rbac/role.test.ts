import { describe, expect, test } from "bun:test";
import { parse as parseYaml } from "yaml";
import { Failure } from "../../src/errors.ts";
import { adminAllowed, appAccess } from "../../src/rbac/access.ts";
import { allowedTools } from "../../src/rbac/decide.ts";
import { PRESET_ROLES } from "../../src/rbac/presets.ts";
import { parseRole, type Role } from "../../src/rbac/role.ts";

/** The original's preset, as its guide shows it. */
const SEED = `
kind: role
version: v8
metadata:
  description: Access to MCP servers
  labels:
    teleport.internal/resource-type: preset
  name: mcp-user
spec:
  allow:
    app_labels:
      'teleport.internal/app-sub-kind': 'mcp'
    mcp:
      tools:
      - '*'
`;

const role = (name: string, spec: unknown): Role =>
  parseRole({ kind: "role", version: "v8", metadata: { name }, spec });

const problem = (value: unknown): string => {
  try {
    parseRole(value);
  } catch (error) {
    if (error instanceof Failure) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "none";
};

describe("parseRole", () => {
  test("takes the original's document unchanged, and the preset is the same", () => {
    const seed = parseRole(parseYaml(SEED));
    const preset = PRESET_ROLES.find(({ metadata }) => metadata.name === "mcp-user");
    expect(preset).toEqual(seed);
    expect(appAccess([seed], { name: "everything", labels: { env: "dev" } })).toEqual({
      allowed: true,
      rules: { v: 1, roles: [{ role: "mcp-user", allow: { tools: ["*"] }, deny: {} }] },
    });
  });

  test("gives back what it gave", () => {
    for (const preset of PRESET_ROLES) expect(parseRole(JSON.parse(JSON.stringify(preset)))).toEqual(preset);
  });

  const head = { kind: "role", version: "v8", metadata: { name: "x" } };
  test.each([
    [{ ...head, spec: { alow: {} } }, "invalid: spec.alow: unknown key; did you mean allow?"],
    [
      { ...head, spec: { allow: { mcp: { tool: ["a"] } } } },
      "invalid: spec.allow.mcp.tool: unknown key; did you mean tools?",
    ],
    [{ ...head, spec: { allow: { logins: [] } } }, "invalid: spec.allow.logins: unknown key"],
    [{ ...head, spec: { allow: { mcp: { tools: "*" } } } }, "invalid: spec.allow.mcp.tools: must be a list"],
    [{ ...head, spec: { allow: { mcp: { tools: [1] } } } }, "invalid: spec.allow.mcp.tools.0: must be a string"],
    [
      { ...head, spec: { deny: { mcp: { tools: ["ok", "^(a$"] } } } },
      "invalid: spec.deny.mcp.tools.1: the regular expression",
    ],
    [{ ...head, spec: { allow: { mcp: { tools: [""] } } } }, "invalid: spec.allow.mcp.tools.0: an empty entry"],
    [{ ...head, spec: { allow: { app_labels: { "*": "dev" } } } }, "invalid: spec.allow.app_labels: the label '*'"],
    [
      { ...head, spec: { allow: { app_labels: { env: 1 } } } },
      "invalid: spec.allow.app_labels.env: must be a string or a list",
    ],
    [{ ...head, spec: { allow: { rules: [{ resources: ["rolle"], verbs: ["*"] }] } } }, "did you mean role?"],
    [{ ...head, spec: { options: { max_session_ttl: "8h" } } }, "invalid: spec.options.max_session_ttl: unknown key"],
    [{ ...head, version: "v3", spec: {} }, "invalid: version: must be v8"],
    [{ ...head, metadata: {}, spec: {} }, "invalid: metadata.name: is missing"],
    [{ ...head, metadata: { name: "a b" }, spec: {} }, "invalid: metadata.name: must be letters"],
    [{ ...head }, "invalid: spec: is missing"],
    ["role", "invalid: must be a mapping"],
    [null, "invalid: must be a mapping"],
  ])("refuses %j", (value, message) => {
    expect(problem(value)).toContain(message);
  });
});

describe("appAccess", () => {
  const app = (labels: Record<string, string>) => ({ name: "a", labels });
  const reaches = (app_labels: Record<string, string | string[]>, labels: Record<string, string>) =>
    appAccess([role("r", { allow: { app_labels } })], app(labels)).allowed;

  test.each([
    [{ env: "dev" }, { env: "dev" }, true],
    [{ env: "dev" }, { env: "prod" }, false],
    [{ env: "dev" }, {}, false],
    [{ env: ["dev", "test"] }, { env: "test" }, true],
    [{ env: "*" }, { env: "" }, true],
    [{ env: "*" }, {}, false],
    [{ env: "d*" }, { env: "dev" }, true],
    [{ env: "^(dev|test)$" }, { env: "test" }, true],
    [{ env: "dev", team: "a" }, { env: "dev" }, false],
    [{ env: "dev", team: "a" }, { env: "dev", team: "a", x: "y" }, true],
    [{ "*": "*" }, {}, true],
    [{ "*": ["*"], env: "dev" }, {}, false],
    [{}, { env: "dev" }, false],
    [{ env: [] }, { env: "dev" }, false],
    [{ "teleport.internal/app-sub-kind": "mcp" }, {}, true],
    [{ "mcpgate.internal/app-sub-kind": "mcp" }, { "teleport.internal/app-sub-kind": "other" }, true],
    [{ toString: "*" }, {}, false],
  ] as [Record<string, string | string[]>, Record<string, string>, boolean][])(
    "%j on %j",
    (selector, labels, expected) => {
      expect(reaches(selector, labels)).toBe(expected);
    },
  );

  test("nobody reaches anything without a rule", () => {
    expect(appAccess([], app({})).allowed).toBe(false);
    expect(appAccess([role("r", {})], app({})).allowed).toBe(false);
    expect(appAccess([...PRESET_ROLES.filter(({ metadata }) => metadata.name !== "mcp-user")], app({})).allowed).toBe(
      false,
    );
  });

  test("allows come from roles that match, denies from all", () => {
    const { allowed, rules } = appAccess(
      [
        role("dev", { allow: { app_labels: { env: "dev" }, mcp: { tools: ["read_*"] } } }),
        role("prod", {
          allow: { app_labels: { env: "prod" }, mcp: { tools: ["*"] } },
          deny: { mcp: { tools: ["x"] } },
        }),
        role("none", { deny: { mcp: { tools: ["write_*"] } } }),
      ],
      app({ env: "dev" }),
    );
    expect(allowed).toBe(true);
    expect(allowedTools(rules)).toEqual({ allowed: ["read_*"], denied: ["write_*", "x"] });
    expect(rules.roles.map(({ role }) => role)).toEqual(["dev", "prod", "none"]);
  });

  test("denied labels close the app, whoever allows it", () => {
    const user = role("u", { allow: { app_labels: { "*": "*" }, mcp: { tools: ["*"] } } });
    const not = role("n", { deny: { app_labels: { env: ["prod"] } } });
    expect(appAccess([user, not], app({ env: "prod" })).allowed).toBe(false);
    expect(appAccess([user, not], app({ env: "dev" })).allowed).toBe(true);
  });
});

test("adminAllowed", () => {
  const preset = (name: string) => PRESET_ROLES.filter(({ metadata }) => metadata.name === name);
  expect(adminAllowed(preset("admin"), "role", "create")).toBe(true);
  expect(adminAllowed(preset("auditor"), "event", "read")).toBe(true);
  expect(adminAllowed(preset("auditor"), "event", "delete")).toBe(false);
  expect(adminAllowed(preset("auditor"), "role", "read")).toBe(false);
  expect(adminAllowed(preset("mcp-user"), "event", "read")).toBe(false);
  expect(adminAllowed([], "event", "read")).toBe(false);
  const limited = role("l", { deny: { rules: [{ resources: ["token"], verbs: ["*"] }] } });
  expect(adminAllowed([...preset("admin"), limited], "token", "create")).toBe(false);
  expect(adminAllowed([...preset("admin"), limited], "user", "create")).toBe(true);
});
