/** `mcpgate config check | schema`. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { capture } from "./capture.ts";

const dir = mkdtempSync(join(tmpdir(), "mcpgate-config-"));
afterAll(() => rmSync(dir, { recursive: true }));

let made = 0;
function file(text: string): string {
  const path = join(dir, `${made++}.yaml`);
  writeFileSync(path, text);
  return path;
}

const check = async (text: string, { uid = 0, args = [] as string[] } = {}) => {
  const path = file(text);
  const captured = await capture(["config", "check", path, ...args], { uid });
  return { ...captured, stderr: captured.stderr.replaceAll(path, "F"), stdout: captured.stdout.replaceAll(path, "F") };
};

const good = `\
mcpgate: {proxy_server: p}
app_service:
  apps:
    - {name: a, mcp: {command: x, run_as_host_user: nobody}}
`;

describe("check", () => {
  test("all that is wrong, in the order of the file, with places and hints", async () => {
    const text = `\
verison: v1
mcpgate:
  data_dri: x
  proxy_server: "a b"
  ca_pim: 1
app_service:
  drain: 1h
  apps:
    - {name: A, mcp: {comand: x}}
    - {name: b, mcp: {command: x, args: 3}}
`;
    expect(await check(text)).toEqual({
      exitCode: 2,
      stdout: "",
      stderr: `\
mcpgate: error: F:1:1: verison: unknown key
mcpgate: hint: did you mean: version
mcpgate: error: F:3:3: mcpgate.data_dri: unknown key
mcpgate: hint: did you mean: data_dir
mcpgate: error: F:4:17: mcpgate.proxy_server: "a b" has a host that is neither a name nor an address
mcpgate: hint: like mcpgate.example.com:443
mcpgate: error: F:5:3: mcpgate.ca_pim: unknown key
mcpgate: hint: did you mean: ca_pin
mcpgate: error: F:7:10: app_service.drain: "1h" is no duration up to 5m
mcpgate: hint: like 2s or 30s
mcpgate: error: F:9:14: app_service.apps[0].name: "A" is no app name
mcpgate: hint: 1 to 63 of a-z 0-9 _ -, beginning with a letter or digit
mcpgate: error: F:9:17: app_service.apps[0].mcp.command: is required
mcpgate: hint: add there: command: VALUE
mcpgate: error: F:9:23: app_service.apps[0].mcp.comand: unknown key
mcpgate: hint: did you mean: command
mcpgate: error: F:10:41: app_service.apps[1].mcp.args: expected a list, got 3
`,
    });
  });

  test("all that does not go together", async () => {
    const text = `\
proxy_service: {enabled: true, cert_file: /x}
app_service:
  apps:
    - {name: a, mcp: {command: x, run_as_host_user: nobody, linger: 5m}}
    - {name: a, mcp: {command: x}}
`;
    const { exitCode, stderr } = await check(text);
    expect(exitCode).toBe(2);
    expect(stderr.split("\n").filter((line) => line.includes("error"))).toEqual([
      "mcpgate: error: F:1:1: proxy_service.public_addr: is required",
      "mcpgate: error: F:1:32: proxy_service.cert_file: needs key_file beside it",
      "mcpgate: error: F:4:69: app_service.apps[0].mcp.linger: goes with share: user and share: app only",
      "mcpgate: error: F:5:14: app_service.apps[1].name: a second app named a",
      "mcpgate: error: F:5:17: app_service.apps[1].mcp.run_as_host_user: is required when the agent runs as root",
    ]);
  });

  test("no YAML at all", async () => {
    expect(await check("a: [\n")).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("F:2:1: ") });
  });

  test("nothing is wrong", async () => {
    expect(await check(good)).toEqual({ exitCode: 0, stdout: "F: ok\n", stderr: "" });
  });

  test("a file that nothing can be started with is a warning", async () => {
    for (const text of ["", "# nothing\n", "app_service: {enabled: false}\n"]) {
      const { exitCode, stdout, stderr } = await check(text);
      expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "F: ok, with a warning\n" });
      expect(stderr).toContain("neither app_service nor proxy_service is enabled");
    }
  });

  test("a command with its arguments in it is a warning", async () => {
    const line = "mcpgate: warning: F:4:32: app_service.apps[0].mcp.command: is the program alone, ";
    const { exitCode, stderr } = await check(good.replace("command: x", "command: npx -y it"));
    expect(exitCode).toBe(0);
    expect(stderr).toStartWith(line);
    expect(stderr).toEndWith('mcpgate: hint: command: npx, and in args: ["-y", "it"]\n');
    expect((await check(good.replace("command: x", "command: /opt/my server/x"))).stderr).toBe("");
  });

  test("a document is no configuration", async () => {
    expect(await check("kind: role\nversion: v8\nmetadata: {name: a}\nspec: {}\n")).toEqual({
      exitCode: 2,
      stdout: "",
      stderr: `\
mcpgate: error: F:1:1: kind: this is a document for the proxy to keep, and no configuration
mcpgate: hint: mcpgate create -f F
`,
    });
  });

  test("--config names the file as it does elsewhere, but not beside it", async () => {
    const path = file("foo: 1\n");
    for (const argv of [["-c", path], [`--config=${path}`]]) {
      const { exitCode, stderr } = await capture(["config", "check", ...argv]);
      expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: expect.stringContaining(`${path}:1:1: foo: `) });
    }
    expect(await capture(["config", "check", path, "-c", path])).toMatchObject({ exitCode: 2, stdout: "" });
  });

  test("an interpreter in allow_commands is arbitrary code", async () => {
    const service = "  resources: [{labels: {env: dev}}]\n  allow_host_users: [mcp]\n";
    const { exitCode, stdout, stderr } = await check(`${good}${service}  allow_commands: [["python3", "**"]]\n`);
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "F: ok, with a warning\n" });
    expect(stderr).toMatch(/^mcpgate: warning: F:7:20: app_service\.allow_commands\[0\]: .+\nmcpgate: hint: .+\n$/);
  });

  test("what only an agent that is root lacks is a warning to others", async () => {
    const text = good.replace(", run_as_host_user: nobody", "");
    expect(await check(text, { uid: 1000 })).toEqual({
      exitCode: 0,
      stdout: "F: ok, with a warning\n",
      stderr: `\
mcpgate: warning: F:4:17: app_service.apps[0].mcp.run_as_host_user: is required when the agent runs as root
mcpgate: hint: name the user under which the server is to run, like run_as_host_user: nobody
`,
    });
    expect((await check(text)).exitCode).toBe(2);
  });

  test("for programs", async () => {
    const { exitCode, stdout, stderr } = await check("foo: 1\nbar: 2\n", { args: ["--format=json"] });
    expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: "" });
    const hint = expect.stringMatching(/^keys here: /);
    expect(JSON.parse(stdout)).toEqual({
      file: "F",
      ok: false,
      problems: [
        { line: 1, column: 1, path: "foo", message: "unknown key", hint },
        { line: 2, column: 1, path: "bar", message: "unknown key", hint },
      ],
      warnings: [],
    });
    expect(JSON.parse((await check(good, { args: ["--format=json"] })).stdout)).toMatchObject({ ok: true });
  });

  test("the file that would be taken, where none is named", async () => {
    const path = file("foo: 1\n");
    const { exitCode, stderr } = await capture(["config", "check"], { env: { MCPGATE_CONFIG: path } });
    expect(exitCode).toBe(2);
    expect(stderr).toStartWith(`mcpgate: error: ${path}:1:1: foo: unknown key\n`);
    const none = await capture(["config", "check", join(dir, "none.yaml")]);
    expect(none).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("no such configuration file") });
  });
});

test.each(["config", "role", "lock", "token", "app"])(
  "schema --kind=%s is the file that the examples name",
  async (kind) => {
    const { exitCode, stdout } = await capture(["config", "schema", `--kind=${kind}`]);
    expect(exitCode).toBe(0);
    const path = join(import.meta.dir, "../../examples/schema", `${kind}.json`);
    // where they differ: mcpgate config schema --kind=KIND >examples/schema/KIND.json
    expect(readFileSync(path, "utf8")).toBe(stdout);
  },
);
