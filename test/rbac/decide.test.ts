import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { appAccess } from "../../src/rbac/access.ts";
import { compile, decide, type QueryKind } from "../../src/rbac/decide.ts";
import { parseRole } from "../../src/rbac/role.ts";
import type { AppRules, McpRules } from "../../src/rbac/rules.ts";

const rulesOf = (allow: McpRules, deny: McpRules = {}): AppRules => ({ v: 1, roles: [{ role: "r", allow, deny }] });
const allowed = (rules: AppRules, kind: QueryKind, name: string) => decide(compile(rules), { kind, name }).allowed;

describe("decide", () => {
  test.each([
    [{}, {}, "tool", "a", false],
    [{ tools: [] }, {}, "tool", "a", false],
    [{ tools: ["a"] }, {}, "tool", "a", true],
    [{ tools: ["*"] }, {}, "tool", "", false],
    [{ tools: ["*"] }, { tools: ["a"] }, "tool", "a", false],
    [{ tools: ["*"] }, { tools: ["*"] }, "tool", "b", false],
    [{ tools: ["a"] }, {}, "tool", "__proto__", false],
    // Where a role says nothing of prompts and resources: all with '*', none without.
    [{ tools: ["*"] }, {}, "prompt", "p", true],
    [{ tools: ["*"] }, {}, "resource", "x://a", true],
    [{ tools: ["*"] }, {}, "template", "x://{a}", true],
    [{ tools: ["*"], prompts: [] }, {}, "prompt", "p", false],
    [{ tools: ["*"] }, { prompts: ["p"] }, "prompt", "p", false],
    [{ tools: ["read_*"] }, {}, "prompt", "p", false],
    [{ tools: ["^.*$"] }, {}, "resource", "x://a", false],
    [{ prompts: ["p*"] }, {}, "prompt", "pp", true],
    [{ resources: ["x://a b"] }, {}, "resource", "x://a%20b", true],
    [{ resources: ["x://a%20b"] }, {}, "resource", "x://a%20b", true],
    [{ tools: ["*"] }, {}, "resource", "x://a/../b", false],
    [{ resources: ["*"] }, { resources: ["x://a"] }, "resource", "x://a#f", false],
    [{ resources: ["*"] }, { resources: ["x://a"] }, "resource", "x://a/", false],
    [{ resources: ["x://a"] }, {}, "resource", "x://a#f", false],
    [{ resources: ["x://a/*"] }, {}, "template", "x://a/{b}", true],
    [{ resources: ["x://a/{b}"] }, {}, "template", "x://a/{b}", true],
    [{ resources: ["x://a/1"] }, {}, "template", "x://a/{b}", false],
    // Methods.
    [{}, {}, "method", "tools/list", true],
    [{}, {}, "method", "logging/setLevel", true],
    [{}, {}, "method", "acme/do", false],
    [{ methods: ["acme/*"] }, {}, "method", "acme/do", true],
    [{ methods: ["acme/*"] }, {}, "method", "tools/list", true],
    [{}, { methods: ["logging/*"] }, "method", "logging/setLevel", false],
    [{}, { methods: ["*"] }, "method", "ping", true],
    [{ tools: ["*"] }, { methods: ["tools/*"] }, "tool", "a", false],
    [{ tools: ["*"] }, { methods: ["resources/read"] }, "resource", "x://a", false],
    [{ tools: ["*"] }, { methods: ["resources/read"] }, "tool", "a", true],
    // What a server asks.
    [{}, {}, "server_method", "sampling/createMessage", true],
    [{}, {}, "server_method", "elicitation/create", true],
    [{}, {}, "server_method", "tools/call", false],
    [{}, {}, "server_method", "notifications/progress", true],
    [{}, {}, "server_method", "notifications/acme", false],
    [{}, { server_methods: ["sampling/*"] }, "server_method", "sampling/createMessage", false],
    [{ server_methods: ["roots/list"] }, {}, "server_method", "sampling/createMessage", false],
    [{ server_methods: ["roots/list"] }, {}, "server_method", "notifications/message", true],
    [{ server_methods: [] }, {}, "server_method", "ping", true],
    [{ server_methods: ["acme/*"] }, {}, "server_method", "acme/do", true],
  ] as [McpRules, McpRules, QueryKind, string, boolean][])(
    "%j without %j: %s %s",
    (allow, deny, kind, name, expected) => {
      expect(allowed(rulesOf(allow, deny), kind, name)).toBe(expected);
    },
  );

  test("says which role and entry decided", () => {
    const policy = compile({
      v: 1,
      roles: [
        { role: "a", allow: { tools: ["read_*"] }, deny: {} },
        { role: "b", allow: {}, deny: { tools: ["*_secret"] } },
      ],
    });
    expect(decide(policy, { kind: "tool", name: "read_x" })).toEqual({ allowed: true, role: "a", rule: "read_*" });
    expect(decide(policy, { kind: "tool", name: "read_secret" })).toEqual({
      allowed: false,
      role: "b",
      rule: "*_secret",
    });
    expect(decide(policy, { kind: "tool", name: "write" })).toEqual({ allowed: false });
  });

  test("a role that does not reach the app opens nothing by its silence", () => {
    const role = (name: string, spec: unknown) => parseRole({ kind: "role", version: "v8", metadata: { name }, spec });
    const { rules } = appAccess(
      [
        role("a", { allow: { app_labels: { "*": "*" }, mcp: { tools: ["*"], server_methods: [] } } }),
        role("b", { allow: { app_labels: { env: "prod" }, mcp: { tools: ["*"] } }, deny: { mcp: { tools: ["x"] } } }),
      ],
      { name: "app", labels: {} },
    );
    expect(allowed(rules, "server_method", "sampling/createMessage")).toBe(false);
  });

  const entry = fc.constantFrom("a", "b", "ab", "*", "a*", "*b", "^a.*$", "^[ab]$", "x://a", "x://*");
  const list = fc.option(fc.array(entry, { maxLength: 3 }), { nil: undefined });
  const mcpRules = fc
    .record({ tools: list, prompts: list, resources: list })
    .map((rules) => JSON.parse(JSON.stringify(rules)) as McpRules);
  const appRules = fc
    .array(fc.record({ role: fc.constantFrom("r", "s"), allow: mcpRules, deny: mcpRules }), { maxLength: 3 })
    .map((roles): AppRules => ({ v: 1, roles }));
  const query = fc.record({
    kind: fc.constantFrom<QueryKind>("tool", "prompt", "resource"),
    name: fc.constantFrom("a", "b", "ab", "c", "x://a", "x://b", "x://a/../b"),
  });

  test("deny dominates: one more deny never allows, one more allow never denies", () => {
    const field = { tool: "tools", prompt: "prompts", resource: "resources" } as const;
    fc.assert(
      fc.property(appRules, query, entry, ({ roles }, { kind, name }, extra) => {
        const before = allowed({ v: 1, roles }, kind, name);
        const key = field[kind as keyof typeof field];
        const denied = { v: 1 as const, roles: [...roles, { role: "x", allow: {}, deny: { [key]: [extra] } }] };
        if (!before) expect(allowed(denied, kind, name)).toBe(false);
        const opened = { v: 1 as const, roles: [...roles, { role: "x", allow: { [key]: [extra] }, deny: {} }] };
        if (before) expect(allowed(opened, kind, name)).toBe(true);
        const closed = { v: 1 as const, roles: [...opened.roles, { role: "y", allow: {}, deny: { [key]: ["*"] } }] };
        expect(allowed(closed, kind, name)).toBe(false);
      }),
      { numRuns: 1000 },
    );
  });

  test("is the same through JSON, in any order of roles, and when asked again", () => {
    fc.assert(
      fc.property(appRules, query, ({ roles }, { kind, name }) => {
        const policy = compile({ v: 1, roles });
        const first = decide(policy, { kind, name });
        expect(decide(policy, { kind, name })).toEqual(first);
        const travelled = JSON.parse(JSON.stringify({ v: 1, roles: roles.toReversed() })) as AppRules;
        expect(allowed(travelled, kind, name)).toBe(first.allowed);
      }),
      { numRuns: 500 },
    );
  });

  const conditional = fc.oneof(
    entry,
    fc.record({ name: entry, where: fc.constantFrom("arguments.n <= 1", "arguments.n > 1", 'user.name == "alice"') }),
  );
  const side = fc.record({ tools: fc.array(conditional, { maxLength: 3 }) });
  const facts = { user: { name: "alice", roles: [], traits: {} }, app: { name: "x", labels: {} } };
  const json = fc.constantFrom(undefined, "{}", '{"n":1}', '{"n":2}', '{"n":"1"}', '{"n":1,"N":2}', "[]", "{");

  test("conditions: what may be called is listed, and where there is none the arguments change nothing", () => {
    fc.assert(
      fc.property(side, side, fc.constantFrom("a", "b", "ab", "c"), json, (allow, deny, name, text) => {
        const policy = compile({ v: 1, roles: [{ role: "r", allow, deny }], facts });
        const call = { arguments: text === undefined ? undefined : new TextEncoder().encode(text) };
        const listed = decide(policy, { kind: "tool", name }).allowed;
        const called = decide(policy, { kind: "tool", name, call }).allowed;
        if (called) expect(listed).toBe(true);
        const plain = [...allow.tools, ...deny.tools].every((each) => typeof each === "string");
        if (plain) expect(called).toBe(listed);
        // One more deny, with a condition or without, never allows.
        const closed = { tools: [...deny.tools, { name: "*", where: "arguments.n <= 1" }] };
        const stricter = compile({ v: 1, roles: [{ role: "r", allow, deny: closed }], facts });
        const still = decide(stricter, { kind: "tool", name, call }).allowed;
        if (still) expect(called && text === '{"n":2}').toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test("a conditional entry opens nothing but its tools", () => {
    const rules: AppRules = { ...rulesOf({ tools: [{ name: "*", where: "true" }] }), facts };
    expect(allowed(rules, "tool", "a")).toBe(true);
    expect(allowed(rules, "prompt", "p")).toBe(false);
    expect(allowed(rules, "resource", "x://a")).toBe(false);
    const policy = compile(rulesOf({ tools: [{ name: "*", where: "true" }] }));
    // Rules that came without their facts allow nothing.
    expect(decide(policy, { kind: "tool", name: "a", call: { arguments: undefined } }).allowed).toBe(false);
  });
});

describe("conditions in roles", () => {
  const role = (allow: unknown, deny: unknown = {}) =>
    parseRole({ kind: "role", version: "v8", metadata: { name: "payer" }, spec: { allow, deny } });
  const labels = { app_labels: { "*": "*" } };

  test("reach the grant with what they speak of, templates filled in", () => {
    const where = '"red" in user.traits.teams && app.labels["env"] == "dev" && "payer" in user.roles';
    const one = role({ ...labels, mcp: { tools: [{ name: "{{internal.mcp_tools}}", where }, "plain"] } });
    const person = { name: "alice", traits: { mcp_tools: ["pay", "send_*"], teams: ["red"] } };
    const { rules } = appAccess([one], { name: "bank", labels: { env: "dev" } }, person);
    expect(rules.roles[0]?.allow.tools).toEqual([{ name: "pay", where }, { name: "send_*", where }, "plain"]);
    const travelled = JSON.parse(JSON.stringify(rules)) as AppRules;
    const call = { arguments: undefined };
    expect(decide(compile(travelled), { kind: "tool", name: "send_all", call }).allowed).toBe(true);
    const other = appAccess([one], { name: "bank", labels: { env: "prod" } }, person).rules;
    expect(decide(compile(other), { kind: "tool", name: "send_all", call })).toEqual({ allowed: false });
  });

  test("rules without conditions carry no facts", () => {
    expect(
      appAccess([role({ ...labels, mcp: { tools: ["a"] } })], { name: "x", labels: {} }).rules.facts,
    ).toBeUndefined();
  });

  test.each([
    [{ tools: [{ name: "a", where: "arguments.n <" }] }, "spec.allow.mcp.tools.0.where: the condition is broken"],
    [{ tools: [{ name: "a" }] }, "spec.allow.mcp.tools.0.where"],
    [
      {
        tools: [
          { name: "^(", where: "true" },
          { name: "^($", where: "true" },
        ],
      },
      "spec.allow.mcp.tools.1.name",
    ],
    [{ tools: [{ name: "", where: "true" }] }, "spec.allow.mcp.tools.0.name: an empty entry"],
    [{ tools: [{ name: "a", whre: "true", where: "true" }] }, "did you mean where"],
    [{ resources: [{ name: "a", where: "true" }] }, "must be a string"],
    [{ prompts: [{ name: "a", where: "tool == 'x'" }] }, "spec.allow.mcp.prompts.0.where"],
  ])("%j is refused", (mcp, message) => {
    expect(() => role({ ...labels, mcp })).toThrow(message);
  });
});
