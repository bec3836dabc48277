import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { capture, fakeApi, fakeTerminal } from "./capture.ts";

const app = {
  name: "everything",
  description: "everything MCP server",
  type: "stdio",
  labels: { team: "x", env: "dev", "mcpgate.internal/app-sub-kind": "mcp" },
  allowed_tools: ["*"],
  denied_tools: [],
  online: true,
};
const pin = `sha256:${"ab".repeat(32)}`;

let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "mcpgate-client-"));
});
afterAll(() => rm(dir, { recursive: true }));

describe("client ls", () => {
  test("as a table, by name", async () => {
    const apps = [
      app,
      {
        ...app,
        name: "db",
        description: "",
        allowed_tools: ["read_*", "list"],
        denied_tools: ["read_all"],
        labels: {},
      },
    ];
    const { api, calls } = fakeApi({ apps });
    expect(await capture(["client", "ls"], { api })).toEqual({
      exitCode: 0,
      stdout: `\
Name       Description           Type  Allowed Tools                     Labels
---------- --------------------- ----- --------------------------------- --------------
db                               stdio [read_* list], except: [read_all]
everything everything MCP server stdio [*]                               env=dev,team=x
`,
      stderr: "",
    });
    expect(calls).toEqual([{ method: "GET", path: "/v1/apps" }]);
  });

  test("warns where no tool is allowed, and where no agent is online", async () => {
    const { api } = fakeApi({ apps: [{ ...app, allowed_tools: [], online: false, labels: { env: "dev" } }] });
    expect(await capture(["client", "ls"], { api })).toEqual({
      exitCode: 0,
      stdout: `\
Name       Description           Type  Allowed Tools Labels
---------- --------------------- ----- ------------- -------
everything everything MCP server stdio (none) [!]    env=dev

[!] Warning: you do not have access to any tools on the MCP server.
    Ask your mcpgate admin for a role whose mcp.tools allow some.
`,
      stderr: "mcpgate: warning: no agent is online for everything\n",
    });
  });

  test("JSON and YAML hold everything, and nothing else is printed", async () => {
    const offline = { ...app, online: false };
    const asJson = await capture(["client", "ls", "--format=json"], { api: fakeApi({ apps: [offline] }).api });
    expect(JSON.parse(asJson.stdout)).toEqual([offline]);
    expect(asJson.stderr).toBe("");
    const asYaml = await capture(["client", "ls", "--format=yaml"], { api: fakeApi({ apps: [offline] }).api });
    expect(parse(asYaml.stdout)).toEqual([offline]);
  });
});

describe("client config", () => {
  test("prints the sample as the original does", async () => {
    const { api } = fakeApi({ apps: [app] });
    const { exitCode, stdout } = await capture(["client", "config", "everything"], { api });
    expect(exitCode).toBe(0);
    expect(stdout).toBe(`\
Found MCP servers:
everything

Here is a sample JSON configuration for launching mcpgate MCP servers:
{
  "mcpServers": {
    "mcpgate-everything": {
      "command": "/usr/local/bin/mcpgate",
      "args": ["client", "connect", "everything"]
    }
  }
}

Tip: You can use this command to update your MCP servers configuration file automatically.
- For Claude Desktop, use --client-config=claude to update the default configuration.
- For Cursor, use --client-config=cursor to update the global MCP servers configuration.
In addition, you can use --client-config=<path> to specify a config file location that is compatible with the "mcpServers" mapping.
For example, you can update a Cursor project using --client-config=<path-to-project>/.cursor/mcp.json
`);
  });

  test("a home of its own goes into it: MCP clients pass few variables on", async () => {
    const { api } = fakeApi({ apps: [app] });
    const { stdout } = await capture(["client", "config", "everything"], { api, env: { MCPGATE_HOME: "/srv/me" } });
    const sample = JSON.parse(stdout.slice(stdout.indexOf("{"), stdout.indexOf("\n\nTip")));
    expect(sample.mcpServers["mcpgate-everything"].env).toEqual({ MCPGATE_HOME: "/srv/me" });
  });

  test("no such app", async () => {
    const { api } = fakeApi({ apps: [app] });
    expect(await capture(["client", "config", "nothing"], { api })).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: 'mcpgate: error: no MCP server "nothing" within reach\nmcpgate: hint: mcpgate client ls\n',
    });
  });

  test("merges into a file, once", async () => {
    const file = join(dir, "mcp.json");
    await Bun.write(file, '{"theme": "dark"}\n');
    const argv = ["client", "config", "everything", `--client-config=${file}`];
    expect((await capture(argv, { api: fakeApi({ apps: [app] }).api })).stdout).toBe(`\
Updated client configuration at:
${file}

The file as it was before is kept at ${file}.bak
You may need to restart the MCP client for it to notice.
`);
    expect(await Bun.file(file).json()).toEqual({
      theme: "dark",
      mcpServers: {
        "mcpgate-everything": { command: "/usr/local/bin/mcpgate", args: ["client", "connect", "everything"] },
      },
    });
    expect((await capture(argv, { api: fakeApi({ apps: [app] }).api })).stdout).toBe(
      `Client configuration is up to date at:\n${file}\n`,
    );
  });

  test("cursor's file is in the home directory", async () => {
    const argv = ["client", "config", "everything", "--client-config=cursor"];
    const { stdout } = await capture(argv, { api: fakeApi({ apps: [app] }).api, env: { HOME: dir } });
    expect(stdout.split("\n")[1]).toBe(join(dir, ".cursor", "mcp.json"));
    expect(await Bun.file(join(dir, ".cursor", "mcp.json")).exists()).toBe(true);
  });
});

