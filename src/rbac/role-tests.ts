/** The `tests:` of a role: what it is to allow and to deny, kept beside it. A role whose own tests fail is not stored. */
import { Failure } from "../errors.ts";
import { type Deed, explain, type Verdict } from "./explain.ts";
import { parseRole, type Role, type RoleTest } from "./role.ts";
import { parseTraits } from "./traits.ts";

export interface TestResult {
  /** Its place in the list. */
  index: number;
  test: RoleTest;
  verdict: Verdict;
  passed: boolean;
}

/** What happens to a user who holds this role and no other. Throws a `Failure("invalid")` for a test that says nothing. */
export function runRoleTests(role: Role): TestResult[] {
  return (role.tests ?? []).map((test, index) => {
    try {
      const verdict = explain([role], appOf(test.app), personOf(test.user), deedOf(test));
      return { index, test, verdict, passed: verdict.allowed === (test.expect === "allow") };
    } catch (error) {
      throw new Failure("invalid", `tests.${index}: ${Failure.from(error).message}`, { cause: error });
    }
  });
}

/** `parseRole`, and its tests hold. Throws a `Failure("invalid")`. */
export function checkRole(document: unknown): Role {
  const role = parseRole(document);
  const results = runRoleTests(role);
  const failed = results.filter(({ passed }) => !passed);
  const [first] = failed;
  if (first === undefined) return role;
  const more = failed.length === 1 ? "" : ` (and ${failed.length - 1} more of ${results.length} tests fail)`;
  throw new Failure("invalid", `tests.${first.index}: ${failureText(first)}${more}`, {
    hint: "mcpgate roles test FILE",
  });
}

export const failureText = ({ test, verdict }: TestResult): string => `expected ${test.expect}, and ${verdict.reason}`;

/** The test in a line: `alice db/read_file`. */
export function testText(test: RoleTest): string {
  if (test.name !== undefined) return test.name;
  const user = typeof test.user === "object" ? test.user.name : test.user;
  const app = typeof test.app === "object" ? test.app.name : test.app;
  const what = test.tool ?? test.prompt ?? test.resource ?? test.server_method ?? test.method;
  return `${user ?? "anybody"} ${app}${what === undefined ? "" : `/${what}`}`;
}

const appOf = (app: RoleTest["app"]) =>
  typeof app === "string" ? { name: app, labels: {} } : { name: app.name, labels: app.labels ?? {} };

const personOf = (user: RoleTest["user"]) =>
  typeof user === "object"
    ? { name: user.name, traits: parseTraits(user.traits ?? {}) }
    : { name: user ?? "", traits: {} };

function deedOf({ method, tool, prompt, resource, server_method, arguments: args }: RoleTest): Deed {
  const encoded = args === undefined ? undefined : new TextEncoder().encode(JSON.stringify(args));
  return { method, tool, prompt, resource, server_method, arguments: encoded };
}
