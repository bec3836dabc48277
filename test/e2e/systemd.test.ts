/** The units as `mcpgate install systemd` writes them, under a systemd: started, watched, reloaded, restarted, stopped. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { PASSWORD } from "./harness.ts";
import { eventually } from "./processes.ts";
import { SystemdHost } from "./systemd-host.ts";

setDefaultTimeout(30_000);

const booted = await SystemdHost.boot();
if (typeof booted === "string") console.warn(`no systemd to test with: ${booted}`);

describe.skipIf(typeof booted === "string")("under systemd", () => {
  const host = booted as SystemdHost;
  const mcpgate = (...args: string[]) => ["/opt/mcpgate", ...args];
  const status = (pid: number, field: string): string =>
    new RegExp(`^${field}:\\s*(.*)$`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "";

  afterAll(async () => {
    expect(await host.stop()).toEqual([]);
  });

  test("a proxy: of an account of its own, without any capability, and the host's root is its admin", async () => {
    await host.ok(mcpgate("proxy", "configure", "--public-addr=127.0.0.1:3443", "-o", "/opt/proxy.yaml"));
    // In a terminal first, as root: then its data is root's, until systemd gives it to the service's account.
    const started = "until [ -s /opt/started ]; do sleep 0.05; done; kill -INT $!; wait $!";
    await host.ok(["bash", "-c", `/opt/mcpgate proxy start --config=/opt/proxy.yaml >/opt/started & ${started}`]);
    const unit = "/opt/units/mcpgate-proxy.service";
    await host.ok(mcpgate("install", "systemd", "--config=/opt/proxy.yaml", "-o", unit));
    host.dropIn("mcpgate-proxy", "WatchdogSec=1\n");
    await host.ok(["systemctl", "daemon-reload"]);
    await host.ok(["systemctl", "start", "mcpgate-proxy"]);
    expect(await host.show("mcpgate-proxy")).toMatchObject({
      ActiveState: "active",
      SubState: "running",
      StatusText: "ready at 127.0.0.1:3443",
    });
    const [{ pid } = { pid: 0 }, ...others] = host.processes("mcpgate-proxy");
    expect(others).toEqual([]);
    expect(status(pid, "Uid").split("\t")[0]).not.toBe("0");
    expect([status(pid, "CapEff"), status(pid, "CapBnd")]).toEqual(["0".repeat(16), "0".repeat(16)]);
    expect(status(pid, "NoNewPrivs")).toBe("1");
    expect(await host.ok(mcpgate("users", "ls", "--config=/opt/proxy.yaml"))).toStartWith("User ");
    const { stdout } = await host.run(mcpgate("doctor", "--config=/opt/proxy.yaml", "--format=json"));
    const found: { check: string; state: string }[] = JSON.parse(stdout);
    expect(found.filter(({ check, state }) => check === "permissions" && state !== "ok")).toEqual([]);
  });

  test("an agent joins with the token that only systemd can read any more, and runs a server as another user", async () => {
    const config = "--config=/opt/proxy.yaml";
    const pin = /sha256:[0-9a-f]{64}/.exec(readFileSync(host.place.path("mcpgate-proxy.log"), "utf8"))?.[0];
    host.place.file("token", await host.ok(mcpgate("tokens", "add", "--type=app", "--format=text", config)));
    const joining = ["--proxy=127.0.0.1:3443", "--token=/opt/token", `--ca-pin=${pin}`];
    await host.ok(mcpgate("agent", "configure", ...joining, "-o", "/opt/agent.yaml"));
    await host.ok(mcpgate("install", "systemd", "--config=/opt/agent.yaml", "-o", "/opt/units/mcpgate.service"));
    // As if it lay where the service itself can't look.
    host.dropIn("mcpgate", "WatchdogSec=1\nRestartSec=100ms\nInaccessiblePaths=/opt/token\n");
    await host.ok(["systemctl", "daemon-reload"]);
    await host.ok(["systemctl", "start", "mcpgate"]);
    expect(await host.show("mcpgate")).toMatchObject({ ActiveState: "active", StatusText: "offers demo" });

    const added = JSON.parse(
      await host.ok(mcpgate("users", "add", "alice", "--roles=mcp-user", "--format=json", config)),
    );
    const password = ["--password-stdin", `--ca-pin=${pin}`];
    await host.ok(mcpgate("client", "accept-invite", added.invite_url, ...password), `${PASSWORD}\n`);
    await host.ok(mcpgate("client", "login", "--proxy=127.0.0.1:3443", "--user=alice", ...password), `${PASSWORD}\n`);
    const hello = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "test", version: "1" } };
    const lines = [
      { jsonrpc: "2.0", id: 1, method: "initialize", params: hello },
      { jsonrpc: "2.0", method: "notifications/initialized" },
      { jsonrpc: "2.0", id: 2, method: "tools/call", params: { name: "read_host_info", arguments: {} } },
    ];
    // Standard input stays open until the answer is there.
    const talk = [
      "coproc client { exec /opt/mcpgate client connect demo; }",
      "cat >&$" + "{client[1]}",
      "while read -r line <&$" + "{client[0]}; do [[ $line == *'\"id\":2'* ]] && break; done",
      'echo "$line"',
    ];
    const answer = await host.ok(
      ["bash", "-c", talk.join("\n")],
      lines.map((line) => `${JSON.stringify(line)}\n`).join(""),
    );
    expect(JSON.parse(JSON.parse(answer).result.content[0].text)).toMatchObject({ host_user: "nobody" });
  });

  test("it starts again when the file with the token is gone", async () => {
    await host.ok(["rm", "/opt/token"]);
    host.dropIn("mcpgate", "WatchdogSec=1\nRestartSec=100ms\n");
    await host.ok(["systemctl", "daemon-reload"]);
    await host.ok(["systemctl", "restart", "mcpgate"]);
    expect(await host.show("mcpgate")).toMatchObject({ ActiveState: "active", StatusText: "offers demo" });
  });

  test("systemctl reload, and a file that is broken", async () => {
    const good = readFileSync(host.place.path("agent.yaml"), "utf8");
    host.place.file("agent.yaml", good.replace("name: demo", "name: other"));
    await host.ok(["systemctl", "reload", "mcpgate"]);
    await eventually(async () => (await host.show("mcpgate")).StatusText === "offers other");
    host.place.file("agent.yaml", `${good}nonsense: 1\n`);
    await host.ok(["systemctl", "reload", "mcpgate"]);
    await eventually(async () => /nonsense: unknown key/.test((await host.show("mcpgate")).StatusText ?? ""));
    expect(await host.show("mcpgate")).toMatchObject({ ActiveState: "active" });
    host.place.file("agent.yaml", good);
  });

  test("an agent that hangs is ended and started again, and so is its guard", async () => {
    const [guard, worker] = host.processes("mcpgate");
    if (worker === undefined) throw new Error(`no agent runs${host.logs()}`);
    process.kill(worker.pid, "SIGSTOP");
    await eventually(async () => (await host.show("mcpgate")).NRestarts === "1", { every: 100 });
    await eventually(async () => (await host.show("mcpgate")).StatusText === "offers demo");
    const pids = host.processes("mcpgate").map(({ pid }) => pid);
    expect(pids.length).toBe(2);
    expect(pids).not.toContain(guard?.pid);
    expect(pids).not.toContain(worker.pid);
  });

  test("a wrong configuration is not tried again and again", async () => {
    host.place.file("agent.yaml", "nonsense: 1\n");
    expect((await host.run(["systemctl", "restart", "mcpgate"])).code).not.toBe(0);
    expect(await host.show("mcpgate")).toMatchObject({ ActiveState: "failed", ExecMainStatus: "2" });
  });

  test("systemctl stop is a clean end", async () => {
    await host.ok(["systemctl", "stop", "mcpgate-proxy"]);
    expect(await host.show("mcpgate-proxy")).toMatchObject({ ActiveState: "inactive", Result: "success" });
    expect(host.processes("mcpgate-proxy")).toEqual([]);
  });
});
