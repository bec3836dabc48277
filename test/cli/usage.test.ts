/** Wrong usage: exit code 2, one error and one hint on stderr, nothing on stdout, and nothing was called. */
import { describe, expect, test } from "bun:test";
import { capture, fakeApi } from "./capture.ts";

const wrong: [argv: string, error: string, hint: string][] = [
  ["", "no command given", "mcpgate --help"],
  ["toString", 'unknown command "toString"', "mcpgate --help"],
  ["__proto__", 'unknown command "__proto__"', "mcpgate --help"],
  ["agnet start", 'unknown command "agnet"', "did you mean: mcpgate agent"],
  ["client conect everything", 'unknown command "client conect"', "did you mean: mcpgate client connect"],
  ["client constructor", 'unknown command "client constructor"', "mcpgate client --help"],
  ["demo-servr", 'unknown command "demo-servr"', "mcpgate --help"],
  ["tokens", "mcpgate tokens needs a command", "mcpgate tokens --help"],
  ["--verbose tokens ls", "unknown flag --verbose", "mcpgate --help"],
  ["tokens --format=json ls", "unknown flag --format", "mcpgate tokens --help"],
  ["-- tokens ls", "no command given", "mcpgate --help"],
  ["tokens add", "--type is required", "mcpgate tokens add --help"],
  ["tokens add --type", "--type needs a value", "mcpgate tokens add --help"],
  ["tokens add --type=", "--type needs a value", "mcpgate tokens add --help"],
  ["tokens add --type --ttl=1m", "--type needs a value", "mcpgate tokens add --help"],
  ["tokens add --type=apps", '--type is one of app, not "apps"', "did you mean: --type=app"],
  ["tokens add --type=app --type=app", "--type is given more than once", "mcpgate tokens add --help"],
  ["tokens add --type app --type=app", "--type is given more than once", "mcpgate tokens add --help"],
  ["tokens add --typ=app", "unknown flag --typ", "did you mean: --type"],
  ["tokens add --type=app --no-ttl", "unknown flag --no-ttl", "mcpgate tokens add --help"],
  ["tokens add --type=app -x", "unknown flag -x", "mcpgate tokens add --help"],
  ["tokens add --type=app extra", 'unexpected argument "extra"', "mcpgate tokens add --help"],
  ["tokens add --type=app -- extra", 'unexpected argument "extra"', "mcpgate tokens add --help"],
  ["tokens add --type=app --ttl=30", "--ttl=30 is no duration", "like --ttl=90s, --ttl=30m or --ttl=2h"],
  ["tokens add --type=app --ttl=0m", "--ttl=0m is no duration", "like --ttl=90s, --ttl=30m or --ttl=2h"],
  [
    "tokens add --type=app --format=yml",
    '--format is one of text, json, yaml, not "yml"',
    "did you mean: --format=yaml",
  ],
  ["tokens ls --toString", "unknown flag --toString", "mcpgate tokens ls --help"],
  ["tokens ls --constructor=x", "unknown flag --constructor", "mcpgate tokens ls --help"],
  ["tokens rm", "TOKEN is missing", "mcpgate tokens rm --help"],
  ["-c one -c two tokens ls", "--config is given more than once", "mcpgate tokens ls --help"],
  ["-c one tokens ls --config=two", "--config is given more than once", "mcpgate tokens ls --help"],
  ["-c one client ls", "unknown flag -c", "mcpgate client ls --help"],
  ["users add alice", "--roles is required", "mcpgate users add --help"],
  ["users add alice --roles=a,,b", "--roles has an empty name in it", "like --roles=mcp-user,auditor"],
  ["users add alice bob --roles=a", 'unexpected argument "bob"', "mcpgate users add --help"],
  ["create", "--file is required", "mcpgate create --help"],
  ["create -f", "--file needs a value", "mcpgate create --help"],
  [
    "create -f /nowhere/role.yaml",
    "/nowhere/role.yaml: no such file",
    "mcpgate create -f FILE, or - for standard input",
  ],
  ["create -f role.yaml --force=yes", "--force takes no value", "mcpgate create --help"],
  ["get rol", 'no resources of kind "rol"', "did you mean: mcpgate get role"],
  ["get database/x", 'no resources of kind "database"', "mcpgate get --help"],
  ["rm role", '"role" has no name', "like mcpgate rm role/NAME"],
  ["rm role/", '"role/" has no name', "mcpgate get role"],
  ["audit ls --limit=0", "--limit=0 is no whole number over 0", "like --limit=100"],
  ["audit ls --limit=many", "--limit=many is no whole number over 0", "like --limit=100"],
  [
    "audit ls --since=soon",
    "--since=soon is no time",
    "like --since=1h, --since=2026-11-23 or --since=2026-11-23T05:24:00Z",
  ],
  ["audit export --format=json", '--format is one of jsonl, not "json"', "did you mean: --format=jsonl"],
  ["client connect", "NAME is missing", "mcpgate client connect --help"],
  ["client connect everything --debug", "unknown flag --debug", "mcpgate client connect --help"],
  ["client login --user=alice", "--proxy is required", "mcpgate client login --help"],
  [
    "client login --proxy=a:1 --user=alice --ca-pin=sha256:12",
    "a CA pin is `sha256:` and 64 hex digits",
    "copy the pin from the proxy's `ready` line, or from `mcpgate tokens add --type=app` on the proxy's host",
  ],
  [
    "client login --proxy=a:1 --user=alice",
    "there is no terminal to ask for the password on",
    "mcpgate client login --proxy=a:1 --user=alice --password-stdin <FILE",
  ],
  ["version 2", 'unexpected argument "2"', "mcpgate version --help"],
  ["--version 2", 'unexpected argument "2"', "mcpgate version --help"],
  ["proxy start", "/dev/null: proxy_service is not enabled", "mcpgate proxy configure --help"],
];

