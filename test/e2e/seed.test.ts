/** The seed, step by step: configure the agent, configure the user, connect; with the seed's own documents. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, existsSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { parse } from "yaml";
import type { AuditEvent } from "../../src/event.ts";
import { FIXTURES, isRoot, NODE, OTHER, PASSWORD, PATH, Place, SELF, SLOWEST_MS, startProxy } from "./harness.ts";
import { textOf } from "./mcp.ts";
import { eventually, runCommand, type Service } from "./processes.ts";

const seed = (name: string): string => readFileSync(join(FIXTURES, "seed", name), "utf8");
const hostUser = isRoot ? OTHER.name : SELF;

setDefaultTimeout(SLOWEST_MS);

let place: Place;
let proxy: { proxy: Service; address: string; pin: string };
let agent: Service | undefined;

/** The seed's document, with this test's hosts, paths and users in the place of its own. */
function agentConfig(document: string): string {
  return document
    .replace('"/tmp/token"', place.path("token"))
    .replace("teleport.example.com:443", proxy.address)
    .replace("  proxy_server:", `  data_dir: ${place.dir}\n  ca_pin: ${proxy.pin}\n  proxy_server:`)
    .replace(
      /( *)run_as_host_user: "docker"/,
      `$1run_as_host_user: ${hostUser}\n$1env: {PATH: "${place.path("bin")}"}`,
    );
}

beforeAll(async () => {
  place = await Place.open();
  proxy = await startProxy(place);
  place.folder("bin", 0o755);
  // `docker run -i --rm mcp/everything`, as far as anybody can tell from outside
  place.file(
    "bin/docker",
    `#!/bin/sh\nMCPGATE_TEST=${place.dir} exec ${NODE} ${place.path("bin/echo.mjs")} "$@"\n`,
    0o755,
  );
  place.file("bin/echo.mjs", readFileSync(join(FIXTURES, "servers/echo.mjs"), "utf8"), 0o644);
});

afterAll(async () => {
  await agent?.stop();
  await proxy.proxy.stop();
  expect(await place.close()).toEqual([]);
});

describe("step 0: the proxy's version", () => {
  test("by the seed's own curl and jq", async () => {
    const [curl, jq] = [Bun.which("curl"), Bun.which("jq")];
    const fetched = await fetch(`https://${proxy.address}/v1/webapi/ca`, { tls: { rejectUnauthorized: false } });
    const { ca_pem } = (await fetched.json()) as { ca_pem: string };
    const ca = place.file("ca.pem", ca_pem);
    const { version } = JSON.parse(await place.ok(["version", "--format=json"]));
    const find = { cluster_name: "127.0.0.1", proxy: { public_addr: proxy.address }, server_version: version };
    const url = `https://${proxy.address}/v1/webapi/find`;
    expect(await (await fetch(url, { tls: { ca: ca_pem } })).json()).toMatchObject(find);
    if (curl === null || jq === null) return;
    const script = `curl -s --cacert ${ca} https://$DOMAIN/v1/webapi/find | jq -r '.server_version'`;
    const ran = await runCommand(["sh", "-c", script], { env: { PATH, DOMAIN: proxy.address, NO_PROXY: "*" } });
    expect(ran).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  });
});

describe("step 1: the agent", () => {
  test("a join token in text is the token and a newline; without a format it comes with what to run", async () => {
    const text = await place.ok(["tokens", "add", "--type=app", "--format=text"]);
    expect(text).toMatch(/^[\w-]{22,}\n$/);
    const told = await place.ok(["tokens", "add", "--type=app", "--ttl=1h"]);
    const [, token = ""] = /^The join token: (\S+)$/m.exec(told) ?? [];
    expect(token).toMatch(/^[\w-]{22,}$/);
    expect(told).toContain("expires in 1 hour");
    for (const part of ["mcpgate agent start", `--proxy=${proxy.address}`, `--ca-pin=${proxy.pin}`, token]) {
      expect(told).toContain(part);
    }
    const listed: { id: string }[] = JSON.parse(await place.ok(["tokens", "ls", "--format=json"]));
    expect(listed).toHaveLength(2);
    for (const { id } of listed) {
      expect(told).not.toContain(id);
      await place.ok(["tokens", "rm", id]);
    }
    expect(JSON.parse(await place.ok(["tokens", "ls", "--format=json"]))).toEqual([]);
    place.file("token", await place.ok(["tokens", "add", "--type=app", "--format=text"]));
  });

  test("the seed's document joins it, and needs the token once", async () => {
    const config = place.file("agent.yaml", agentConfig(seed("agent.yaml")));
    agent = place.start(["agent", "start", "-c", config]);
    expect(await agent.ready).toMatch(/ready and offers everything$/);
    const [joined] = JSON.parse(await place.ok(["agents", "ls", "--format=json"]));
    expect(joined).toMatchObject({ online: true, apps: ["everything"] });

    const before = Date.now();
    expect(await agent.stop()).toBe(0);
    await eventually(async () => {
      const [away] = JSON.parse(await place.ok(["agents", "ls", "--format=json"]));
      return away.online === false && Date.parse(away.last_seen_at) >= before;
    });
    rmSync(place.path("token"));
    agent = place.start(["agent", "start", "-c", config]);
    expect(await agent.ready).toContain("everything");
    const [rejoined] = JSON.parse(await place.ok(["agents", "ls", "--format=json"]));
    expect(rejoined).toMatchObject({ id: joined.id, joined_at: joined.joined_at, online: true });
  });

  test("the seed's other document, of a service that exists, loads too", async () => {
    const config = place.file("existing.yaml", seed("app-service.yaml"), 0o644);
    const { code, stderr } = await place.cli(["agent", "start", "-c", config], {
      env: { XDG_STATE_HOME: place.folderOf(OTHER, "state") },
      user: OTHER,
    });
    // It has no proxy to join: that is all that is wrong with it.
    expect(stderr).toContain("mcpgate.proxy_server is missing");
    expect(code).toBe(2);
  });
});

