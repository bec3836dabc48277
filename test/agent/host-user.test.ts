import { describe, expect, test } from "bun:test";
import {
  type AccountDatabase,
  hostAccounts,
  loadHostUser,
  loadHostUserById,
  parsePasswdLine,
} from "../../src/agent/host-user.ts";
import { Failure } from "../../src/errors.ts";

const database = (lines: Record<string, string>): AccountDatabase => ({ find: async (key) => lines[key] });
const thrown = (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error);

describe("parsePasswdLine", () => {
  test("reads the fields of passwd(5)", () => {
    expect(parsePasswdLine("bob:x:1001:100:Bob, room 3:/home/bob:/bin/zsh\n")).toEqual({
      name: "bob",
      uid: 1001,
      gid: 100,
      home: "/home/bob",
      shell: "/bin/zsh",
    });
  });

  test("an empty home is /, an empty shell /bin/sh", () => {
    expect(parsePasswdLine("bob:x:1:1:::")).toMatchObject({ home: "/", shell: "/bin/sh" });
  });

  test.each(["", "bob", "bob:x:1:1:::".replace("1", "-1"), "bob:x::1:::", "bob:x:1:0x1:::", ":x:1:1:::", "+::::::"])(
    "%p is none",
    (line) => expect(parsePasswdLine(line)).toBeUndefined(),
  );
});

describe("loadHostUser", () => {
  test("finds root on this host", async () => {
    expect(await loadHostUser("root")).toMatchObject({ name: "root", uid: 0, gid: 0 });
  });

  test.each(["no-such-user", "0", "65534", "-s", "--help", "", "a b", "a:b", "../x", "root\n", "nobody\0"])(
    "%p doesn't exist",
    async (name) => {
      const error = await thrown(loadHostUser(name));
      expect(error).toBeInstanceOf(Failure);
      expect(error).toMatchObject({ code: "start_failed" });
    },
  );

  test("takes no entry under another name than it asked for", async () => {
    const error = await thrown(loadHostUser("bob", database({ bob: "root:x:0:0::/root:/bin/sh" })));
    expect(error).toMatchObject({ code: "start_failed" });
  });

  test("fails closed when the database doesn't answer", async () => {
    const broken: AccountDatabase = { find: () => Promise.reject(new Error("ldap is down")) };
    const error = await thrown(loadHostUser("bob", broken));
    expect(error).toMatchObject({ code: "start_failed" });
    expect(String(error)).toContain("ldap is down");
  });
});

describe("loadHostUserById", () => {
  test("finds the user of this process", async () => {
    const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
    expect(await loadHostUserById(uid, gid)).toMatchObject({ uid, gid });
  });

  test("a uid without an entry has no home, and its number as its name", async () => {
    const nowhere = { name: "4242", uid: 4242, gid: 7, home: "/", shell: "/bin/sh" };
    expect(await loadHostUserById(4242, 7, database({}))).toEqual(nowhere);
    expect(await loadHostUserById(4242, 7, { find: () => Promise.reject(new Error("down")) })).toEqual(nowhere);
  });
});

test("hostAccounts answers by name and by uid, and with nothing for nobody", async () => {
  expect(await hostAccounts.find("root")).toStartWith("root:");
  expect(await hostAccounts.find("0")).toStartWith("root:");
  expect(await hostAccounts.find("no-such-user")).toBeUndefined();
});
