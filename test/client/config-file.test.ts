/** Adding an app to an MCP client's file: what else is in it stays, byte for byte. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmod, mkdir, mkdtemp, readdir, readlink, rm, stat, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { clientConfigPath, mergeServer, serverEntry } from "../../src/client/config-file.ts";
import { setMember } from "../../src/client/jsonc-edit.ts";
import { Failure } from "../../src/errors.ts";

const [name, entry] = serverEntry("db", ["/bin/mcpgate"], {});

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "mcpgate-merge-"));
});
afterEach(() => rm(dir, { recursive: true }));

const failureOf = (use: () => unknown): { code: string; message: string } => {
  try {
    use();
  } catch (error) {
    const { code, message } = Failure.from(error);
    return { code, message: message.replaceAll(dir, "DIR") };
  }
  throw new Error("it did not fail");
};

describe("the text", () => {
  const added = (text: string) => setMember(text, ["mcpServers", name], entry);

  const cases: [what: string, before: string, after: string][] = [
    [
      "nothing",
      "",
      `{\n  "mcpServers": {\n    "mcpgate-db": {\n      "command": "/bin/mcpgate",\n      "args": ["client", "connect", "db"]\n    }\n  }\n}\n`,
    ],
    [
      "an empty object",
      "{}\n",
      `{\n  "mcpServers": {\n    "mcpgate-db": {\n      "command": "/bin/mcpgate",\n      "args": ["client", "connect", "db"]\n    }\n  }\n}\n`,
    ],
    [
      "other members and servers, four spaces, no newline at the end",
      `{
    "theme": "dark",
    "mcpServers": {
        "other": { "command": "x",   "args": [ 1.0, "\\u0041" ] }
    },
    "big": 12345678901234567890
}`,
      `{
    "theme": "dark",
    "mcpServers": {
        "other": { "command": "x",   "args": [ 1.0, "\\u0041" ] },
        "mcpgate-db": {
            "command": "/bin/mcpgate",
            "args": ["client", "connect", "db"]
        }
    },
    "big": 12345678901234567890
}`,
    ],
    [
      "tabs, CRLF, a BOM, no servers yet",
      '\ufeff{\r\n\t"a": 1\r\n}\r\n',
      '\ufeff{\r\n\t"a": 1,\r\n\t"mcpServers": {\r\n\t\t"mcpgate-db": {\r\n\t\t\t"command": "/bin/mcpgate",\r\n\t\t\t"args": ["client", "connect", "db"]\r\n\t\t}\r\n\t}\r\n}\r\n',
    ],
    [
      "an empty list of servers",
      '{\n  "mcpServers": {}\n}\n',
      `{\n  "mcpServers": {\n    "mcpgate-db": {\n      "command": "/bin/mcpgate",\n      "args": ["client", "connect", "db"]\n    }\n  }\n}\n`,
    ],
    [
      "comments and trailing commas",
      `// mine
{
  "mcpServers": {
    /* the first */
    "other": { "command": "x" }, // "mcpgate-db": {}
    // the end
  },
}
`,
      `// mine
{
  "mcpServers": {
    /* the first */
    "other": { "command": "x" }, // "mcpgate-db": {}
    // the end
    "mcpgate-db": {
      "command": "/bin/mcpgate",
      "args": ["client", "connect", "db"]
    },
  },
}
`,
    ],
    [
      "a comment behind the last one",
      `{
  "mcpServers": {
    "other": { "command": "x" } // the last
  }
}
`,
      `{
  "mcpServers": {
    "other": { "command": "x" }, // the last
    "mcpgate-db": {
      "command": "/bin/mcpgate",
      "args": ["client", "connect", "db"]
    }
  }
}
`,
    ],
    [
      "all on one line",
      '{"a":1,"mcpServers":{"x":{"command":"y"}}}',
      '{"a":1,"mcpServers":{"x":{"command":"y"},"mcpgate-db":{"command":"/bin/mcpgate","args":["client","connect","db"]}}}',
    ],
    [
      "servers on one line, the rest not",
      '{\n  "mcpServers": { "x": { "command": "y" } }\n}\n',
      '{\n  "mcpServers": { "x": { "command": "y" }, "mcpgate-db": {"command":"/bin/mcpgate","args":["client","connect","db"]} }\n}\n',
    ],
    [
      "only a comment inside",
      '{\n  "mcpServers": {\n    // none yet\n  }\n}\n',
      `{\n  "mcpServers": {\n    // none yet\n    "mcpgate-db": {\n      "command": "/bin/mcpgate",\n      "args": ["client", "connect", "db"]\n    }\n  }\n}\n`,
    ],
    [
      "the same name under another key",
      '{\n  "x": {\n    "mcpServers": { "mcpgate-db": 1 }\n  }\n}\n',
      `{\n  "x": {\n    "mcpServers": { "mcpgate-db": 1 }\n  },\n  "mcpServers": {\n    "mcpgate-db": {\n      "command": "/bin/mcpgate",\n      "args": ["client", "connect", "db"]\n    }\n  }\n}\n`,
    ],
  ];
  for (const [what, before, after] of cases) {
    test(what, () => {
      expect(added(before)).toBe(after);
      expect(added(after)).toBe(after);
    });
  }

  const broken: [text: string, error: string][] = [
    ["[]", "line 1, column 1: the whole is not an object"],
    ['{"mcpServers": []}', 'line 1, column 16: "mcpServers" is not an object'],
    ['{\n  "a": 1\n  "b": 2\n}', "line 3, column 3: expected , or }"],
    ['{"a": 1', "line 1, column 8: the text ends too early"],
    ['{"a": 1}}', "line 1, column 9: unexpected text after the end"],
    ["{a: 1}", "line 1, column 2: expected a key in quotes"],
    ["{'a': 1}", "line 1, column 2: expected a key in quotes"],
    ['{"a": nope}', "line 1, column 7: nope is not JSON"],
    ['{"a": 01}', "line 1, column 7: 01 is not JSON"],
    ['{"a": "x\n"}', 'line 1, column 7: "x\\u000a" is not JSON'],
    ['{"a" 1}', "line 1, column 6: expected :"],
    ["{} /* x", "line 1, column 4: a comment without an end"],
    ['{"mcpServers": {}, "mcpServers": {}}', 'line 1, column 20: a second "mcpServers"'],
    [`{"a": ${"[".repeat(300)}`, "line 1, column 207: nested too deeply"],
    ["{,}", "line 1, column 2: expected a key in quotes"],
    ['{"a":}', "line 1, column 6: unexpected }"],
  ];
  for (const [text, message] of broken) {
    test(`refuses ${text.slice(0, 30)}`, () => {
      expect(failureOf(() => added(text))).toEqual({ code: "invalid", message });
    });
  }
});

