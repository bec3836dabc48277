/** Bad input at each step: one clear error with a hint, exit code 1 or 2, and nothing lost by it. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readFileSync, statSync } from "node:fs";
import { Cluster, PASSWORD, READER, role, SELF, SLOWEST_MS, writeAgentConfig } from "./harness.ts";
import { RawClient } from "./mcp.ts";
import type { Ended } from "./processes.ts";

setDefaultTimeout(SLOWEST_MS);

let cluster: Cluster;
const OTHER_PIN = `sha256:${"0".repeat(64)}`;

beforeAll(async () => {
  cluster = await Cluster.start({ apps: ["demo"], roles: [READER], users: { alice: ["mcp-user"] } });
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

/** One error and one hint, in our form, and nothing on stdout. Answers with both lines. */
function oneError({ code, stdout, stderr }: Ended, exit: 1 | 2): { error: string; hint: string } {
  const ours = stderr.split("\n").filter((line) => line.startsWith("mcpgate: "));
  const [error = "", hint = ""] = ours;
  expect({ ours: ours.length, code, stdout, stderr }).toMatchObject({ ours: 2, code: exit, stdout: "" });
  expect(error).toMatch(/^mcpgate: error: ([^A-Z]|[A-Z]{2}).*[^.\n]$/);
  expect(hint).toMatch(/^mcpgate: hint: .*[^.\n]$/);
  expect(stderr).not.toContain("    at ");
  return { error: error.slice(16), hint: hint.slice(15) };
}

describe("the command line", () => {
  test.each([
    [[], "no command given"],
    [["agent"], "mcpgate agent needs a command"],
    [["agnet", "start"], 'unknown command "agnet"'],
    [["client", "connekt", "x"], 'unknown command "client connekt"'],
    [["toString"], 'unknown command "toString"'],
    [["client", "connect"], "NAME is missing"],
    [["client", "login"], "--proxy"],
    [["client", "ls", "--formt=json"], "--formt"],
    [["client", "ls", "--format=xml"], "--format"],
    [["users", "add", "x", "--roles="], "--roles"],
    [["tokens", "add", "--type=node"], "--type"],
    [["tokens", "add", "--type=app", "--ttl=soon"], "--ttl=soon"],
    [["users", "ls", "extra"], "extra"],
    [["version", "--format=json", "--format=text"], "--format"],
    [["get", "rol"], '"rol"'],
    [["__exec"], "__exec is started by the agent only"],
  ])("%j", async (args, part) => {
    const result = await cluster.place.cli(args);
    const { error } = oneError(result, 2);
    expect(error).toContain(part);
  });
});

