import { describe, expect, test } from "bun:test";
import { appAccess } from "../../src/rbac/access.ts";
import { compile, decide } from "../../src/rbac/decide.ts";
import { compilePattern } from "../../src/rbac/match.ts";
import { parseRole } from "../../src/rbac/role.ts";
import { expandEntry } from "../../src/rbac/template.ts";
import type { Traits } from "../../src/rbac/traits.ts";

const role = (allow: unknown, deny: unknown = {}) =>
  parseRole({ kind: "role", version: "v8", metadata: { name: "r" }, spec: { allow, deny } });
const app = { name: "db", labels: { env: "dev" } };
const everywhere = { app_labels: { "*": "*" } };

describe("one entry", () => {
  const traits = { team: ["data", "o*", "a.b"], none: [], broken: ["^($"], mcp_tools: ["*"] };
  const cases: [entry: string, allow: string[], deny: string[]][] = [
    ["read_*", ["read_*"], ["read_*"]],
    ["{{internal.mcp_tools}}", ["*"], ["*"]],
    ["{{external.team}}", ["data", "o*", "a.b"], ["data", "o*", "a.b"]],
    ['{{ external["team"] }}', ["data", "o*", "a.b"], ["data", "o*", "a.b"]],
    // a pattern among the values is no pattern with text around it: allowed is nothing, denied is everything that it could mean
    ["{{external.team}}_get", ["data_get", "a.b_get"], ["data_get", "*_get", "a.b_get"]],
    [
      "^{{external.team}}-\\d$",
      ["^data-\\d$", "^o\\*-\\d$", "^a\\.b-\\d$"],
      ["^data-\\d$", "^o\\*-\\d$", "^a\\.b-\\d$"],
    ],
    // nobody knows what a trait would have said that is not there
    ["{{external.missing}}", [], ["*"]],
    ["x_{{external.missing}}", [], ["x_*"]],
    ["^x{{external.missing}}y$", [], ["^x(?s:.*)y$"]],
    ["{{external.constructor}}", [], ["*"]],
    // one that is there and empty says: nothing
    ["{{external.none}}", [], []],
    ["{{external.broken}}", [], ["*"]],
  ];
  for (const [entry, allow, deny] of cases) {
    test(entry, () => {
      expect(expandEntry(entry, traits, "allow", compilePattern)).toEqual(allow);
      expect(expandEntry(entry, traits, "deny", compilePattern)).toEqual(deny);
    });
  }
});

describe("in a role", () => {
  const allowed = (r: ReturnType<typeof role>, traits: Traits, kind: "tool" | "prompt" | "resource", name: string) =>
    decide(compile(appAccess([r], app, { name: "alice", traits }).rules), { kind, name }).allowed;

  test("tools come from the trait; without it there are none", () => {
    const r = role({ ...everywhere, mcp: { tools: ["{{internal.mcp_tools}}"] } });
    expect(allowed(r, { mcp_tools: ["read_*"] }, "tool", "read_x")).toBe(true);
    expect(allowed(r, { mcp_tools: ["read_*"] }, "tool", "write_x")).toBe(false);
    expect(allowed(r, {}, "tool", "read_x")).toBe(false);
    expect(compile(appAccess([r], app).rules).rules.roles[0]?.allow.tools).toEqual([]);
    // `*` opens the rest as it does where it is written out
    expect(allowed(r, { mcp_tools: ["*"] }, "prompt", "p")).toBe(true);
    expect(allowed(r, { mcp_tools: ["read_*"] }, "prompt", "p")).toBe(false);
  });

  test("prompts that expand to nothing don't fall back to the default", () => {
    const r = role({ ...everywhere, mcp: { tools: ["*"], prompts: ["{{external.prompts}}"] } });
    expect(allowed(r, {}, "prompt", "p")).toBe(false);
    expect(allowed(r, { prompts: ["p"] }, "prompt", "p")).toBe(true);
  });

  test("resources of one's own", () => {
    const r = role({ ...everywhere, mcp: { tools: [], resources: ["file:///home/{{external.unix_login}}/*"] } });
    expect(allowed(r, { unix_login: ["alice"] }, "resource", "file:///home/alice/a")).toBe(true);
    expect(allowed(r, { unix_login: ["alice"] }, "resource", "file:///home/bob/a")).toBe(false);
    expect(allowed(r, { unix_login: ["*"] }, "resource", "file:///home/bob/a")).toBe(false);
  });

  test("a deny whose trait is missing denies", () => {
    const r = role({ ...everywhere, mcp: { tools: ["*"] } }, { mcp: { tools: ["{{external.forbidden}}"] } });
    expect(allowed(r, { forbidden: ["drop_*"] }, "tool", "read")).toBe(true);
    expect(allowed(r, { forbidden: ["drop_*"] }, "tool", "drop_all")).toBe(false);
    expect(allowed(r, { forbidden: [] }, "tool", "drop_all")).toBe(true);
    expect(allowed(r, {}, "tool", "read")).toBe(false);
  });

  test("labels", () => {
    const r = role({ app_labels: { env: ["{{external.env}}", "test"] } });
    const reach = (traits: Traits, env: string, of = r) =>
      appAccess([of], { name: "x", labels: { env } }, { name: "", traits }).allowed;
    expect([reach({ env: ["dev"] }, "dev"), reach({ env: ["dev"] }, "prod"), reach({}, "dev")]).toEqual([
      true,
      false,
      false,
    ]);
    expect(reach({}, "test")).toBe(true);
    const not = role(everywhere, { app_labels: { env: "{{external.blocked}}" } });
    expect([reach({ blocked: ["prod"] }, "dev", not), reach({ blocked: ["prod"] }, "prod", not)]).toEqual([
      true,
      false,
    ]);
    expect(reach({}, "dev", not)).toBe(false);
  });

  test("a broken template is refused when the role is written", () => {
    for (const entry of [
      "{{internal.}}",
      "{{external.a}}{{external.b}}",
      "{{nothing.a}}",
      "{{external.a",
      "^({{external.a}}$",
    ]) {
      expect(() => role({ ...everywhere, mcp: { tools: ["ok", entry] } })).toThrow("spec.allow.mcp.tools.1: ");
    }
    expect(() => role({ app_labels: { "{{external.a}}": "x" } })).toThrow("spec.allow.app_labels: ");
  });

  test("a grant's rules stay bounded", () => {
    const tools = Array.from({ length: 100 }, (_, i) => `t${i}_{{external.many}}`);
    const traits = { many: Array.from({ length: 60 }, (_, i) => `v${i}`) };
    const r = role({ ...everywhere, mcp: { tools } });
    expect(() => appAccess([r], app, { name: "", traits })).toThrow("more than 5000 entries");
  });
});