test("any JSON keeps its value, whatever its indentation", () => {
  const object = fc.dictionary(fc.string(), fc.jsonValue());
  fc.assert(
    fc.property(object, fc.option(object), fc.constantFrom("", " ", "  ", "\t"), (rest, servers, indent) => {
      const before = servers === null ? rest : { ...rest, mcpServers: servers };
      const changed = { ...before, mcpServers: { ...servers, [name]: entry } };
      fc.pre(servers !== null || !Object.hasOwn(rest, "mcpServers"));
      const after = setMember(JSON.stringify(before, undefined, indent), ["mcpServers", name], entry);
      expect(JSON.parse(after)).toEqual(JSON.parse(JSON.stringify(changed)));
    }),
  );
});

describe("the file", () => {
  test("keeps its mode, and the old one beside it", async () => {
    const file = join(dir, "mcp.json");
    await Bun.write(file, '{"a": 1}\n');
    await chmod(file, 0o640);
    expect(mergeServer(file, name, entry)).toEqual({ file, backup: `${file}.bak`, changed: true });
    expect(await Bun.file(file).json()).toEqual({ a: 1, mcpServers: { [name]: entry } });
    expect((await stat(file)).mode & 0o777).toBe(0o640);
    expect(await Bun.file(`${file}.bak`).text()).toBe('{"a": 1}\n');
    expect((await stat(`${file}.bak`)).mode & 0o777).toBe(0o640);
    expect((await readdir(dir)).toSorted()).toEqual(["mcp.json", "mcp.json.bak"]);
  });

  test("is not touched when nothing changes", async () => {
    const file = join(dir, "mcp.json");
    mergeServer(file, name, entry);
    const { ino } = await stat(file);
    expect(mergeServer(file, name, entry)).toEqual({ file, backup: undefined, changed: false });
    expect((await stat(file)).ino).toBe(ino);
    expect(await readdir(dir)).toEqual(["mcp.json"]);
  });

  test("a new one is private, in a directory that is made", async () => {
    const file = join(dir, "a/b/mcp.json");
    expect(mergeServer(file, name, entry).backup).toBeUndefined();
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  test("a symbolic link stays one, and what it leads to is written", async () => {
    await mkdir(join(dir, "dotfiles"));
    await Bun.write(join(dir, "dotfiles/mcp.json"), "{}\n");
    await symlink("dotfiles/mcp.json", join(dir, "mcp.json"));
    await symlink("dotfiles/new.json", join(dir, "new.json"));
    expect(mergeServer(join(dir, "mcp.json"), name, entry).file).toBe(join(dir, "dotfiles/mcp.json"));
    expect(mergeServer(join(dir, "new.json"), name, entry).file).toBe(join(dir, "dotfiles/new.json"));
    expect(await readlink(join(dir, "mcp.json"))).toBe("dotfiles/mcp.json");
    expect(await Bun.file(join(dir, "dotfiles/mcp.json")).json()).toEqual({ mcpServers: { [name]: entry } });
    expect(await Bun.file(join(dir, "dotfiles/mcp.json.bak")).text()).toBe("{}\n");
  });

  test("a circle of links is an error", async () => {
    await symlink("b", join(dir, "a"));
    await symlink("a", join(dir, "b"));
    expect(failureOf(() => mergeServer(join(dir, "a"), name, entry)).code).toBe("invalid");
  });

  test("a broken one is untouched", async () => {
    const file = join(dir, "mcp.json");
    await Bun.write(file, '{"mcpServers": {\n');
    expect(failureOf(() => mergeServer(file, name, entry))).toEqual({
      code: "invalid",
      message: "DIR/mcp.json: line 2, column 1: the text ends too early",
    });
    expect(await Bun.file(file).text()).toBe('{"mcpServers": {\n');
    expect(await readdir(dir)).toEqual(["mcp.json"]);
  });

  test("not text, and not a file", async () => {
    await Bun.write(join(dir, "latin1"), Uint8Array.of(0x7b, 0xe9, 0x7d));
    expect(failureOf(() => mergeServer(join(dir, "latin1"), name, entry)).message).toBe(
      "DIR/latin1: is not UTF-8 text",
    );
    expect(failureOf(() => mergeServer(dir, name, entry))).toEqual({ code: "usage", message: "DIR: is a directory" });
  });

  test("of an entry that is there, what the person added stays", async () => {
    const file = join(dir, "mcp.json");
    const text =
      '{\n  "mcpServers": {\n    "mcpgate-db": { "command": "old", "disabled": true, "args": [], "env": { "A": "b" } }\n  }\n}\n';
    await Bun.write(file, text);
    const [, withHome] = serverEntry("db", ["/bin/mcpgate"], { MCPGATE_HOME: "/srv/me" });
    mergeServer(file, name, withHome);
    expect(await Bun.file(file).text()).toBe(
      '{\n  "mcpServers": {\n    "mcpgate-db": { "command": "/bin/mcpgate", "disabled": true, "args": ["client", "connect", "db"], "env": { "A": "b", "MCPGATE_HOME": "/srv/me" } }\n  }\n}\n',
    );
  });
});

describe("where and what", () => {
  test("the clients' own files", () => {
    const path = (client: string, platform: NodeJS.Platform) =>
      clientConfigPath(client, { HOME: "/home/a", APPDATA: "/appdata" }, platform);
    expect(path("cursor", "linux")).toBe("/home/a/.cursor/mcp.json");
    expect(path("claude", "linux")).toBe("/home/a/.config/Claude/claude_desktop_config.json");
    expect(path("claude", "darwin")).toBe("/home/a/Library/Application Support/Claude/claude_desktop_config.json");
    expect(path("claude", "win32")).toBe("/appdata/Claude/claude_desktop_config.json");
    expect(path("x/mcp.json", "linux")).toBe(join(process.cwd(), "x/mcp.json"));
  });

  test("the program may be several words, and have a home of its own", () => {
    expect(serverEntry("db", ["/bin/bun", "/src/main.ts"], { MCPGATE_HOME: "/srv/me" })).toEqual([
      "mcpgate-db",
      { command: "/bin/bun", args: ["/src/main.ts", "client", "connect", "db"], env: { MCPGATE_HOME: "/srv/me" } },
    ]);
  });
});
