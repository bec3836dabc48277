/** Conditions on arguments: what they may say, and that whatever is not certain denies. */
import { describe, expect, test } from "bun:test";
import { Failure } from "../../src/errors.ts";
import { compileCondition } from "../../src/rbac/condition.ts";
import type { CallFacts } from "../../src/rbac/rules.ts";

const facts: CallFacts = {
  user: { name: "alice", roles: ["analyst"], traits: { teams: ["blue", "red"] } },
  app: { name: "bank", labels: { env: "prod" } },
};

function judge(where: string, json: string | undefined, kind: "tool" | "prompt" = "tool"): boolean | string {
  try {
    const bytes = json === undefined ? undefined : new TextEncoder().encode(json);
    return compileCondition(where, kind)({ kind, name: "transfer", arguments: bytes }, facts);
  } catch (error) {
    return Failure.from(error).message;
  }
}

describe("a condition", () => {
  test.each<[string, string | undefined, boolean]>([
    ["true", undefined, true],
    ['tool == "transfer"', "{}", true],
    ["arguments.amount <= 100", '{"amount":100}', true],
    ["arguments.amount <= 100", '{"amount":100.5}', false],
    ["arguments.amount <= 100", '{"amount":1e2}', true],
    ["arguments.amount == 100", '{"amount":100.0}', true],
    ["arguments.amount > 99.5", '{"amount":100}', true],
    ["arguments.amount >= 0", '{"amount":-0}', true],
    ["arguments.amount * 2 < 9", '{"amount":4}', true],
    ['arguments.to != "prod"', '{"to":"dev"}', true],
    ['arguments["to"] == "a\\u0062"', '{"to":"ab"}', true],
    ['arguments.to in ["dev", "test"]', '{"to":"dev"}', true],
    ['"x" in arguments.tags && !("y" in arguments.tags)', '{"tags":["x"]}', true],
    ['arguments.path.startsWith("/tmp/") && !arguments.path.contains("..")', '{"path":"/tmp/a"}', true],
    ['arguments.path.matches("^/tmp/[a-z]+$")', '{"path":"/tmp/a"}', true],
    ['arguments.path.matches("(a+)+$")', `{"path":"${"a".repeat(5000)}b"}`, false],
    ['arguments.paths.all(p, p.startsWith("/tmp/"))', '{"paths":["/tmp/a","/tmp/b"]}', true],
    ['arguments.paths.all(p, p.startsWith("/tmp/"))', '{"paths":["/tmp/a","/etc"]}', false],
    ['arguments.groups.exists(g, g.members.exists(m, m == "bob"))', '{"groups":[{"members":["bob"]}]}', true],
    ["arguments.all(k, arguments.size() < 3)", '{"a":1,"b":2}', true],
    [
      "arguments.rows.filter(r, r.n > 1).size() == 1 && arguments.rows.map(r, r.n)[0] == 1",
      '{"rows":[{"n":1},{"n":2}]}',
      true,
    ],
    ["has(arguments.force) && arguments.force", '{"force":false}', false],
    ["!has(arguments.force) || arguments.force == null", '{"force":null}', true],
    ["!has(arguments.force)", undefined, true],
    ["(arguments.a ? arguments.b : arguments.c) == 2", '{"a":false,"b":1,"c":2}', true],
    ['user.name == arguments.owner && "analyst" in user.roles', '{"owner":"alice"}', true],
    ['arguments.team in user.traits["teams"]', '{"team":"red"}', true],
    ["arguments.team in user.traits.teams", '{"team":"green"}', false],
    ['app.name == "bank" && app.labels["env"] == "prod"', undefined, true],
    ["has(arguments.__proto__) || has(arguments.constructor)", "{}", false],
    ["arguments.__proto__ == 1", '{"__proto__":1}', true],
    ["arguments.m == arguments.n", '{"m":{"a":[1,{"b":2}]},"n":{"a":[1,{"b":2.0}]}}', true],
    ["size(arguments.s) == 1", '{"s":"\\ud83d\\ude00"}', true],
    // Fields that the condition does not read may be what they like.
    ["arguments.a == 1", '{"a":1,"id":12345678901234567890,"t":"\\ud800"}', true],
  ])("%s over %.60s", (where, json, expected) => {
    expect(judge(where, json)).toBe(expected);
  });

  test("prompts have `prompt` where tools have `tool`", () => {
    expect(judge('prompt == "transfer"', "{}", "prompt")).toBe(true);
    expect(() => compileCondition('prompt == "x"', "tool")).toThrow("unknown variable");
  });
});