describe("wrong usage", () => {
  for (const [argv, error, hint] of wrong) {
    test(`mcpgate ${argv}`, async () => {
      const captured = await capture(argv === "" ? [] : argv.split(" "));
      expect(captured).toEqual({
        exitCode: 2,
        stdout: "",
        stderr: `mcpgate: error: ${error}\nmcpgate: hint: ${hint}\n`,
      });
    });
  }

  test("an empty positional is none", async () => {
    const { exitCode, stderr } = await capture(["client", "connect", ""]);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 2,
      stderr: "mcpgate: error: NAME is empty\nmcpgate: hint: mcpgate client connect --help\n",
    });
  });

  test("what is echoed has lost its control characters", async () => {
    const { stderr } = await capture(["\u001b[31mred\r\n"]);
    expect(stderr).toBe('mcpgate: error: unknown command "\\u001b[31mred\\r\\n"\nmcpgate: hint: mcpgate --help\n');
  });
});

describe("right usage, whichever way it is spelled", () => {
  const token = {
    id: "0123456789abcdef",
    type: "app",
    created_at: "2026-11-23T05:00:00.000Z",
    expires_at: "2026-11-23T05:30:00.000Z",
    created_by: "uid:0",
    token: "TOKEN",
    public_addr: "proxy.test:443",
  };
  const spellings = [
    ["tokens", "add", "--type=app", "--ttl=90s", "--format=text", "--config=/dev/null"],
    ["tokens", "add", "--type", "app", "--ttl", "90s", "--format", "text", "-c", "/dev/null"],
    ["-c", "/dev/null", "tokens", "add", "--ttl=1m30s", "--format=text", "--type=app"],
    ["--config=/dev/null", "tokens", "add", "--ttl=1m30s", "--format=text", "--type=app", "--"],
  ];
  for (const argv of spellings) {
    test(argv.join(" "), async () => {
      const { api, calls } = fakeApi(token);
      const captured = await capture(argv, { api });
      expect(captured).toEqual({ exitCode: 0, stdout: "TOKEN\n", stderr: "" });
      expect(calls).toEqual([{ method: "POST", path: "/v1/api/tokens", body: { type: "app", ttl_seconds: 90 } }]);
    });
  }

  test("after -- nothing is a flag", async () => {
    const { api, calls } = fakeApi({ id: "x" });
    const { stdout } = await capture(["tokens", "rm", "--", "--help"], { api });
    expect(stdout).toBe("Token x has been deleted\n");
    expect(calls).toEqual([{ method: "POST", path: "/v1/api/tokens/revoke", body: { token: "--help" } }]);
  });

  test("a value may hold anything when it is attached", async () => {
    const { api, calls } = fakeApi({ events: [], more: false, cursor: 0 });
    await capture(["audit", "ls", "--user=--no-x=1"], { api });
    expect(calls).toEqual([{ method: "GET", path: "/v1/api/events?user=--no-x%3D1&limit=1000" }]);
  });
});
