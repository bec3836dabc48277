/** `mcpgate doctor` where everything is right, and where each thing in turn is broken for real: it says so, and how to mend it. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync } from "node:fs";
import { hostname } from "node:os";
import { Cluster, type Place, SELF, SLOWEST_MS } from "./harness.ts";

interface Finding {
  part: string;
  check: string;
  state: string;
  message: string;
  fix?: string;
}

let cluster: Cluster;
let place: Place;
beforeAll(async () => {
  cluster = await Cluster.start({ apps: ["demo"], users: { alice: ["mcp-user"] } });
  ({ place } = cluster);
}, 2 * SLOWEST_MS);
afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

const agentFile = () => place.path("agent.yaml");

/** Its findings; a host's own disk may be nearly full, which is not what these tests are about. */
async function doctor(args: string[] = [], o: Parameters<Place["cli"]>[1] = {}): Promise<Finding[]> {
  const { code, stdout, stderr } = await place.cli(["doctor", "--format=json", ...args], o);
  expect(stderr).toBe("");
  const findings: Finding[] = JSON.parse(stdout);
  expect(code).toBe(findings.some(({ state }) => state === "fail") ? 1 : 0);
  for (const { state, fix } of findings) if (state === "fail" || state === "warn") expect(fix ?? "").not.toBe("");
  return findings.filter(({ check }) => check !== "disk" && check !== "inodes" && check !== "systemd");
}
const asAlice = (args: string[] = [], env: Record<string, string> = {}) =>
  doctor(["-c", place.file("none.yaml", ""), ...args], { home: cluster.home("alice"), env });
const wrong = (findings: Finding[]): string[] =>
  findings
    .filter(({ state }) => state !== "ok")
    .map(({ part, check, state, message }) => `${state} ${part} ${check}: ${message}`);
const fixes = (findings: Finding[]): string[] => findings.flatMap(({ fix }) => fix ?? []);

test("nothing is wrong on any of the three hosts", async () => {
  const [proxy, agent, client] = await Promise.all([doctor(), doctor(["-c", agentFile()]), asAlice()]);
  expect([wrong(proxy), wrong(agent), wrong(client)]).toEqual([[], [], []]);
  const checks = (findings: Finding[], part: string) =>
    findings
      .filter((each) => each.part === part)
      .map(({ check }) => check)
      .sort();
  const way = ["certificate", "clock", "connection", "name", "version", "websocket"];
  expect(checks(proxy, "proxy")).toEqual([...way, "admin socket", "permissions", "pin"].sort());
  expect(checks(agent, "agent")).toEqual([...way, "apps", "identity", "permissions", "process", "spool"].sort());
  expect(checks(client, "client")).toEqual([...way, "login", "permissions"].sort());
  const text = await place.ok(["doctor"]);
  expect(text).toMatch(new RegExp(`^  ok    pin +the CA's pin is ${cluster.pin}$`, "m"));
  expect(text).not.toContain("FAIL");
});

test("files that others may read, with the command that closes them", async () => {
  const login = `${cluster.home("alice")}/login.json`;
  const identity = place.path("agent", "identity.json");
  for (const [file, look] of [
    [login, asAlice],
    [identity, () => doctor(["-c", agentFile()])],
  ] as const) {
    chmodSync(file, 0o644);
    const findings = await look();
    expect(wrong(findings)).toContainEqual(
      expect.stringMatching(/^fail \w+ permissions: other users may read .*\.json$/),
    );
    const mend = fixes(findings).find((fix) => fix.startsWith("chmod 600 ")) ?? "false";
    expect(Bun.spawnSync(["sh", "-c", mend]).exitCode).toBe(0);
    expect(wrong(await look())).toEqual([]);
  }
});

test("a login that has expired, and one that the proxy does not know", async () => {
  const db = new Database(place.path("proxy", "mcpgate.db"));
  const expire = (at: number) => db.run("update logins set expires_at = ?", [at]);
  expire(Date.now() + 60_000);
  expect(wrong(await asAlice())).toEqual([
    expect.stringMatching(/^warn client login: alice with the roles mcp-user, .*: soon over$/),
  ]);
  expire(Date.now() - 1000);
  const expired = await asAlice();
  expect(wrong(expired)).toEqual([expect.stringMatching(/^fail client login: .*expired/)]);
  expect(fixes(expired)).toEqual([`mcpgate client login --proxy=${cluster.address} --user=alice`]);
  db.run("delete from logins");
  db.close();
  expect(wrong(await asAlice())).toEqual([expect.stringContaining("fail client login: ")]);
  await cluster.login("alice");
  expect(wrong(await asAlice())).toEqual([]);
});

test("an HTTP proxy that lets nothing through; what it takes to use it is not told", async () => {
  const asked: string[] = [];
  const refusing = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data(socket, chunk) {
        asked.push(chunk.toString("latin1").split("\r\n")[0] ?? "");
        socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
      },
    },
  });
  const HTTPS_PROXY = `http://bob:hunter22@127.0.0.1:${refusing.port}`;
  const findings = await asAlice([], { HTTPS_PROXY });
  expect(asked).toContain(`CONNECT ${cluster.address} HTTP/1.1`);
  expect(findings).toContainEqual({
    ...{ part: "client", check: "http proxy", state: "ok" },
    message: `the way goes through 127.0.0.1:${refusing.port} (HTTPS_PROXY)`,
  });
  expect(wrong(findings)[0]).toMatch(/^fail client (connection|certificate): /);
  expect(JSON.stringify(findings)).not.toContain("hunter22");
  refusing.stop(true);
});