describe("the configuration", () => {
  const start = (service: "agent" | "proxy", name: string, content: object | string) =>
    cluster.place.cli([service, "start", "-c", cluster.place.file(name, content)]);

  test("an unknown key, with its place and the nearest spelling", async () => {
    const result = await start(
      "proxy",
      "typo.yaml",
      "version: v1\nproxy_service:\n  enabled: true\n  listn_addr: x:1\n",
    );
    const { error, hint } = oneError(result, 2);
    expect(error).toBe(`${cluster.place.path("typo.yaml")}:4:3: proxy_service.listn_addr: unknown key`);
    expect(hint).toBe("did you mean: listen_addr");
  });

  test("an app without a command, without a host user, twice the same", async () => {
    const agent = (apps: object[]) => ({
      version: "v1",
      mcpgate: { proxy_server: cluster.address, data_dir: cluster.place.path("never") },
      app_service: { enabled: true, apps },
    });
    const mcp = { command: "true", run_as_host_user: SELF };
    const { error, hint } = oneError(
      await start("agent", "a.yaml", agent([{ name: "x", mcp: { run_as_host_user: SELF } }])),
      2,
    );
    expect(error).toContain("app_service.apps[0].mcp.command: is required");
    expect(hint).toContain("command:");
    const twice = await start(
      "agent",
      "b.yaml",
      agent([
        { name: "x", mcp },
        { name: "x", mcp },
      ]),
    );
    expect(twice).toMatchObject({ code: 2, stdout: "" });
    const upper = await start("agent", "c.yaml", agent([{ name: "Not A Name", mcp }]));
    expect(upper).toMatchObject({ code: 2, stdout: "" });
    if (process.getuid?.() === 0) {
      const { error } = oneError(await start("agent", "d.yaml", agent([{ name: "x", mcp: { command: "true" } }])), 2);
      expect(error).toContain("run_as_host_user");
    }
    expect(existsSync(cluster.place.path("never"))).toBe(false);
  });

  test("no such file, no YAML, the wrong service", async () => {
    oneError(await cluster.place.cli(["proxy", "start", "-c", "/nowhere/mcpgate.yaml"]), 2);
    const broken = await start("proxy", "broken.yaml", "version: v1\nproxy_service: {enabled: true\n");
    expect(broken).toMatchObject({ code: 2, stdout: "" });
    expect(broken.stderr).toContain("broken.yaml:");
    oneError(await start("agent", "empty.yaml", "version: v1\n"), 2);
    oneError(await start("proxy", "empty.yaml", "version: v1\n"), 2);
  });

  test("a port in use, and a data directory in use: whoever has it goes on", async () => {
    const proxy = (data_dir: string) => ({
      version: "v1",
      mcpgate: { data_dir: cluster.place.path(data_dir) },
      proxy_service: { enabled: true, listen_addr: cluster.address },
    });
    const port = oneError(await start("proxy", "port.yaml", proxy("second")), 1);
    expect(port.error).toBe(`${cluster.address} is in use by another process`);
    const lock = oneError(await start("proxy", "lock.yaml", proxy(".")), 1);
    expect(lock.error).toContain("proxy");
    const second = oneError(await cluster.place.cli(["agent", "start", "-c", cluster.place.path("agent.yaml")]), 1);
    expect(second.error).toContain("agent");
    expect((await cluster.as("alice", ["client", "status"])).code).toBe(0);
    // and what did not start left nothing that is in the way
    const free = await start("proxy", "port.yaml", proxy("second"));
    expect(free.stderr).toContain("in use by another process");
  });
});

describe("joining", () => {
  const join = async (token: string, o: { pin?: string; address?: string } = {}): Promise<Ended> => {
    const { place, address, pin } = cluster;
    const to = { address: o.address ?? address, pin: o.pin ?? pin, token: place.file("other-token", token) };
    writeAgentConfig(place, to, [], "other.yaml", place.path("other"));
    return place.cli(["agent", "start", "-c", place.path("other.yaml")]);
  };
  const makeToken = async (): Promise<string> =>
    (await cluster.place.ok(["tokens", "add", "--type=app", "--format=text"])).trim();

  test("a wrong token, a removed one, an expired one", async () => {
    const wrong = oneError(await join("0".repeat(32)), 1);
    expect(wrong.error).toBe("the join token is not valid, or was removed");
    expect(wrong.hint).toContain("mcpgate tokens add --type=app");
    expect(oneError(await join("abcd123-insecure-do-not-use-this"), 1)).toEqual(wrong);

    const removed = await makeToken();
    await cluster.place.ok(["tokens", "rm", removed]);
    expect(oneError(await join(removed), 1)).toEqual(wrong);

    const expired = await makeToken();
    using database = new Database(cluster.place.path("proxy/mcpgate.db"));
    database.run("PRAGMA busy_timeout = 5000");
    database.run("UPDATE tokens SET expires_at = ? WHERE expires_at > ?", [Date.now() - 1, Date.now()]);
    expect(oneError(await join(expired), 1).error).toBe("the join token has expired");
    const refused = (await cluster.events("--event=agent.join")).filter(({ success }) => success === false);
    expect(refused.map(({ error }) => error)).toContain("the join token has expired");
    expect(existsSync(cluster.place.path("other/agent/identity.json"))).toBe(false);
  });

  test("a token file that is not there or empty", async () => {
    const { place, address, pin } = cluster;
    writeAgentConfig(place, { address, pin, token: "/nowhere/token" }, [], "no-token.yaml", place.path("other"));
    const { error } = oneError(await place.cli(["agent", "start", "-c", place.path("no-token.yaml")]), 2);
    expect(error).toBe("join token file /nowhere/token: no such file");
    expect(oneError(await join("\n"), 2).error).toContain("is empty");
  });

  test("a wrong pin: the token is not sent, and good afterwards", async () => {
    const token = await makeToken();
    const { error, hint } = oneError(await join(token, { pin: OTHER_PIN }), 1);
    expect(error).toContain(`${cluster.pin}, expected ${OTHER_PIN}`);
    expect(hint).toContain("mcpgate proxy start");
    oneError(await join(token, { pin: "sha256:12" }), 2);
    // the name of this host is taken by the cluster's own agent: past the token, then
    expect(oneError(await join(token), 1).error).toContain("an agent with another key is already called");
  });

  test("no proxy there, and something that is none", async () => {
    const nobody = oneError(await join(await makeToken(), { address: "127.0.0.1:1" }), 1);
    expect(nobody.error).toStartWith("can't reach the proxy 127.0.0.1:1");
    using other = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("hello") });
    const plain = oneError(await join(await makeToken(), { address: `127.0.0.1:${other.port}` }), 1);
    expect(plain.error).not.toContain("undefined");
  });
});