describe("what can't be told is an error", () => {
  test.each<[string, string | undefined, string]>([
    // A missing argument, or one of another type.
    ["arguments.amount <= 100", "{}", "no such key"],
    ["arguments.amount <= 100", undefined, "no such key"],
    ["arguments.amount <= 100", '{"amount":"99"}', "no such overload"],
    ["arguments.amount <= 100", '{"amount":[1]}', "no such overload"],
    ["arguments.amount <= 100", '{"amount":true}', "no such overload"],
    ["arguments.amount <= 100", '{"amount":null}', "no such overload"],
    ['arguments.to != "prod"', '{"to":["prod"]}', "compares a list with a string"],
    ['arguments.to != "prod"', '{"to":null}', "compares a null with a string"],
    ['arguments.to != "prod"', '{"to":{"toString":"prod"}}', "compares a map with a string"],
    ['!(arguments.to in ["prod"])', '{"to":["prod"]}', "compares a list with a string"],
    ['!("prod" in arguments.to)', '{"to":"prod"}', "looks into a string"],
    ['!("prod" in arguments.to)', '{"to":[["prod"]]}', "compares a string with a list"],
    ['!arguments.to.contains("..")', '{"to":[".."]}', "takes a list for a string"],
    ["arguments.yes", '{"yes":"true"}', "neither true nor false"],
    ["!arguments.yes", '{"yes":0}', "no such overload"],
    // Numbers.
    ["arguments.n > 0", '{"n":9007199254740993}', "can't be held exactly"],
    ["arguments.n > 0", '{"n":9007199254740992}', "can't be held exactly"],
    ["arguments.n != 0.1", '{"n":0.1000000000000000055511151231257827}', "can't be held exactly"],
    ["arguments.n > 0", '{"n":1e400}', "can't be held exactly"],
    ["arguments.n == 0", '{"n":1e-400}', "can't be held exactly"],
    ["arguments.n < 1e300", '{"n":1e20}', "can't be held exactly"],
    ["arguments.l.all(x, x > 0)", '{"l":[1,9007199254740993]}', "can't be held exactly"],
    ["arguments.m == arguments.m", '{"m":{"n":9007199254740993}}', "can't be held exactly"],
    ['arguments.s != "a"', '{"s":"\\ud800"}', "can't be held exactly"],
    ['arguments.s != "a"', '{"s":"a\\u0000"}', "can't be held exactly"],
    ["arguments.n + 9223372036854775807 > 0", '{"n":1}', "overflow"],
    ["1 / arguments.n > 0", '{"n":0}', "division by zero"],
    // Keys.
    ["arguments.amount <= 100", '{"amount":1,"Amount":1000}', "two keys in one object"],
    ["arguments.amount <= 100", '{"amount":1,"AMOUNT ":1000,"x":{"k":1,"\\u212a":2}}', "two keys in one object"],
    ["!has(arguments.force)", '{"Force":true}', 'mistaken for "force"'],
    ["!has(arguments.skip)", '{"\\u017fkip":true}', 'mistaken for "skip"'],
    ["!has(arguments.force)", '{"\\uff46orce":true}', 'mistaken for "force"'],
    ['!("force" in arguments)', '{"FORCE":true}', 'mistaken for "force"'],
    ['!arguments.exists(k, k == "force")', '{"Force":true}', 'mistaken for "force"'],
    ["!has(arguments.force)", '{"force\\u0000x":true}', 'mistaken for "force"'],
    ["arguments.amount <= 100", '{"amount":1,"amount\\u0000":1000}', "two keys in one object"],
    ["!has(arguments.o.force)", '{"o":{"Force":true}}', 'mistaken for "force"'],
    // Too much.
    ["arguments.l.all(x, arguments.l.all(y, x == y))", `{"l":[${"1,".repeat(2000)}1]}`, "too much"],
    ["arguments.l.all(x, !arguments.l.exists(y, x != y)) || true", `{"l":[${"1,".repeat(2000)}1]}`, "too much"],
    ["arguments.a == 1", `{"a":1,"b":"${"x".repeat(1024 * 1024)}"}`, "longer than"],
  ])("%s over %.60s", (where, json, expected) => {
    expect(judge(where, json)).toContain(expected);
  });
});