describe("step 2: the user", () => {
  test("the preset role is the seed's document", async () => {
    const file = place.file("role.yaml", seed("role.yaml"));
    const refused = await place.cli(["create", "-f", file]);
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toContain(`mcpgate: hint: mcpgate create -f ${file} --force\n`);
    const { spec } = parse(seed("role.yaml"));
    expect(JSON.parse(await place.ok(["get", "role/mcp-user", "--format=json"]))).toMatchObject({ spec });
    expect(await place.ok(["create", "-f", file, "--force"])).toBe('role "mcp-user" has been updated\n');
    expect(JSON.parse(await place.ok(["get", "role/mcp-user", "--format=json"]))).toMatchObject({
      kind: "role",
      spec,
    });
  });

  test("is added with an invite, which sets the password once", async () => {
    const added = await place.ok(["users", "add", "my_user", "--roles=mcp-user"]);
    expect(added).toContain('User "my_user" has been created');
    const [url = ""] = /https:\/\/\S+#[\w-]+$/m.exec(added) ?? [];
    expect(url).toStartWith(`https://${proxy.address}/web/invite#`);
    expect(added).toContain(`mcpgate client accept-invite '${url}' --ca-pin=${proxy.pin}`);

    const home = place.path("my_user");
    const accept = ["client", "accept-invite", url, `--ca-pin=${proxy.pin}`, "--password-stdin"];
    const set = await place.ok(accept, { home, stdin: `${PASSWORD}\n` });
    expect(set).toContain(`mcpgate client login --proxy=${proxy.address} --user=my_user --ca-pin=${proxy.pin}`);
    expect(await place.cli(accept, { home, stdin: "another one\n" })).toMatchObject({ code: 1, stdout: "" });
    const users = JSON.parse(await place.ok(["users", "ls", "--format=json"]));
    expect(users).toMatchObject([{ name: "my_user", roles: ["mcp-user"], status: "active" }]);
  });
});

