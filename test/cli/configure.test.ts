/** `agent configure`, `proxy configure`: files to begin from. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Config } from "../../src/config/config.ts";
import { loadConfig } from "../../src/config/load.ts";
import { capture } from "./capture.ts";

const dir = mkdtempSync(join(tmpdir(), "mcpgate-configure-"));
afterAll(() => rmSync(dir, { recursive: true }));
const token = join(dir, "token");
writeFileSync(token, "t0ken\n");

const PIN = `sha256:${"0a".repeat(32)}`;
const joining = ["agent", "configure", "--proxy=mcpgate.example.com", `--token=${token}`];

let made = 0;
/** What the program makes of it. */
async function load(argv: string[], uid: number): Promise<{ config: Config; text: string }> {
  const { exitCode, stdout, stderr } = await capture(argv, { uid });
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  const path = join(dir, `${made++}.yaml`);
  writeFileSync(path, stdout);
  return { config: loadConfig({ path, env: {}, uid }), text: stdout };
}

describe("an agent", () => {
  test("with the demo's app, until there is another", async () => {
    const { config, text } = await load([...joining, `--ca-pin=${PIN}`], 0);
    expect(config).toMatchObject({
      proxyServer: { host: "mcpgate.example.com", port: 443 },
      join: { method: "token", tokenName: token },
      caPin: PIN,
      app: {
        apps: [
          {
            name: "demo",
            labels: { env: "demo" },
            shared: true,
            mcp: { command: "mcpgate", args: ["demo-server"], runAsHostUser: "nobody" },
          },
        ],
      },
    });
    expect(text).not.toContain("t0ken");
    expect(text.split("\n").filter((line) => line.trim().startsWith("#")).length).toBeGreaterThan(8);
  });

  test("who is not root has no other user to run servers as", async () => {
    const { config } = await load(joining, 1000);
    expect(config.app?.apps[0]?.mcp.runAsHostUser).toBeUndefined();
    expect(config.caPin).toBeUndefined();
  });

  test("with an app, whatever its words are", async () => {
    const words = [
      "run",
      "-i",
      "a,b",
      "it's",
      '"',
      "# no comment",
      "a: b",
      "{{x}}",
      "",
      " ",
      "é\u2028\\n",
      "yes",
      "0x1",
    ];
    const { config } = await load(
      [
        ...joining,
        "--app=everything",
        "--command=docker",
        ...words.filter((word) => word !== "").map((word) => `--arg=${word}`),
        "--run-as-host-user=docker",
        '--description=what: "it" is # all',
        "--label=env=dev",
        "--label=team=a=b, c",
        "--label=on=yes",
      ],
      0,
    );
    expect(config.app?.apps).toEqual([
      {
        name: "everything",
        description: 'what: "it" is # all',
        labels: { env: "dev", team: "a=b, c", on: "yes" },
        shared: false,
        mcp: { command: "docker", args: words.filter((word) => word !== ""), runAsHostUser: "docker" },
      },
    ]);
  });

  test.each([
    [["--token=abcd123"], "--token takes the path of a file that holds the token, not the token itself"],
    [["--app=x"], "--command is required beside --app"],
    [
      ["--app=x", "--command=npx -y a"],
      "--command is the program alone: each of its arguments has an --arg of its own",
    ],
    [["--app=x", "--command=y"], "--run-as-host-user is required: an agent that is root switches users"],
    [["--command=y"], "--command goes with --app"],
    [["--label=env"], "--label=env is not KEY=VALUE"],
    [["--app=X Y", "--command=y", "--run-as-host-user=z"], '--app: "X Y" is no app name'],
    [["--ca-pin=sha256:1"], "--ca-pin: is not sha256: and 64 hex digits"],
    [[`--ca-pin=sha256:${"0".repeat(64)}\n  data_dir: /tmp`], "--ca-pin: is not sha256: and 64 hex digits"],
    [["--proxy=https://x"], '--proxy: "https://x" is a URL, not host:port'],
    [["--run-as-host-user={{x"], '--run-as-host-user: "{{x" is neither a name nor a template for one'],
    [["--run-as-host-user={{user.traits.login}}"], "--run-as-host-user: needs app_service.allow_host_users beside it"],
  ])("%p is refused", async (more, error) => {
    const names = more.map((each) => each.split("=")[0]);
    const before = joining.filter((each) => !names.includes(each.split("=")[0]));
    const { exitCode, stdout, stderr } = await capture([...before, ...more], { uid: 0 });
    expect({ exitCode, stdout, error: stderr.split("\n")[0] }).toEqual({
      exitCode: 2,
      stdout: "",
      error: `mcpgate: error: ${error}`,
    });
    expect(stderr).not.toContain("abcd123");
  });

  test("a token file that is not there yet is told, and is found from the working directory", async () => {
    const { stdout, stderr } = await capture(["agent", "configure", "--proxy=p", "--token=./later"]);
    expect(stdout).toContain(`token_name: ${join(process.cwd(), "later")}}`);
    expect(stderr).toStartWith(`mcpgate: warning: there is no ${join(process.cwd(), "later")} yet`);
  });
});

