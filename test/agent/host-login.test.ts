/** From the person to an account of the host: never to one that the host's own file doesn't name. */
import { describe, expect, test } from "bun:test";
import { hostUserOf } from "../../src/agent/host-login.ts";
import { Failure } from "../../src/errors.ts";

const template = "{{user.traits.unix_login}}";
const alice = (unix_login?: string[]) => ({
  user: "alice",
  traits: unix_login === undefined ? ({} as Record<string, string[]>) : { unix_login },
});
const refused = (...args: Parameters<typeof hostUserOf>): string => {
  try {
    return `allowed: ${hostUserOf(...args)}`;
  } catch (error) {
    return Failure.from(error).message;
  }
};

describe("run_as_host_user", () => {
  test("as a name stands as it is", () => {
    expect(hostUserOf("docker", alice(["root"]), [])).toBe("docker");
  });

  test.each([template, "{{internal.unix_login}}", "{{ external.unix_login }}", '{{user.traits["unix_login"]}}'])(
    "%s is the person's own login",
    (setting) => {
      expect(hostUserOf(setting, alice(["al"]), ["bo", "al"])).toBe("al");
    },
  );

  test("is nobody's without the trait, or with two values of it", () => {
    expect(refused(template, alice(), ["al"])).toContain('user alice has no "unix_login"');
    expect(refused(template, alice([]), ["al"])).toContain("has no");
    expect(refused(template, alice(["al", "bo"]), ["al", "bo"])).toContain("more than one");
  });

  test("is never one that isn't listed, spelled exactly", () => {
    for (const login of ["root", "AL", "al ", "0", "*", "al\0", "al:x", "toString"]) {
      expect(refused(template, alice([login]), ["al"])).toContain("not among those");
    }
    expect(refused(template, alice(["al"]), [])).toContain("not among those");
    expect(refused(template, alice(["x"]), ["*"])).toContain("not among those");
  });

  test("looks at own traits only", () => {
    expect(refused("{{user.traits.constructor}}", alice(["al"]), ["al"])).toContain("has no");
  });
});