describe("a condition is refused when it is written", () => {
  test.each([
    ["arguments.amount <=", "broken"],
    ["amount <= 100", "unknown variable: amount"],
    ["user.nmae == 'x'", "no such key: nmae"],
    ["user.name == 1", "no such overload"],
    ["arguments.size()", "is a int"],
    ['"yes"', "is a string"],
    ["arguments[tool] == 1", "an index that is not written out"],
    ["arguments.s.matches(arguments.p)", "a pattern that is not written out"],
    ['arguments.s.matches("(")', "regular expression"],
    ['arguments.s.matches("((a{1000}){1000})")', "regular expression"],
    ["cel.bind(x, arguments.a, x == 1)", "takes no"],
    ['arguments.s.split(",").size() == 1', "takes no .split()"],
    ["arguments.s.lowerAscii() == 'a'", "takes no .lowerAscii()"],
    ["timestamp(arguments.t) < timestamp('2026-01-01T00:00:00Z')", "takes no timestamp()"],
    ["b'a' == b'a'", "takes no such literal"],
    ["arguments.a.all(a, a.all(b, b.all(c, c)))", "loops more than 2 deep"],
    [`tool == "${"x".repeat(2048)}"`, "longer than 2048 characters"],
    [Array.from({ length: 150 }, () => "true").join(" && "), "broken"],
    [`${"!".repeat(60)}true`, "broken"],
  ])("%.80s", (where, expected) => {
    expect(() => compileCondition(where, "tool")).toThrow(expected);
  });
});

test("the most that one evaluation takes", () => {
  const started = performance.now();
  const list = (n: number, item: string) => `[${Array.from({ length: n }, () => item).join(",")}]`;
  const cases: [string, string][] = [
    ["arguments.l.exists(x, arguments.l.exists(y, x + y == 1))", `{"l":${list(100_000, "1")}}`],
    [
      'arguments.l.exists(x, arguments.s.matches("(a|aa)*[bc]$"))',
      `{"l":${list(1000, "1")},"s":"${"a".repeat(900_000)}"}`,
    ],
    ["arguments.l.exists(x, size(arguments.s) == 1)", `{"l":${list(100_000, "1")},"s":"${"a".repeat(500_000)}"}`],
    [
      "arguments.l.exists(x, arguments.s < arguments.t)",
      `{"l":${list(100_000, "1")},"s":"${"a".repeat(300_000)}","t":"${"a".repeat(300_000)}"}`,
    ],
    ['arguments.s.matches("(a|aa)*[bc]$")', `{"s":"${"a".repeat(900_000)}"}`],
    ["arguments.l.exists(x, x.n == 2)", `{"l":${list(60_000, '{"n":1}')}}`],
  ];
  for (const [where, json] of cases) {
    const before = performance.now();
    const told = judge(where, json);
    if (process.env.SHOW) console.log(where, told, `${(performance.now() - before).toFixed(0)} ms`);
  }
  expect(performance.now() - started).toBeLessThan(5000);
});
