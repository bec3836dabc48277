/** What the admin commands ask the proxy, and what they print. */
import { describe, expect, test } from "bun:test";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { Failure } from "../../src/errors.ts";
import { capture, fakeApi } from "./capture.ts";

const run = (line: string, api: ReturnType<typeof fakeApi>["api"]) => capture(line.split(" "), { api });
const pin = `sha256:${"0123456789abcdef".repeat(4)}`;
const token = {
  id: "0123456789abcdef",
  type: "app",
  created_at: "2026-11-23T05:00:00.000Z",
  expires_at: "2026-11-23T05:30:00.000Z",
  created_by: "uid:0",
};
const keyPin = "sha256//XAPbwUZk3AtgmCCC5oN7ei30Np+oJ9R4Q+88l3J0/Jo=";
const trust = { public_addr: "mcpgate.example.com:443", ca_pin: pin, key_pin: keyPin };
const made = { token: "Zm9vYmFy", ...token, ...trust };

describe("tokens", () => {
  test("add --format=text prints the token and a newline", async () => {
    const { api, calls } = fakeApi(made);
    expect(await run("tokens add --type=app --format=text", api)).toEqual({
      exitCode: 0,
      stdout: "Zm9vYmFy\n",
      stderr: "",
    });
    expect(calls).toEqual([{ method: "POST", path: "/v1/api/tokens", body: { type: "app" } }]);
  });

  test("add --format=json and yaml hold the same", async () => {
    const asJson = await run("tokens add --type=app --format=json", fakeApi(made).api);
    const asYaml = await run("tokens add --type=app --format=yaml", fakeApi(made).api);
    expect(JSON.parse(asJson.stdout)).toEqual(made);
    expect(parse(asYaml.stdout)).toEqual(made);
  });

  test("add without a format prints what to run", async () => {
    const { stdout } = await run("tokens add --type=app", fakeApi(made).api);
    expect(stdout).toBe(`\
The join token: Zm9vYmFy
It expires in 30 minutes, at 2026-11-23 05:30:00 UTC.

Run this on the host that is to run MCP servers:

t=$(mktemp) && printf '%s\\n' 'Zm9vYmFy' >"$t" && curl -fsS --tlsv1.2 -k --pinnedpubkey '${keyPin}' 'https://mcpgate.example.com/scripts/install.sh' | sudo bash -s -- --token="$t"

It installs mcpgate from this proxy, writes /etc/mcpgate.yaml and starts the agent, now and at each boot.
Or, as root on a host that has mcpgate already:

t=$(mktemp) && printf '%s\\n' 'Zm9vYmFy' >"$t" && mcpgate agent configure --proxy=mcpgate.example.com:443 --token="$t" --ca-pin=${pin} -o /etc/mcpgate.yaml && mcpgate agent start

Then put your own MCP servers in the place of the app "demo" in /etc/mcpgate.yaml.
Once it has joined, the agent has a key of its own and needs the token no more.
`);
  });

  test("with a certificate of the public web, curl checks it as any other", async () => {
    const { ca_pin: _, key_pin: __, ...web } = { ...made, public_addr: "[2001:db8::1]:8443" };
    const { stdout } = await run("tokens add --type=app", fakeApi(web).api);
    expect(stdout).toContain("curl -fsS -g --tlsv1.2 'https://[2001:db8::1]:8443/scripts/install.sh' | sudo bash");
    expect(stdout).toContain('agent configure --proxy=[2001:db8::1]:8443 --token="$t" -o /etc/mcpgate.yaml');
    expect(stdout).not.toMatch(/ -k | --insecure/);
  });

  test("the lines in it keep the token out of every argument list, in a file for its owner alone", async () => {
    const { stdout } = await run("tokens add --type=app", fakeApi(made).api);
    const dir = await mkdtemp(join(tmpdir(), "mcpgate-tokens-"));
    try {
      for (const name of ["curl", "sudo", "mcpgate"]) {
        const script = `#!/bin/sh\necho "${name} $*" >>'${dir}/argv'\n`;
        await writeFile(join(dir, name), script, { mode: 0o755 });
      }
      for (const shell of ["sh", "bash"]) {
        for (const line of stdout.split("\n").filter((each) => each.startsWith("t="))) {
          const env = { PATH: `${dir}:${process.env.PATH}`, TMPDIR: dir };
          expect(Bun.spawnSync([shell, "-c", `umask 0\n${line}`], { env }).exitCode).toBe(0);
        }
      }
      const argv = await readFile(join(dir, "argv"), "utf8");
      expect(argv).toMatch(/^curl .*^sudo bash -s -- --token=\/.*^mcpgate agent configure .*^mcpgate agent start$/ms);
      expect(argv).not.toContain("Zm9vYmFy");
      const files = [...new Set([...argv.matchAll(/--token=(\S+)/g)].map(([, file = ""]) => file))];
      expect(files).toHaveLength(4);
      for (const file of files) {
        expect([await readFile(file, "utf8"), (await stat(file)).mode & 0o777]).toEqual(["Zm9vYmFy\n", 0o600]);
      }
    } finally {
      await rm(dir, { recursive: true });
    }
  });

  test("ls", async () => {
    const { stdout, stderr } = await run("tokens ls", fakeApi({ tokens: [token] }).api);
    expect(stdout).toBe(`\
ID               Type Method Expiry Time (UTC)   Created By
---------------- ---- ------ ------------------- ----------
0123456789abcdef app  token  2026-11-23 05:30:00 uid:0
`);
    expect(stderr).toBe("");
  });

  test("ls of nothing: an empty table, an empty list, and a word to people only", async () => {
    expect(await run("tokens ls", fakeApi({ tokens: [] }).api)).toEqual({
      exitCode: 0,
      stdout: "ID Type Method Expiry Time (UTC) Created By\n-- ---- ------ ----------------- ----------\n",
      stderr: "mcpgate: no active tokens\n",
    });
    expect(await run("tokens ls --format=json", fakeApi({ tokens: [] }).api)).toEqual({
      exitCode: 0,
      stdout: "[]\n",
      stderr: "",
    });
  });

  test("rm never puts the token into a path", async () => {
    const { api, calls } = fakeApi({ id: token.id });
    expect((await run("tokens rm Zm9vYmFy", api)).stdout).toBe("Token 0123456789abcdef has been deleted\n");
    expect(calls).toEqual([{ method: "POST", path: "/v1/api/tokens/revoke", body: { token: "Zm9vYmFy" } }]);
  });
});

