/** `mcpgate install systemd`: the units, and what systemd's own tools say of them. */
import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCommand } from "../e2e/processes.ts";
import { capture } from "./capture.ts";

const dir = mkdtempSync(join(tmpdir(), "mcpgate-install-"));
afterAll(() => rmSync(dir, { recursive: true }));

function file(name: string, text: string, mode = 0o644): string {
  writeFileSync(join(dir, name), text);
  chmodSync(join(dir, name), mode);
  return join(dir, name);
}

const app = "apps: [{name: a, mcp: {command: x, run_as_host_user: nobody}}]";
const agent = file(
  "agent.yaml",
  `mcpgate: {proxy_server: p, join_params: {token_name: /tmp/token}}\napp_service: {drain: 40s, ${app}}\n`,
);
const as = (user: string) =>
  file(`${user}.yaml`, readFileSync(agent, "utf8").replace("run_as_host_user: nobody", `run_as_host_user: ${user}`));
const proxy = file("proxy.yaml", "proxy_service: {public_addr: p.example.com}\n");
const webProxy = file(
  "web-proxy.yaml",
  `\
proxy_service:
  listen_addr: 0.0.0.0:8443
  public_addr: p.example.com
  cert_file: /etc/tls.crt
  key_file: /etc/tls.key
  audit:
    sinks:
      - {type: file, path: /var/log/siem/audit.jsonl}
      - {type: file, name: other, path: /srv/audit/audit.jsonl}
      - {type: http, url: "https://siem.example.com/in", token: "file:/etc/siem.token"}
`,
);
const both = file("both.yaml", `proxy_service: {public_addr: p}\napp_service: {${app}}\n`);

const install = (...args: string[]) => capture(["install", "systemd", ...args]);
const unit = async (...args: string[]): Promise<string> => {
  const { exitCode, stdout, stderr } = await install(...args);
  expect({ exitCode, stderr: stderr.replace(/^.*the proxy will not see.*\n/gm, "") }).toEqual({
    exitCode: 0,
    stderr: "",
  });
  return stdout;
};
/** All values of a setting. */
const all = (text: string, name: string): string[] =>
  [...text.matchAll(new RegExp(`^${name}=(.*)$`, "gm"))].map(([, value = ""]) => value);

