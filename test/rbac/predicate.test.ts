import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { appAccess } from "../../src/rbac/access.ts";
import { compilePredicate, MAX_EXPRESSION_CHARS } from "../../src/rbac/predicate.ts";
import { parseRole } from "../../src/rbac/role.ts";

const facts = {
  labels: { env: "staging", team: "data", empty: "" },
  user: { name: "alice", traits: { teams: ["data", "ops"], none: [] } },
};

describe("what holds", () => {
  const cases: [expression: string, holds: boolean][] = [
    ['labels["env"] == "staging"', true],
    ["labels[`env`] != `staging`", false],
    ['labels["env"] == "prod" || labels["team"] == "data"', true],
    // && binds tighter than ||, ! tighter than ==
    ["true || false && false", true],
    ["(true || false) && false", false],
    ["!true == false", true],
    ["!(true == false)", true],
    ['labels["nope"] == ""', true],
    ['labels["constructor"] == ""', true],
    ['contains(user.spec.traits["teams"], labels["team"])', true],
    ['contains(user.spec.traits["nope"], labels["team"])', false],
    ['contains_any(user.spec.traits["teams"], set("x", "ops"))', true],
    ['contains_all(user.spec.traits["teams"], set("data", "x"))', false],
    ['contains_all(user.spec.traits["teams"], user.spec.traits["none"])', false],
    ['is_empty(user.spec.traits["none"])', true],
    ['hasPrefix(labels["env"], "stag") && hasSuffix(labels["env"], "ing")', true],
    ['regexp.match(labels["env"], "^st.+g$")', true],
    ['regexp.match(labels["env"], "st*")', true],
    ['regexp.match(user.spec.traits["teams"], "o*")', true],
    ['strings.upper(labels["env"]) == "STAGING"', true],
    ['contains(strings.upper(user.spec.traits["teams"]), "OPS")', true],
    ['contains(union(user.spec.traits["none"], "a"), "a")', true],
    ['user.metadata.name == "alice"', true],
    ['labels["env"] == "stag\\u0069ng"', true],
  ];
  for (const [expression, holds] of cases) {
    test(expression, () => expect(compilePredicate(expression)(facts)).toBe(holds));
  }
});

describe("what is refused when it is written", () => {
  const cases: [expression: string, why: string][] = [
    ["", "the expression ends (at character 1)"],
    ['labels["env"]', "the expression is a string, not a condition"],
    ['labels["env"] == ', "the expression ends (at character 18)"],
    ["labels[env] == `a`", "a key must be a string"],
    ['labels.env == "x"', "nothing is called labels.env here (at character 1)"],
    ['label["env"] == "x"', "nothing is called label here"],
    ['toString("x")', "nothing is called toString here"],
    ['user.spec.traits["a"] == "b"', "== takes two strings or two conditions, not a list and a string"],
    ['true && "a"', "&& takes two conditions, not a bool and a string"],
    ['!"a"', "! takes a condition, not a string"],
    ['contains(labels["env"], "a")', "contains: takes (list, string), not a string"],
    ["contains()", "contains: takes (list, string)"],
    ['regexp.match(labels["env"], labels["re"])', "a pattern in quotes"],
    ['regexp.match(labels["env"], "^($")', "is broken"],
    ['"a', "a string without an end (at character 1)"],
    ["true & false", "unexpected & (at character 6)"],
    ["true true", 'unexpected "true" (at character 6)'],
    ["true)", 'unexpected ")"'],
    [`${"!".repeat(40)}true`, "nested too deeply"],
    [`${"(".repeat(40)}true${")".repeat(40)}`, "nested too deeply"],
    [`true${" ".repeat(MAX_EXPRESSION_CHARS)}`, "longer than 4096 characters"],
  ];
  for (const [expression, why] of cases) {
    test(`${expression.slice(0, 40)}: ${why}`, () => expect(() => compilePredicate(expression)).toThrow(why));
  }

  test("whatever is written, it is compiled or refused in words", () => {
    const words = [
      "labels",
      '["env"]',
      "user.spec.traits",
      "contains",
      "(",
      ")",
      ",",
      "==",
      "!",
      "&&",
      "||",
      '"a"',
      "true",
    ];
    const text = fc.oneof(
      fc.string({ maxLength: 60 }),
      fc.array(fc.constantFrom(...words), { maxLength: 20 }).map((all) => all.join(" ")),
    );
    fc.assert(
      fc.property(text, (expression) => {
        try {
          expect(typeof compilePredicate(expression)(facts)).toBe("boolean");
        } catch (error) {
          expect(error).toMatchObject({ name: "Failure", code: "invalid" });
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("a role says where", () => {
    const document = { kind: "role", version: "v8", metadata: { name: "r" } };
    expect(() => parseRole({ ...document, spec: { allow: { app_labels_expression: "labels[" } } })).toThrow(
      "spec.allow.app_labels_expression: ",
    );
  });
});

describe("in a role", () => {
  const reach = (allow: unknown, deny: unknown, env = "staging") => {
    const role = parseRole({ kind: "role", version: "v8", metadata: { name: "r" }, spec: { allow, deny } });
    return appAccess([role], { name: "x", labels: { env } }, facts.user).allowed;
  };
  const staging = { app_labels_expression: 'labels["env"] == "staging"' };

  test("alone, and beside app_labels: both have to match", () => {
    expect([reach(staging, {}), reach(staging, {}, "prod")]).toEqual([true, false]);
    expect(reach({ ...staging, app_labels: { env: "prod" } }, {})).toBe(false);
    expect(reach({ ...staging, app_labels: { "*": "*" } }, {})).toBe(true);
  });

  test("in deny one of them is enough", () => {
    const all = { app_labels: { "*": "*" } };
    expect([reach(all, staging), reach(all, staging, "prod")]).toEqual([false, true]);
    expect(reach(all, { ...staging, app_labels: { env: "prod" } }, "prod")).toBe(false);
    expect(reach(all, { ...staging, app_labels: { env: "dev" } }, "prod")).toBe(true);
  });

  test("the label that every app has, by either name", () => {
    for (const name of ["teleport", "mcpgate"]) {
      expect(reach({ app_labels_expression: `labels["${name}.internal/app-sub-kind"] == "mcp"` }, {})).toBe(true);
    }
  });
});