describe("users", () => {
  const alice = {
    name: "alice",
    roles: ["mcp-user", "dev"],
    traits: {},
    status: "invited",
    created_at: "2026-11-23T05:00:00.000Z",
  };
  const invited = {
    ...alice,
    invite_url: "https://mcpgate.example.com:443/web/invite#c29tZQ",
    invite_expires_at: "2026-11-23T06:00:00.000Z",
    ...trust,
  };

  test("add prints the invite", async () => {
    const { api, calls } = fakeApi(invited);
    const { stdout } = await run("users add alice --roles=mcp-user,dev,mcp-user", api);
    expect(calls).toEqual([
      { method: "POST", path: "/v1/api/users", body: { name: "alice", roles: ["mcp-user", "dev"] } },
    ]);
    expect(stdout).toBe(`\
User "alice" has been created but requires a password. Share this URL with the user to complete user setup, link is valid for 1h:
https://mcpgate.example.com:443/web/invite#c29tZQ

The user runs:
  mcpgate client accept-invite 'https://mcpgate.example.com:443/web/invite#c29tZQ' --ca-pin=${pin}

Who has no mcpgate yet installs it first, on Linux or macOS:
  curl -fsS --tlsv1.2 -k --pinnedpubkey '${keyPin}' 'https://mcpgate.example.com/scripts/install.sh' | bash
or on Windows, in PowerShell:
  $f = "$env:TEMP\\mcpgate-install.ps1"; curl.exe -fsS --tlsv1.2 -k --pinnedpubkey '${keyPin}' 'https://mcpgate.example.com/scripts/install.ps1' -o $f; if ($?) { powershell -ExecutionPolicy Bypass -File $f }

NOTE: Make sure mcpgate.example.com:443 points at an mcpgate proxy which users can access.
`);
  });

  test("ls", async () => {
    const { stdout } = await run(
      "users ls",
      fakeApi({ users: [alice, { ...alice, name: "bob", traits: { team: ["data", "ops"] } }] }).api,
    );
    expect(stdout).toBe(`\
User  Roles        Traits        Status  Created (UTC)
----- ------------ ------------- ------- -------------------
alice mcp-user,dev               invited 2026-11-23 05:00:00
bob   mcp-user,dev team=data,ops invited 2026-11-23 05:00:00
`);
  });

  test("update, invite, rm", async () => {
    const { api, calls } = fakeApi(alice, invited, { name: "a/b" });
    expect((await run("users update alice --set-roles mcp-user,dev", api)).stdout).toBe(
      "User alice has been updated: roles mcp-user,dev\n",
    );
    expect((await run("users invite alice --format=json", api)).stdout).toContain(
      `"invite_url": "${invited.invite_url}"`,
    );
    expect((await run("users rm a/b", api)).stdout).toBe("User a/b has been deleted\n");
    expect(calls).toEqual([
      { method: "PATCH", path: "/v1/api/users/alice", body: { roles: ["mcp-user", "dev"] } },
      { method: "POST", path: "/v1/api/users/alice/invite" },
      { method: "DELETE", path: "/v1/api/users/a%2Fb" },
    ]);
  });

  test("traits: lists, repeated or not, empty, taken away", async () => {
    const traits = { traits: { team: ["data", "ops"], unix_login: ["alice"] } };
    for (const [flags, body] of [
      ["--set-trait=team=data,ops,unix_login=alice", traits],
      ["--set-trait team=data,ops --set-trait unix_login=alice", traits],
      ["--set-trait=team=data --set-trait=team=ops,unix_login=alice", traits],
      ["--set-trait=a=x=y", { traits: { a: ["x=y"] } }],
      ["--set-trait=team= --unset-trait=old,older", { traits: { team: [], old: null, older: null } }],
      ["--set-mcp-tools=*", { traits: { mcp_tools: ["*"] } }],
      [
        "--set-mcp-tools=read_*,search --set-roles=dev",
        { roles: ["dev"], traits: { mcp_tools: ["read_*", "search"] } },
      ],
    ] as const) {
      const { api, calls } = fakeApi(alice);
      expect((await run(`users update alice ${flags}`, api)).exitCode).toBe(0);
      expect(calls).toEqual([{ method: "PATCH", path: "/v1/api/users/alice", body }]);
    }
    for (const flags of [
      "",
      "--set-trait=team",
      "--set-trait==x",
      "--set-trait=a=1 --unset-trait=a",
      "--set-mcp-tools=,",
    ]) {
      expect((await run(`users update alice ${flags}`.trim(), fakeApi().api)).exitCode).toBe(2);
    }
  });

  test("the proxy's failures are printed with their hints", async () => {
    const failure = new Failure("already_exists", "there is a user alice already", { hint: "mcpgate users ls" });
    expect(await run("users add alice --roles=dev", fakeApi(failure).api)).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: "mcpgate: error: there is a user alice already\nmcpgate: hint: mcpgate users ls\n",
    });
  });
});