describe("a proxy", () => {
  test("listens on the port that is dialled", async () => {
    const { config } = await load(["proxy", "configure", "--public-addr=p.example.com:8443"], 0);
    expect(config.proxy).toMatchObject({
      publicAddr: { host: "p.example.com", port: 8443 },
      listen: { host: "0.0.0.0", port: 8443 },
      clusterName: "p.example.com",
    });
  });

  test("with a certificate of the web's", async () => {
    const files = ["--cert-file=/etc/a.crt", "--key-file=/etc/a.key"];
    const others = ["--listen-addr=[::1]:443", "--cluster-name=main"];
    const { config } = await load(["proxy", "configure", "--public-addr=p", ...files, ...others], 1000);
    expect(config.proxy).toMatchObject({ certFile: "/etc/a.crt", keyFile: "/etc/a.key", clusterName: "main" });
    expect(config.proxy?.listen).toEqual({ host: "::1", port: 443 });
  });

  test.each([
    ["--public-addr=a b", '--public-addr: "a b" has a host that is neither a name nor an address'],
    ["--cert-file=/x", "--cert-file and --key-file go together"],
    ["--listen-addr=x", '--listen-addr: "x" has no port'],
  ])("%s is refused", async (flag, error) => {
    const argv = ["proxy", "configure", ...(flag.startsWith("--public") ? [] : ["--public-addr=p"]), flag];
    const { exitCode, stderr } = await capture(argv);
    expect({ exitCode, error: stderr.split("\n")[0] }).toEqual({ exitCode: 2, error: `mcpgate: error: ${error}` });
  });
});

describe("-o", () => {
  const commands: [string, string[], number][] = [
    ["agent", joining, 0o600],
    ["proxy", ["proxy", "configure", "--public-addr=p"], 0o644],
  ];

  test.each(commands)("%s: a new file, with the mode that it needs", async (name, argv, mode) => {
    const path = join(dir, `${name}.yaml`);
    expect(await capture([...argv, "-o", path])).toMatchObject({ exitCode: 0, stdout: `${path} has been written\n` });
    expect(statSync(path).mode & 0o777).toBe(mode);
    expect(loadConfig({ path, env: {}, uid: 1000 }).file).toBe(path);
  });

  test.each(commands)("%s: what is there stays as it is, a link to nothing too", async (name, argv) => {
    const path = join(dir, `mine-${name}.yaml`);
    writeFileSync(path, "mine");
    const dangling = join(dir, `dangling-${name}.yaml`);
    symlinkSync(join(dir, "nowhere"), dangling);
    for (const there of [path, dangling]) {
      const { exitCode, stdout, stderr } = await capture([...argv, "-o", there]);
      expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
      expect(stderr).toStartWith(`mcpgate: error: ${there} is there already, and has not been touched\n`);
    }
    expect(readFileSync(path, "utf8")).toBe("mine");
  });

  test("a directory that is not there", async () => {
    const path = join(dir, "none/x.yaml");
    expect((await capture([...joining, "-o", path])).stderr).toBe(
      `mcpgate: error: ${path} can't be written: its directory is not there\nmcpgate: hint: mkdir -p ${join(dir, "none")}\n`,
    );
  });
});