describe("step 3: connect", () => {
  const home = () => place.path("my_user");

  test("login with the CA pin", async () => {
    const flags = [`--proxy=${proxy.address}`, "--user=my_user", `--ca-pin=${proxy.pin}`, "--password-stdin"];
    const said = await place.ok(["client", "login", ...flags], { home: home(), stdin: `${PASSWORD}\n` });
    expect(said).toStartWith("Logged in as my_user until ");
    const status = JSON.parse(await place.ok(["client", "status", "--format=json"], { home: home() }));
    expect(status).toMatchObject({ logged_in: true, user: "my_user", roles: ["mcp-user"], proxy: proxy.address });
    expect(Date.parse(status.expires_at) - Date.now()).toBeWithin(11.9 * 3600_000, 12.1 * 3600_000);
  });

  test("the second time this machine knows the CA", async () => {
    const flags = [`--proxy=${proxy.address}`, "--user=my_user", "--password-stdin"];
    await place.ok(["client", "login", ...flags], { home: home(), stdin: `${PASSWORD}\n` });
  });

  test("ls", async () => {
    const { stdout, stderr, code } = await place.cli(["client", "ls"], { home: home() });
    expect(stdout.split("\n")).toEqual([
      "Name       Description Type  Allowed Tools Labels",
      "---------- ----------- ----- ------------- -------",
      "everything             stdio [*]           env=dev",
      "",
    ]);
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    const [app] = JSON.parse(await place.ok(["client", "ls", "--format=json"], { home: home() }));
    expect(app).toMatchObject({ name: "everything", type: "stdio", labels: { env: "dev" }, allowed_tools: ["*"] });
    expect(await place.ok(["client", "ls", "--format=yaml"], { home: home() })).toContain("- name: everything\n");
  });

  test("ls warns where no tool is allowed", async () => {
    const none = { allow: { app_labels: { "*": "*" } } };
    const file = place.file("none.yaml", { kind: "role", version: "v8", metadata: { name: "none" }, spec: none });
    await place.ok(["create", "-f", file]);
    await place.ok(["users", "update", "my_user", "--set-roles=none"]);
    const shown = await place.ok(["client", "ls"], { home: home() });
    expect(shown).toContain("everything             stdio (none) [!]    env=dev");
    expect(shown).toContain("[!] Warning: you do not have access to any tools");
    await place.ok(["users", "update", "my_user", "--set-roles=mcp-user"]);
  });

  test("config prints what the MCP client needs, and that works as it stands", async () => {
    const printed = await place.ok(["client", "config", "everything"], { home: home() });
    expect(printed).toStartWith("Found MCP servers:\neverything\n\nHere is a sample JSON configuration for launching");
    expect(printed).toContain("Tip: You can use this command to update your MCP servers configuration file");
    const { mcpServers } = JSON.parse(printed.slice(printed.indexOf("{"), printed.indexOf("\n}\n") + 2));
    const entry = mcpServers["mcpgate-everything"];
    expect(Object.keys(mcpServers)).toEqual(["mcpgate-everything"]);
    expect(entry).toEqual({
      command: place.bin,
      args: ["client", "connect", "everything"],
      env: { MCPGATE_HOME: home() },
    });

    const client = new Client({ name: "e2e", version: "1" });
    await client.connect(new StdioClientTransport({ ...entry, stderr: "ignore" }));
    await using _ = { [Symbol.asyncDispose]: () => client.close() };
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name)).toEqual(["read_thing", "write_thing", "echo"]);
    const given = { name: "echo", arguments: { message: "hello" } };
    expect(JSON.parse(textOf(await client.callTool(given)))).toEqual(given);
  });

  test("config has no env where the state is in its usual place", async () => {
    const usual = place.folder("usual");
    const flags = [`--proxy=${proxy.address}`, "--user=my_user", `--ca-pin=${proxy.pin}`, "--password-stdin"];
    const options = { env: { HOME: usual, MCPGATE_HOME: "" } };
    await place.ok(["client", "login", ...flags], { ...options, stdin: `${PASSWORD}\n` });
    expect(existsSync(join(usual, ".mcpgate/login.json"))).toBe(true);
    const printed = await place.ok(["client", "config", "everything"], options);
    expect(printed).toContain('"args": ["client", "connect", "everything"]');
    expect(printed).not.toContain('"env"');
    await place.ok(["client", "logout"], options);
    expect(existsSync(join(usual, ".mcpgate/login.json"))).toBe(false);
  });

  test("config merges into a file and keeps everything else", async () => {
    const before = `{
  // mine
  "theme": "dark",
  "big": 12345678901234567890,
  "mcpServers": {
    "other": { "command": "other", "args": [] }
  }
}
`;
    const file = place.file("claude.json", before);
    chmodSync(file, 0o640);
    await place.ok(["client", "config", "everything", `--client-config=${file}`], { home: home() });
    const after = readFileSync(file, "utf8");
    for (const part of ["// mine", '"theme": "dark"', "12345678901234567890", '"other": { "command": "other"']) {
      expect(after).toContain(part);
    }
    expect(after).toContain('"mcpgate-everything"');
    expect(statSync(file).mode & 0o777).toBe(0o640);
    const again = await place.ok(["client", "config", "everything", `--client-config=${file}`], { home: home() });
    expect(again).toContain("up to date");
    expect(readFileSync(file, "utf8")).toBe(after);
    // claude and cursor by their names
    const user = place.folder("desktop");
    for (const [name, path] of [
      ["claude", ".config/Claude/claude_desktop_config.json"],
      ["cursor", ".cursor/mcp.json"],
    ] as const) {
      if (name === "claude" && process.platform !== "linux") continue;
      const flags = ["client", "config", "everything", `--client-config=${name}`];
      await place.ok(flags, { home: home(), env: { HOME: user } });
      const { mcpServers } = JSON.parse(readFileSync(join(user, path), "utf8"));
      expect(mcpServers["mcpgate-everything"].command).toBe(place.bin);
    }
  });

  test("and every step is in the audit log", async () => {
    const events: AuditEvent[] = JSON.parse(await place.ok(["audit", "ls", "--format=json"]));
    const names = new Set(events.map(({ event }) => event));
    for (const name of ["token.create", "agent.join", "user.create", "user.invite.accept", "user.login"] as const) {
      expect(names).toContain(name);
    }
    expect(events.filter(({ event }) => event === "agent.join")).toHaveLength(1);
  });
});