describe("which service", () => {
  test("what the configuration enables, or what --for says", async () => {
    expect(all(await unit("-c", agent), "ExecStart")).toEqual([`/usr/local/bin/mcpgate agent start --config=${agent}`]);
    expect(all(await unit("-c", proxy), "ExecStart")).toEqual([`/usr/local/bin/mcpgate proxy start --config=${proxy}`]);
    expect(all(await unit("-c", both, "--for=proxy"), "ExecStart")[0]).toContain(" proxy start ");
    expect(all(await unit("-c", both, "--for=agent"), "ExecStart")[0]).toContain(" agent start ");
  });

  test.each([
    [["-c", both], "mcpgate: error: --for is required: the configuration enables both services\n"],
    [
      ["-c", join(dir, "none.yaml")],
      "mcpgate: error: --for is required: no configuration says which service is meant\n",
    ],
    [["-c", agent, "--for=proxy"], `mcpgate: error: ${agent}: proxy_service is not enabled\n`],
    [["-c", proxy, "--for=agent"], `mcpgate: error: ${proxy}: app_service is not enabled\n`],
    [["-c", file("broken.yaml", "foo: 1\n")], `mcpgate: error: ${dir}/broken.yaml:1:1: foo: unknown key\n`],
  ])("%p is refused", async (args, error) => {
    const { exitCode, stdout, stderr } = await install(...args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toStartWith(error);
    expect(stderr).toContain("mcpgate: hint: ");
  });

  test("a unit may come before its configuration, with a warning", async () => {
    const { exitCode, stdout, stderr } = await install("--for=agent", "-c", join(dir, "none.yaml"));
    expect(exitCode).toBe(0);
    expect(all(stdout, "LoadCredential")).toEqual([]);
    expect(stderr).toBe(`mcpgate: warning: there is no ${dir}/none.yaml yet: mcpgate agent configure --help\n`);
  });
});

describe("the agent's unit", () => {
  test("follows the configuration: the token, and the time that open calls have", async () => {
    const text = await unit("-c", agent);
    expect(all(text, "TimeoutStopSec")).toEqual(["55"]);
    expect(all(text, "LoadCredential")).toEqual(["mcpgate.join_params.token_name:/tmp/token"]);
    expect(all(text, "SetCredential")).toEqual(["mcpgate.join_params.token_name:\\n"]);
  });

  test("a token that stands in the configuration is not in the unit", async () => {
    const config = file(
      "literal.yaml",
      "mcpgate: {proxy_server: p, join_params: {token_name: s3cr3t}}\napp_service: {}\n",
    );
    const text = await unit("-c", config);
    expect(text).not.toContain("s3cr3t");
    expect(all(text, "LoadCredential")).toEqual([]);
  });

  test("root keeps what it takes to become others, and no more", async () => {
    const text = await unit("-c", agent);
    expect(all(text, "User")).toEqual([]);
    expect(all(text, "NoNewPrivileges")).toEqual([]);
    expect(all(text, "CapabilityBoundingSet").join(" ").split(" ").sort()).toEqual([
      ...["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_KILL"],
      ...["CAP_SETGID", "CAP_SETUID", "CAP_SYS_PTRACE"],
    ]);
  });

  test("a sandbox for root needs more than that", async () => {
    const sandboxed = "mcp: {command: x, run_as_host_user: root, sandbox: {}}";
    const config = file("root.yaml", `mcpgate: {proxy_server: p}\napp_service: {apps: [{name: a, ${sandboxed}}]}\n`);
    expect(all(await unit("-c", config), "CapabilityBoundingSet")).toContain("CAP_SYS_ADMIN CAP_NET_ADMIN");
  });

  test("with an account of its own it has no capability and gains none", async () => {
    const text = await unit("-c", as("mcp"), "--user=mcp");
    expect(all(text, "User")).toEqual(["mcp"]);
    expect(all(text, "CapabilityBoundingSet")).toEqual([""]);
    expect(all(text, "NoNewPrivileges")).toEqual(["yes"]);
    expect(all(text, "StateDirectory")).toEqual(["mcpgate/agent mcpgate/packages"]);
  });

  test("what an account can't start as anybody else is told", async () => {
    const { exitCode, stderr } = await install("-c", agent, "--user=mcp");
    expect({ exitCode, stderr }).toEqual({
      exitCode: 0,
      stderr: "mcpgate: warning: the app a will not start: an agent that is mcp has no other run_as_host_user\n",
    });
  });
});

describe("the proxy's unit", () => {
  test("an account of systemd's making, and one capability for a low port", async () => {
    const text = await unit("-c", proxy);
    expect([all(text, "User"), all(text, "DynamicUser")]).toEqual([["mcpgate-proxy"], ["yes"]]);
    expect(all(text, "StateDirectory")).toEqual(["mcpgate/proxy"]);
    expect(all(text, "CapabilityBoundingSet")).toEqual(["CAP_NET_BIND_SERVICE"]);
    expect(all(text, "AmbientCapabilities")).toEqual(["CAP_NET_BIND_SERVICE"]);
  });

  test("secrets that only root can read are handed over, and sinks may be written", async () => {
    const text = await unit("-c", webProxy);
    expect(all(text, "LoadCredential")).toEqual([
      "proxy_service.cert_file:/etc/tls.crt",
      "proxy_service.key_file:/etc/tls.key",
      "proxy_service.audit.sinks.http.token:/etc/siem.token",
    ]);
    expect(all(text, "LogsDirectory")).toEqual(["mcpgate siem"]);
    expect(all(text, "ReadWritePaths")).toEqual(["/srv/audit"]);
    expect([all(text, "AmbientCapabilities"), all(text, "PrivateUsers")]).toEqual([[""], ["yes"]]);
  });

  test("data elsewhere has to belong to somebody", async () => {
    const config = file("data.yaml", "mcpgate: {data_dir: /srv/mcpgate}\nproxy_service: {public_addr: p}\n");
    const { exitCode, stderr } = await install("-c", config);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("mcpgate.data_dir: /srv/mcpgate can't belong to an account of systemd's making");
    const text = await unit("-c", config, "--user=mcp");
    expect([all(text, "User"), all(text, "DynamicUser"), all(text, "StateDirectory")]).toEqual([["mcp"], [], []]);
    expect(all(text, "ReadWritePaths")).toEqual(["/srv/mcpgate/proxy"]);
  });

  test("a file that its account can't read is told", async () => {
    const { stderr } = await install("-c", file("private.yaml", "proxy_service: {public_addr: p}\n", 0o600));
    expect(stderr).toContain("private.yaml has to be readable for the account that the service runs under\n");
  });
});

test("a path with a meaning to systemd is refused, and a percent sign has none", async () => {
  for (const name of ["a b.yaml", "a$HOME.yaml", 'a".yaml', "a;b.yaml"]) {
    const { exitCode, stderr } = await install("-c", file(name, "proxy_service: {public_addr: p}\n"));
    expect(exitCode).toBe(2);
    expect(stderr).toContain("can't stand in a unit file");
  }
  const text = await unit("-c", file("50%n.yaml", "proxy_service: {public_addr: p}\n"));
  expect(all(text, "ExecStart")[0]).toEndWith("/50%%n.yaml");
});

test("-o makes a file, and never overwrites one", async () => {
  const path = join(dir, "made.service");
  expect(await install("-c", agent, "-o", path)).toMatchObject({ exitCode: 0, stdout: `${path} has been written\n` });
  expect(statSync(path).mode & 0o777).toBe(0o644);
  const before = readFileSync(path, "utf8");
  expect(before).toBe(await unit("-c", agent));
  expect(await install("-c", as("mcp"), "--user=mcp", "-o", path)).toEqual({
    exitCode: 1,
    stdout: "",
    stderr: `mcpgate: error: ${path} is there already, and has not been touched\nmcpgate: hint: look at it, and move it away: mv ${path} ${path}.old\n`,
  });
  expect(readFileSync(path, "utf8")).toBe(before);
});

const analyze = Bun.which("systemd-analyze");
if (analyze === null) console.warn("systemd-analyze is not here (apt-get install systemd): the units are not verified");

describe.skipIf(analyze === null)("systemd-analyze", () => {
  const tool = async (...args: string[]) =>
    await runCommand([analyze ?? "", ...args], { env: { PATH: process.env.PATH ?? "", SYSTEMD_LOG_LEVEL: "info" } });

  test.each([
    ["agent", [agent], 6.1],
    ["agent-user", [as("daemon"), "--user=daemon"], 4.4],
    ["proxy", [proxy], 1.6],
    ["proxy-web", [webProxy], 1.3],
  ] as [string, string[], number][])(
    "%s: nothing to complain of, and an exposure as docs/hosts.md has it",
    async (name, [config = "", ...args], score) => {
      // a program that is there, as it will be on the host
      const text = (await unit("-c", config, ...args)).replaceAll("/usr/local/bin/mcpgate", "/bin/true");
      const path = file(`${name}.service`, text);
      const verified = await tool("verify", path);
      expect({ code: verified.code, said: verified.stdout + verified.stderr }).toEqual({ code: 0, said: "" });
      const { stdout } = await tool("security", "--offline=true", "--no-pager", path);
      const found = Number(/Overall exposure level for .*: ([\d.]+)/.exec(stdout)?.[1]);
      expect(found).toBeGreaterThan(0);
      // Later releases of systemd look at more.
      expect(found).toBeLessThanOrEqual(score + 0.5);
      const told = readFileSync(join(import.meta.dir, "../../docs/hosts.md"), "utf8");
      expect(told.includes(`${score}`)).toBe(true);
    },
  );
});
