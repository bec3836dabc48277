import { describe, expect, test } from "bun:test";
import { DEFAULT_PATH, findCommand, serverEnvironment } from "../../src/agent/launch.ts";

const user = { name: "bob", uid: 1001, gid: 100, home: "/home/bob", shell: "/bin/zsh" };
const hostile = {
  PATH: "/agent/bin",
  LD_PRELOAD: "/x.so",
  BUN_OPTIONS: "x",
  NODE_OPTIONS: "x",
  API_KEY: "s",
  HOME: "/root",
};

describe("serverEnvironment", () => {
  test("is made from the account, and inherits LANG and TZ only", () => {
    const env = serverEnvironment({ user, switching: true, inherited: { ...hostile, LANG: "C", TZ: "UTC" } });
    expect(env).toEqual({
      HOME: "/home/bob",
      USER: "bob",
      LOGNAME: "bob",
      SHELL: "/bin/zsh",
      PATH: DEFAULT_PATH,
      LANG: "C",
      TZ: "UTC",
    });
  });

  test("has the agent's own PATH where no user is switched, and never an empty one", () => {
    expect(serverEnvironment({ user, switching: false, inherited: hostile }).PATH).toBe("/agent/bin");
    expect(serverEnvironment({ user, switching: false, inherited: { PATH: "" } }).PATH).toBe(DEFAULT_PATH);
    expect(serverEnvironment({ user, switching: false, inherited: {} }).LANG).toBe("C.UTF-8");
  });

  test("takes what is given before all else", () => {
    const given = { PATH: "/opt/bin", HOME: "/srv", LD_PRELOAD: "/mine.so", EMPTY: "" };
    expect(serverEnvironment({ user, switching: true, given, inherited: {} })).toMatchObject(given);
  });

  test.each([{ "": "x" }, { "A=B": "x" }, { "A\0": "x" }, { A: "hunter2\0" }])(
    "refuses %p, without its value",
    (given) => {
      const make = () =>
        serverEnvironment({ user, switching: true, given: given as Record<string, string>, inherited: {} });
      expect(make).toThrow(/^mcp\.env: /);
      expect(make).not.toThrow(/hunter2/);
    },
  );
});

describe("findCommand", () => {
  test("finds a bare name in the PATH's absolute folders only", () => {
    expect(findCommand("sh", "/no/such:/bin:/usr/bin")).toEqual({ path: "/bin/sh" });
    expect(findCommand("package.json", `.::${"relative"}`)).toEqual({ fault: "not_found", path: "package.json" });
    expect(findCommand("sh", "")).toEqual({ fault: "not_found", path: "sh" });
  });

  test("takes a name with a slash as it stands", () => {
    expect(findCommand("/bin/sh", "")).toEqual({ path: "/bin/sh" });
    expect(findCommand("/no/such/file", "/bin")).toEqual({ fault: "not_found", path: "/no/such/file" });
    expect(findCommand("/etc/passwd", "/bin")).toEqual({ fault: "not_executable", path: "/etc/passwd" });
    expect(findCommand("/usr", "/bin")).toEqual({ fault: "not_executable", path: "/usr" });
  });

  test("says where the file is that can't be executed", () => {
    expect(findCommand("passwd", "/etc:/no/such/file")).toEqual({ fault: "not_executable", path: "/etc/passwd" });
  });
});
