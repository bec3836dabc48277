import { describe, expect, test } from "bun:test";
import { explain } from "../../src/rbac/explain.ts";
import { parseRole } from "../../src/rbac/role.ts";
import { checkRole, runRoleTests } from "../../src/rbac/role-tests.ts";

const document = (name: string, allow: unknown, deny: unknown = {}, rest: object = {}) => ({
  kind: "role",
  version: "v8",
  metadata: { name },
  spec: { allow, deny },
  ...rest,
});
const role = (name: string, allow: unknown, deny?: unknown) => parseRole(document(name, allow, deny));
const app = { name: "db", labels: { env: "dev" } };
const alice = { name: "alice", traits: { team: ["data"] } };
const all = { "*": "*" };

describe("explain", () => {
  const roles = [
    role("reader", { app_labels: { env: "dev" }, mcp: { tools: ["get", "read_*", "{{external.team}}_*"] } }),
    role(
      "careful",
      { app_labels: all, mcp: { prompts: ["*"] } },
      { mcp: { tools: ["read_secret*"], methods: ["resources/*"] } },
    ),
  ];
  const cases: [deed: object, allowed: boolean, role: string | undefined, path: string | undefined, entry?: string][] =
    [
      [{}, true, "reader", "spec.allow"],
      [{ tool: "read_x" }, true, "reader", "spec.allow.mcp.tools.1", "read_*"],
      [{ tool: "data_x" }, true, "reader", "spec.allow.mcp.tools.2", "data_*"],
      [{ tool: "write" }, false, undefined, undefined],
      [{ tool: "read_secret_x" }, false, "careful", "spec.deny.mcp.tools.0", "read_secret*"],
      [{ resource: "file:///a" }, false, "careful", "spec.deny.mcp.methods.0", "resources/*"],
      [{ method: "resources/list" }, false, "careful", "spec.deny.mcp.methods.0", "resources/*"],
      [{ method: "nobody/knows" }, false, undefined, undefined],
      [{ method: "tools/list" }, true, "reader", undefined],
      [{ prompt: "p" }, true, "careful", "spec.allow.mcp.prompts.0", "*"],
    ];
  for (const [deed, allowed, who, path, entry] of cases) {
    test(JSON.stringify(deed), () => {
      const verdict = explain(roles, app, alice, deed);
      expect([verdict.allowed, verdict.role, verdict.path, verdict.entry]).toEqual([allowed, who, path, entry]);
    });
  }

  test("the app itself", () => {
    const not = role("not", {}, { app_labels: { env: "dev" } });
    expect(explain([...roles, not], app, alice, { tool: "read_x" })).toEqual({
      allowed: false,
      reason: "the role not shuts out the app db",
      role: "not",
      path: "spec.deny",
    });
    expect(explain([], app, alice, {})).toEqual({ allowed: false, reason: "no role reaches the app db" });
  });

  test("conditions, also those that can't be judged", () => {
    const limited = role("limited", {
      app_labels: all,
      mcp: { tools: [{ name: "pay", where: "arguments.amount < 10" }] },
    });
    const pay = (json: string) =>
      explain([limited], app, alice, { tool: "pay", arguments: new TextEncoder().encode(json) });
    expect(pay('{"amount": 9}')).toMatchObject({ allowed: true, path: "spec.allow.mcp.tools.0" });
    expect(pay('{"amount": 11}')).toMatchObject({ allowed: false, reason: "no role allows the tool pay" });
    const broken = pay("{}");
    expect(broken).toMatchObject({ allowed: false, role: "limited", path: "spec.allow.mcp.tools.0" });
    expect(broken.reason).toStartWith("the role limited does not allow the tool pay: its condition can't be judged: ");
  });
});

describe("a role's tests", () => {
  const dev = { name: "db", labels: { env: "dev" } };
  const tested = (...tests: object[]) =>
    document("r", { app_labels: { env: "dev" }, mcp: { tools: ["read_*", "{{external.team}}_x"] } }, {}, { tests });

  test("pass and fail", () => {
    const results = runRoleTests(
      parseRole(
        tested(
          { user: "alice", app: dev, tool: "read_a", expect: "allow" },
          { user: "alice", app: dev, tool: "drop", expect: "deny" },
          { app: "db", tool: "read_a", expect: "deny" },
          { user: { name: "bob", traits: { team: ["ops"] } }, app: dev, tool: "ops_x", expect: "allow" },
          { user: "alice", app: dev, tool: "drop", expect: "allow" },
        ),
      ),
    );
    expect(results.map(({ passed }) => passed)).toEqual([true, true, true, true, false]);
  });

  test("one that fails refuses the role, and says where", () => {
    expect(() => checkRole(tested({ app: dev, expect: "allow" }))).not.toThrow();
    const wrong = { app: dev, tool: "drop", expect: "allow" };
    expect(() => checkRole(tested({ app: dev, expect: "allow" }, wrong, wrong))).toThrow(
      "tests.1: expected allow, and no role allows the tool drop (and 1 more of 3 tests fail)",
    );
    expect(() => checkRole(tested({ app: dev, expect: "alow" }))).toThrow("tests.0.expect: ");
    expect(() => checkRole(tested({ app: dev, tol: "x", expect: "deny" }))).toThrow("tests.0.tol: unknown key");
    expect(() => checkRole(tested({ user: { name: "a", traits: { "": ["x"] } }, app: dev, expect: "deny" }))).toThrow(
      "tests.0: traits: ",
    );
  });
});