describe("users and logging in", () => {
  const login = (
    flags: Record<string, string>,
    stdin = `${PASSWORD}\n`,
    home = cluster.home("alice"),
  ): Promise<Ended> => {
    const all = { proxy: cluster.address, user: "alice", ...flags };
    const words = Object.entries(all).map(([name, value]) => `--${name}=${value}`);
    return cluster.place.cli(["client", "login", ...words, "--password-stdin"], { home, stdin });
  };
  const file = () => readFileSync(`${cluster.home("alice")}/login.json`, "utf8");

  test("a wrong password, a wrong user, a wrong pin: the earlier login stays good", async () => {
    const before = file();
    const wrong = await login({}, "guess\n");
    expect(wrong).toMatchObject({ code: 1, stdout: "" });
    expect(wrong.stderr).toStartWith("mcpgate: error: wrong user name or password\n");
    expect(await login({ user: "mallory" })).toEqual(wrong);
    expect(oneError(await login({ "ca-pin": OTHER_PIN }), 1).error).toContain(`expected ${OTHER_PIN}`);
    oneError(await login({ "ca-pin": "sha256:xyz" }), 2);
    expect(await login({}, "")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("mcpgate: error: the password is empty\nmcpgate: hint: "),
    });
    oneError(await login({ proxy: "127.0.0.1:1" }), 1);
    oneError(await login({ proxy: "https://x" }), 2);
    expect(file()).toBe(before);
    expect((await cluster.as("alice", ["client", "status"])).code).toBe(0);
  });

  test("a CA of its own without a pin: the hint has the flag", async () => {
    const fresh = cluster.place.path("fresh");
    const { hint } = oneError(await login({}, `${PASSWORD}\n`, fresh), 1);
    expect(hint).toContain(`--ca-pin=${cluster.pin}`);
    expect(existsSync(fresh)).toBe(false);
  });

  test("another name of the proxy than its public one", async () => {
    const port = cluster.address.split(":")[1];
    const { error, hint } = oneError(await login({ proxy: `localhost:${port}`, "ca-pin": cluster.pin }), 2);
    expect(error).toContain(`public address is ${cluster.address}`);
    expect(hint).toContain(`--proxy=${cluster.address}`);
  });

  test("invites: not a URL, a wrong code, a weak password", async () => {
    const accept = (url: string, stdin = `${PASSWORD}\n`) =>
      cluster.place.cli(["client", "accept-invite", url, `--ca-pin=${cluster.pin}`, "--password-stdin"], { stdin });
    oneError(await accept("hello"), 2);
    const wrong = await accept(`https://${cluster.address}/web/invite#${"0".repeat(32)}`);
    expect(wrong).toMatchObject({ code: 1, stdout: "" });
    const added = JSON.parse(await cluster.place.ok(["users", "add", "weak", "--roles=mcp-user", "--format=json"]));
    const weak = await accept(added.invite_url, "123\n");
    expect(weak).toMatchObject({ code: 1, stdout: "" });
    expect((await accept(added.invite_url)).code).toBe(0);
  });

  test("not logged in", async () => {
    const home = cluster.place.path("stranger");
    for (const args of [
      ["client", "ls"],
      ["client", "config", "demo"],
      ["client", "status"],
      ["client", "logout"],
    ]) {
      const { error, hint } = oneError(await cluster.place.cli(args, { home }), 1);
      expect(error).toBe("not logged in");
      expect(hint).toBe("mcpgate client login --proxy=HOST:PORT --user=NAME");
    }
    expect(existsSync(home)).toBe(false);
  });

  test("a login file that others may read is refused, with the command that helps", async () => {
    const { place } = cluster;
    const home = place.path("open");
    await cluster.login("alice", home);
    expect(statSync(`${home}/login.json`).mode & 0o777).toBe(0o600);
    await Bun.$`chmod 644 ${home}/login.json`;
    const { error, hint } = oneError(await place.cli(["client", "ls"], { home }), 1);
    expect(error).toContain("login.json");
    expect(hint).toContain("chmod 600");
    await Bun.$`sh -c ${hint.replace(/^.*?(chmod )/, "$1")}`;
    expect((await place.cli(["client", "ls"], { home })).code).toBe(0);
  });
});