describe("client login", () => {
  const loggedIn = { user: "alice", expires_at: "2026-11-23T17:24:00.000Z" };
  const argv = ["client", "login", "--proxy=mcpgate.example.com:443", "--user=alice"];

  test("asks for the password and hands over what was given", async () => {
    const { terminal, questions } = fakeTerminal(["correct horse"]);
    const given: unknown[] = [];
    const captured = await capture([...argv, `--ca-pin=${pin.toUpperCase().replace("SHA", "sha")}`], {
      terminal,
      env: { MCPGATE_HOME: "/srv/me" },
      services: {
        login: async (options) => {
          given.push(options);
          return loggedIn;
        },
      },
    });
    expect(captured.stdout).toMatch(/^Logged in as alice until 2026-11-2\d \d\d:\d\d:\d\d \S+\n$/);
    expect(questions).toEqual(["Password of alice: "]);
    expect(given).toEqual([
      { proxy: "mcpgate.example.com:443", user: "alice", password: "correct horse", home: "/srv/me", caPin: pin },
    ]);
  });

  test("--password-stdin takes the one line, and asks about an unknown CA on the terminal", async () => {
    const { terminal, questions } = fakeTerminal(["yes"]);
    let answer: boolean | undefined;
    const { exitCode } = await capture([...argv, "--password-stdin"], {
      terminal,
      stdin: "correct horse\n",
      services: {
        login: async ({ password, confirmPin }) => {
          expect(password).toBe("correct horse");
          answer = await confirmPin?.(pin);
          return loggedIn;
        },
      },
    });
    expect({ exitCode, answer }).toEqual({ exitCode: 0, answer: true });
    expect(questions).toHaveLength(1);
    expect(questions[0]).toContain(pin);
  });

  test("anything but yes is no", async () => {
    for (const word of ["", "no", "yess", "maybe"]) {
      const { terminal } = fakeTerminal([word]);
      let answer: boolean | undefined;
      await capture([...argv, "--password-stdin"], {
        terminal,
        stdin: "x",
        services: {
          login: async ({ confirmPin }) => {
            answer = await confirmPin?.(pin);
            return loggedIn;
          },
        },
      });
      expect(answer).toBe(false);
    }
  });

  test("without a terminal there is nobody to ask about a CA", async () => {
    let given: object = {};
    await capture([...argv, "--password-stdin"], {
      stdin: "x",
      services: {
        login: async (options) => {
          given = options;
          return loggedIn;
        },
      },
    });
    expect(given).not.toHaveProperty("confirmPin");
  });

  test("an empty password, and one of two lines, go nowhere", async () => {
    for (const [stdin, error] of [
      ["\n", "the password is empty\nmcpgate: hint: type it at the prompt, or pipe one line to --password-stdin"],
      ["a\nb\n", "the password has more than one line\nmcpgate: hint: pipe one line to --password-stdin"],
    ] as const) {
      const captured = await capture([...argv, "--password-stdin"], { stdin });
      expect(captured).toEqual({ exitCode: 1, stdout: "", stderr: `mcpgate: error: ${error}\n` });
    }
  });
});