test("a configuration that is broken, apps that are not there, an agent that has not joined", async () => {
  const broken = await doctor(["-c", place.file("broken.yaml", "app_service: [\n")], { home: cluster.home("alice") });
  expect(wrong(broken)).toEqual([expect.stringMatching(/^fail host configuration: .*broken\.yaml:\d+:\d+: /)]);
  expect(broken.filter(({ part }) => part === "client").length).toBeGreaterThan(5);

  const app = (name: string, command: string, user = SELF) => ({ name, mcp: { command, run_as_host_user: user } });
  const config = (more: object) => ({
    mcpgate: { data_dir: place.path("other"), proxy_server: cluster.address, ...more },
    app_service: {
      enabled: true,
      apps: [
        app("gone", "/opt/nowhere/server"),
        app("bare", "no-such-command-here"),
        app("nobodys", "true", "no-such-user"),
      ],
      allow_host_users: ["nor-such-a-user"],
    },
  });
  const pin = `sha256:${"0".repeat(64)}`;
  const join_params = { method: "token", token_name: place.path("no-token") };
  const unpinned = await doctor(["-c", place.file("other.yaml", config({ join_params, ca_pin: pin }))]);
  const told = wrong(unpinned);
  expect(told).toContainEqual(
    expect.stringMatching(/^fail agent identity: this agent has not joined: join token file .*: no such file$/),
  );
  expect(told).toContainEqual(
    expect.stringContaining(`has the pin ${cluster.pin}, and ${pin} is what is trusted here`),
  );
  expect(told).toContainEqual("skip agent websocket: not tried, as the certificate is not right");
  expect(told).toContainEqual(
    expect.stringContaining("fail agent apps: gone: its command /opt/nowhere/server is not in its place"),
  );
  expect(told).toContainEqual(
    expect.stringContaining("fail agent apps: bare: its command no-such-command-here is not in "),
  );
  expect(told).toContainEqual(expect.stringContaining("fail agent apps: nobodys: "));
  expect(told).toContainEqual(
    expect.stringMatching(/^warn agent apps: app_service\.allow_host_users: host user "nor-such-a-user" doesn't exist/),
  );
  expect(told).toContainEqual(expect.stringContaining("fail agent process: no agent runs with this data directory"));
  expect(fixes(unpinned)).toContainEqual(expect.stringContaining("sudo mcpgate agent check gone"));

  const nothing = await place.cli(["doctor", "-c", place.file("none.yaml", "")], { home: place.path("nobody") });
  expect([nothing.code, nothing.stdout]).toEqual([
    0,
    expect.stringContaining("nothing of mcpgate (0.1.0) is set up here"),
  ]);
});

test("an app that the proxy does not take from this agent, and one whose server fails", async () => {
  const token_name = place.file("second-token", await place.ok(["tokens", "add", "--type=app", "--format=text"]));
  const server = (command: string) => ({ command, run_as_host_user: SELF });
  const config = place.file("second.yaml", {
    mcpgate: {
      ...{ data_dir: place.path("second"), nodename: "second", diag_addr: "off", proxy_server: cluster.address },
      ...{ ca_pin: cluster.pin, join_params: { method: "token", token_name } },
    },
    app_service: {
      apps: [
        { name: "demo", mcp: server("true") },
        { name: "fails", mcp: server("false") },
      ],
    },
  });
  const second = place.start(["agent", "start", "-c", config]);
  expect(await second.ready).toMatch(/ready and offers fails$/);
  const hello = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "test", version: "1" } };
  const stdin = `${JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params: hello })}\n`;
  expect((await cluster.as("alice", ["client", "connect", "fails"], { stdin })).stdout).toContain('"error"');
  const told = wrong(await doctor(["-c", config])).join("\n");
  expect(told).toMatch(/^warn agent apps: fails failed when it was last started: ./m);
  const why = `it belongs to the agent ${hostname()}; `;
  expect(told).toContain(`fail agent apps: the proxy does not take demo: ${why}`);
  expect(await place.ok(["agent", "status", "-c", config])).toMatch(new RegExp(`^demo +0 +0 +refused +${why}`, "m"));
  expect(await second.stop()).toBe(0);
  await place.ok(["agents", "rm", "second"]);
});

test("an agent that was removed", async () => {
  await place.ok(["agents", "rm", hostname()]);
  const findings = await doctor(["-c", agentFile()]);
  expect(wrong(findings)).toContainEqual(
    "fail agent identity: this agent is not known here: it was removed, or belongs to another proxy",
  );
  expect(fixes(findings)).toContainEqual(expect.stringContaining("identity.json"));
});

test(
  "a proxy that is down: seen from all three, and nothing hangs",
  async () => {
    await cluster.proxy.stop();
    const began = performance.now();
    const [proxy, agent, client] = await Promise.all([doctor(), doctor(["-c", agentFile()]), asAlice()]);
    expect(performance.now() - began).toBeLessThan(SLOWEST_MS);
    const refused = `no connection to ${cluster.address}: ECONNREFUSED`;
    expect(wrong(proxy)).toContainEqual(expect.stringContaining("fail proxy admin socket: no proxy runs here"));
    expect(wrong(proxy)).toContainEqual(`fail proxy connection: ${refused}`);
    expect(wrong(agent)).toContainEqual(`fail agent connection: ${refused}`);
    expect(wrong(agent)).toContainEqual("skip agent identity: not asked, as the proxy can't be reached");
    expect(wrong(client)).toContainEqual(`fail client connection: ${refused}`);
    expect(wrong(client)).toContainEqual("skip client login: not asked, as the proxy can't be reached");
  },
  2 * SLOWEST_MS,
);