describe("names that nobody has", () => {
  test.each([
    [["users", "update", "ghost", "--set-roles=mcp-user"], "ghost"],
    [["users", "rm", "ghost"], "user"],
    [["users", "invite", "ghost"], "user"],
    [["users", "add", "x", "--roles=no-such-role"], "no-such-role"],
    [["agents", "rm", "ghost"], "no such agent"],
    [["sessions", "kill", "ghost"], "no such live session"],
    [["tokens", "rm", "ghost"], "no such token"],
    [["get", "role/ghost"], "ghost"],
    [["rm", "role/ghost"], "ghost"],
  ])("%j", async (args, part) => {
    const { error } = oneError(await cluster.place.cli(args), 1);
    expect(error).toContain(part);
  });

  test("none of it is there afterwards", async () => {
    const users = JSON.parse(await cluster.place.ok(["users", "ls", "--format=json"]));
    expect(users.map(({ name }: { name: string }) => name)).not.toContain("x");
  });

  test("an app that does not exist reads as one that is out of reach", async () => {
    const nowhere = {
      kind: "role",
      version: "v8",
      metadata: { name: "elsewhere" },
      spec: { allow: { app_labels: { env: "elsewhere" }, mcp: { tools: ["*"] } } },
    };
    await cluster.place.ok(["create", "-f", cluster.place.file("elsewhere.yaml", nowhere)]);
    await cluster.addUser("dave", ["elsewhere"]);
    const text = async (app: string): Promise<string> => {
      const { error } = oneError(await cluster.as("dave", ["client", "config", app]), 1);
      await using client = new RawClient(cluster, "dave", app);
      const { error: inBand } = await client.initialize();
      return `${error}\n${JSON.stringify(inBand)}`.replaceAll(app, "APP");
    };
    const out = await text("demo");
    expect(out).toContain("mcpgate client ls");
    expect(await text("nothing")).toBe(out);
  });
});

test("a role that is wrong: its place, and nothing made of it", async () => {
  const { place } = cluster;
  const create = (name: string, document: object | string) => place.cli(["create", "-f", place.file(name, document)]);
  const key = await create("r1.yaml", { ...role("r1", ["*"]), spec: { alow: {} } });
  expect(key).toMatchObject({ stdout: "" });
  expect(key.code).toBeGreaterThan(0);
  expect(key.stderr).toMatch(/^mcpgate: error: .*r1.yaml:\d+.*alow.*\n/);
  expect(key.stderr).toMatch(/did you mean:? allow/);
  oneError(await create("r2.yaml", { ...role("r2", ["*"]), kind: "rôle" }), 2);
  const pattern = await create("r3.yaml", role("r3", ["^(unclosed$"]));
  expect(pattern).toMatchObject({ stdout: "" });
  expect(pattern.stderr).toContain("^(unclosed$");
  const kept: string = await place.ok(["get", "role"]);
  for (const name of ["r1", "r2", "r3"]) expect(kept).not.toContain(`name: ${name}`);
});

test("the same proxy after all of this", async () => {
  expect((await cluster.as("alice", ["client", "ls"])).stdout).toContain("demo");
  await cluster.restartProxy();
  expect((await cluster.as("alice", ["client", "status"])).code).toBe(0);
});