describe("locks", () => {
  const lock = {
    name: "9f3a",
    target: { kind: "user", name: "alice" },
    message: "laptop stolen",
    expires_at: null,
    created_at: "2026-11-23T05:00:00.000Z",
    created_by: "uid:0",
  };

  test("add, ls, rm", async () => {
    const later = { ...lock, name: "b", target: { kind: "app", name: "db" }, expires_at: "2026-11-23T06:00:00.000Z" };
    const { api, calls } = fakeApi(lock, { locks: [lock, later] }, { name: "9f3a" });
    const added = await capture(["locks", "add", "--user=alice", "--ttl=2h", "--message=laptop stolen"], { api });
    expect(added.stdout).toBe("Lock 9f3a has been created\n");
    expect((await run("locks ls", api)).stdout).toBe(`\
ID   Target     Message       Expires (UTC)       Created By
---- ---------- ------------- ------------------- ----------
9f3a user/alice laptop stolen never               uid:0
b    app/db     laptop stolen 2026-11-23 06:00:00 uid:0
`);
    expect((await run("locks rm 9f3a", api)).stdout).toBe("Lock 9f3a has been removed\n");
    const spec = { target: { user: "alice" }, message: "laptop stolen", ttl_seconds: 7200 };
    expect(calls).toEqual([
      { method: "POST", path: "/v1/api/locks", body: { kind: "lock", version: "v2", spec } },
      { method: "GET", path: "/v1/api/locks" },
      { method: "DELETE", path: "/v1/api/locks/9f3a" },
    ]);
  });

  test("one target, and a duration", async () => {
    for (const flags of ["", "--user=a --role=b", "--user=a --ttl=soon"]) {
      expect((await run(`locks add ${flags}`.trim(), fakeApi().api)).exitCode).toBe(2);
    }
  });
});