describe("client accept-invite", () => {
  const url = "https://mcpgate.example.com:443/web/invite#c29tZQ";

  test("asks twice and says how to go on", async () => {
    const { terminal, questions } = fakeTerminal(["correct horse", "correct horse"]);
    const { stdout } = await capture(["client", "accept-invite", url, `--ca-pin=${pin}`], {
      terminal,
      services: {
        acceptInvite: async (options) => {
          expect(options).toEqual({ url, password: "correct horse", caPin: pin, home: "/nowhere/.mcpgate" });
          return { user: "alice", next: "mcpgate client login --proxy=mcpgate.example.com:443 --user=alice" };
        },
      },
    });
    expect(questions).toEqual(["New password: ", "The same again: "]);
    expect(stdout).toBe(
      "The password of alice is set. Log in with:\n  mcpgate client login --proxy=mcpgate.example.com:443 --user=alice\n",
    );
  });

  test("two passwords that differ go nowhere", async () => {
    const { terminal } = fakeTerminal(["one", "two"]);
    expect(await capture(["client", "accept-invite", url, `--ca-pin=${pin}`], { terminal })).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: "mcpgate: error: the two passwords are not the same\n",
    });
  });
});

describe("client status and logout", () => {
  const good = {
    logged_in: true,
    proxy: "mcpgate.example.com:443",
    cluster: "mcpgate.example.com",
    user: "alice",
    roles: ["mcp-user", "dev"],
    expires_at: "2026-11-23T17:24:00.000Z",
  };
  const bad = { logged_in: false, proxy: good.proxy, user: "alice", reason: "the login has expired" };

  test("logged in", async () => {
    const services = { loginStatus: async () => good };
    const { exitCode, stdout } = await capture(["client", "status"], { services });
    expect(exitCode).toBe(0);
    expect(stdout.split("\n").slice(0, 4)).toEqual([
      "User:        alice",
      "Roles:       mcp-user, dev",
      "Proxy:       mcpgate.example.com:443",
      "Cluster:     mcpgate.example.com",
    ]);
    expect(stdout.split("\n")[4]).toMatch(/^Valid until: 2026-11-2\d \d\d:\d\d:\d\d \S+$/);
  });

  test("not logged in is exit code 1, for programs with the reason on stdout", async () => {
    const services = { loginStatus: async () => bad };
    expect(await capture(["client", "status"], { services })).toEqual({
      exitCode: 1,
      stdout: "",
      stderr:
        "mcpgate: error: the login has expired\nmcpgate: hint: mcpgate client login --proxy=mcpgate.example.com:443 --user=alice\n",
    });
    const asJson = await capture(["client", "status", "--format=json"], { services });
    expect({ ...asJson, stdout: JSON.parse(asJson.stdout) }).toEqual({ exitCode: 1, stdout: bad, stderr: "" });
  });

  test("logout", async () => {
    const homes: string[] = [];
    const services = { logout: async ({ home }: { home: string }) => void homes.push(home) };
    expect((await capture(["client", "logout"], { services })).stdout).toBe("Logged out\n");
    expect(homes).toEqual(["/nowhere/.mcpgate"]);
  });
});

test("client connect prints nothing itself, and hands its exit code on", async () => {
  const captured = await capture(["client", "connect", "everything"], {
    services: {
      runConnect: async ({ app: name, home }) => {
        expect({ name, home }).toEqual({ name: "everything", home: "/nowhere/.mcpgate" });
        return 1;
      },
    },
  });
  expect(captured).toEqual({ exitCode: 1, stdout: "", stderr: "" });
});