describe("agents and sessions", () => {
  test("agents ls", async () => {
    const agents = [
      {
        id: "1",
        name: "web-1",
        online: true,
        apps: ["demo", "everything"],
        joined_at: "2026-11-23T05:00:00.000Z",
        last_seen_at: "2026-11-23T05:24:00.000Z",
      },
      { id: "2", name: "old", online: false, apps: [], joined_at: "2026-01-02T03:04:05.000Z", last_seen_at: null },
    ];
    const { stdout } = await run("agents ls", fakeApi({ agents }).api);
    expect(stdout).toBe(`\
Name  Status  Apps            Joined (UTC)        Last Seen (UTC)
----- ------- --------------- ------------------- -------------------
web-1 online  demo,everything 2026-11-23 05:00:00 2026-11-23 05:24:00
old   offline                 2026-01-02 03:04:05
`);
  });

  test("sessions ls", async () => {
    const session = {
      sid: "s-1",
      user: "alice",
      app: "demo",
      agent: "web-1",
      remote: "10.0.0.9",
      started_at: "2026-11-23T05:00:00.000Z",
      last_seen_at: "2026-11-23T05:01:00.000Z",
    };
    const { stdout } = await run("sessions ls", fakeApi({ sessions: [session] }).api);
    expect(stdout).toBe(`\
ID  User  App  Agent Remote   Started (UTC)
--- ----- ---- ----- -------- -------------------
s-1 alice demo web-1 10.0.0.9 2026-11-23 05:00:00
`);
    const asJson = await run("sessions ls --format=json", fakeApi({ sessions: [session] }).api);
    expect(JSON.parse(asJson.stdout)).toEqual([session]);
  });

  test("agents rm, sessions kill", async () => {
    const { api, calls } = fakeApi({ name: "web-1" }, { sid: "s-1" });
    expect((await run("agents rm web-1", api)).stdout).toBe("Agent web-1 has been removed\n");
    expect((await run("sessions kill s-1", api)).stdout).toBe("Session s-1 has been ended\n");
    expect(calls).toEqual([
      { method: "DELETE", path: "/v1/api/agents/web-1" },
      { method: "DELETE", path: "/v1/api/sessions/s-1" },
    ]);
  });

  test("a name from elsewhere can't move the cursor or forge a line", async () => {
    const agents = [
      { id: "1", name: "x\u001b[2J\nroot", online: true, apps: [], joined_at: token.created_at, last_seen_at: null },
    ];
    const { stdout } = await run("agents ls", fakeApi({ agents }).api);
    expect(stdout).toContain("x\\u001b[2J\\u000aroot online");
    expect(stdout.split("\n")).toHaveLength(4);
  });
});
