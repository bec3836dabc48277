/**
 * `mcpgate demo`: the main job on one machine, for real. Every step is a command of this program, run as a person would
 * run it, in a directory that is removed at the end.
 */
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { stringify } from "yaml";
import { hostAccounts, loadHostUserById } from "../agent/host-user.ts";
import { Failure } from "../errors.ts";
import type { AuditEvent } from "../event.ts";
import { type DemoProcesses, demoProcesses } from "./processes.ts";

export interface DemoOptions {
  /** End after the tour. */
  once: boolean;
  print(line: string): Promise<void>;
  /** The words that start this program. */
  self: string[];
  env: Record<string, string | undefined>;
  /** Resolves at Ctrl-C. */
  stopped: Promise<void>;
}

const ROLE = {
  kind: "role",
  version: "v8",
  metadata: { name: "mcp-reader", description: "Tools that only read" },
  spec: { allow: { app_labels: { "*": "*" }, mcp: { tools: ["read_*", "get-*", "echo"] } } },
};

/** Exit code 0 when every step did what it shows. */
export async function runDemo(options: DemoOptions): Promise<number> {
  const dir = mkdtempSync(join(tmpdir(), "mcpgate-demo-"));
  const processes = demoProcesses(options.self, environment(options.env, dir));
  const tour = new Tour(dir, processes, options);
  try {
    const finished = await Promise.race([tour.run().then(() => true), options.stopped.then(() => false)]);
    if (finished && !options.once) {
      await tour.showClientConfig();
      await options.stopped;
    }
    return 0;
  } finally {
    await processes.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Enough to run, and nothing that would make a child read somebody's own configuration or login. */
function environment(env: Record<string, string | undefined>, dir: string): Record<string, string> {
  const { PATH = "/usr/local/bin:/usr/bin:/bin" } = env;
  return { PATH, HOME: dir, MCPGATE_HOME: join(dir, "nobody"), MCPGATE_CONFIG: join(dir, "proxy.yaml") };
}

class Tour {
  readonly #dir: string;
  readonly #do: DemoProcesses;
  readonly #options: DemoOptions;
  #proxy = "";
  #pin = "";

  constructor(dir: string, processes: DemoProcesses, options: DemoOptions) {
    this.#dir = dir;
    this.#do = processes;
    this.#options = options;
  }

  async run(): Promise<void> {
    await this.#startProxy();
    await this.#startAgent();
    await this.#addUsers();
    await this.#lists();
    await this.#calls();
    await this.#audit();
  }

  async showClientConfig(): Promise<void> {
    const home = join(this.#dir, "alice");
    const printed = await this.#do.run(["client", "config", "demo"], { home });
    const json = JSON.parse(printed.slice(printed.indexOf("{"), printed.lastIndexOf("}\n") + 1)) as {
      mcpServers: Record<string, { env?: Record<string, string> }>;
    };
    for (const server of Object.values(json.mcpServers)) server.env = { MCPGATE_HOME: home };
    await this.#say("\nIt stays up. Paste this into your MCP client's configuration to try it as alice:\n");
    await this.#say(JSON.stringify(json, null, 2));
    await this.#say("\nCtrl-C stops everything and removes it.");
  }

  async #startProxy(): Promise<void> {
    const file = this.#file("proxy.yaml", {
      version: "v1",
      mcpgate: { data_dir: this.#dir, diag_addr: "off", log: { severity: "WARN" } },
      proxy_service: { enabled: true, listen_addr: "127.0.0.1:0" },
    });
    await this.#step("A proxy with TLS on this machine, and a CA of its own", `mcpgate proxy start -c ${file}`);
    const ready = await this.#do.start(["proxy", "start", "-c", file]);
    await this.#say(ready);
    this.#proxy = /ready at (\S+?),?(\s|$)/.exec(ready)?.[1] ?? "";
    this.#pin = /sha256:[0-9a-f]{64}/.exec(ready)?.[0] ?? "";
    if (this.#proxy === "" || this.#pin === "") throw new Failure("internal", `the proxy said: ${ready}`);
  }

  async #startAgent(): Promise<void> {
    const token = join(this.#dir, "token");
    await this.#step(
      "A join token for the host that runs MCP servers",
      "mcpgate tokens add --type=app --format=text > token",
    );
    writeFileSync(token, await this.#do.run(["tokens", "add", "--type=app", "--format=text"]), { mode: 0o600 });
    const [command = "", ...args] = this.#options.self;
    const [uid, gid] = [process.getuid?.() ?? -1, process.getgid?.() ?? -1];
    const { name: user } = await loadHostUserById(uid, gid, hostAccounts);
    const apps = [
      {
        name: "demo",
        labels: { env: "demo" },
        description: "built-in demo server",
        mcp: { command, args: [...args, "demo-server"], run_as_host_user: user },
      },
      ...this.#everything(user),
    ];
    const file = this.#file("agent.yaml", {
      version: "v1",
      mcpgate: {
        data_dir: this.#dir,
        diag_addr: "off",
        log: { severity: "WARN" },
        proxy_server: this.#proxy,
        join_params: { method: "token", token_name: token },
        ca_pin: this.#pin,
      },
      app_service: { enabled: true, drain: "1s", apps },
    });
    await this.#step("An agent joins with it and offers its apps", `mcpgate agent start -c ${file}`);
    await this.#say(await this.#do.start(["agent", "start", "-c", file]));
  }

  /** `@modelcontextprotocol/server-everything`, where it is among the packages that this program was built from. */
  #everything(user: string): object[] {
    const root = dirname(dirname(this.#options.self.at(-1) ?? ""));
    const npx = Bun.which("npx");
    if (npx === null || !existsSync(join(root, "node_modules/@modelcontextprotocol/server-everything"))) return [];
    return [
      {
        name: "everything",
        labels: { env: "dev" },
        description: "everything MCP server",
        mcp: {
          command: npx,
          args: ["--no", "--prefix", root, "mcp-server-everything"],
          env: { PATH: `${dirname(npx)}:/usr/local/bin:/usr/bin:/bin`, npm_config_update_notifier: "false" },
          cwd: root,
          run_as_host_user: user,
        },
      },
    ];
  }

  async #addUsers(): Promise<void> {
    const role = this.#file("mcp-reader.yaml", ROLE);
    await this.#step("A role for tools that only read", `mcpgate create -f ${role}`);
    await this.#say((await this.#do.run(["create", "-f", role])).trimEnd());
    for (const [user, roles] of [
      ["alice", "mcp-user"],
      ["bob", "mcp-reader"],
    ] as const) {
      const home = join(this.#dir, user);
      await this.#step(
        `${user} is invited, sets a password, and logs in`,
        `mcpgate users add ${user} --roles=${roles}`,
      );
      const added = await this.#do.run(["users", "add", user, `--roles=${roles}`]);
      const invite = /https:\/\/\S+#\S+/.exec(added)?.[0];
      if (invite === undefined) throw new Failure("internal", `users add printed no invite:\n${added}`);
      const stdin = `${randomBytes(18).toString("base64url")}\n`;
      const pin = `--ca-pin=${this.#pin}`;
      await this.#do.run(["client", "accept-invite", invite, pin, "--password-stdin"], { home, stdin });
      const login = ["client", "login", `--proxy=${this.#proxy}`, `--user=${user}`, pin, "--password-stdin"];
      await this.#say((await this.#do.run(login, { home, stdin })).trimEnd());
    }
  }

  async #lists(): Promise<void> {
    await this.#step("What bob may reach", "mcpgate client ls");
    await this.#say((await this.#do.run(["client", "ls"], { home: join(this.#dir, "bob") })).trimEnd());
  }

  async #calls(): Promise<void> {
    const { Client } = await import("@modelcontextprotocol/client");
    const { StdioClientTransport } = await import("@modelcontextprotocol/client/stdio");
    await this.#step("bob's MCP client launches", "mcpgate client connect demo");
    const [command = "", ...args] = this.#options.self;
    const transport = new StdioClientTransport({
      command,
      args: [...args, "client", "connect", "demo"],
      env: { ...environment(this.#options.env, this.#dir), MCPGATE_HOME: join(this.#dir, "bob") },
      stderr: "ignore",
    });
    const client = new Client({ name: "mcpgate-demo", version: "1" });
    await client.connect(transport);
    try {
      const { tools } = await client.listTools();
      const names = tools.map(({ name }) => name);
      await this.#say(`tools/list       ${names.join(", ")}`);
      if (names.includes("write_note")) throw new Failure("internal", "the list of tools was not filtered");
      const result = await client.callTool({ name: "read_note", arguments: { name: "welcome" } });
      const [content] = result.content as { type: string; text?: string }[];
      await this.#say(`read_note        ${content?.text ?? JSON.stringify(result)}`);
      const denied = await client.callTool({ name: "write_note", arguments: { name: "todo", text: "drop all" } }).then(
        () => undefined,
        (error: Error) => error.message,
      );
      if (denied === undefined) throw new Failure("internal", "a call that bob's role does not allow went through");
      await this.#say(`write_note       ${denied}`);
    } finally {
      await client.close();
    }
  }

  async #audit(): Promise<void> {
    const events = "mcp.session.request,mcp.session.response";
    const args = ["audit", "ls", "--user=bob", "--app=demo", `--event=${events}`];
    await this.#step("The audit log of exactly these calls", `mcpgate ${args.join(" ")}`);
    // The log is durable on the agent before a call is made, and reaches the proxy a moment after it.
    for (let i = 0; i < 100 && !(await this.#audited(args)); i++) await Bun.sleep(20);
    await this.#say((await this.#do.run(args)).trimEnd());
  }

  /** Whether the log has both calls and what came of them. */
  async #audited(args: string[]): Promise<boolean> {
    const found = JSON.parse(await this.#do.run([...args, "--format=json"])) as AuditEvent[];
    const calls = found.filter(({ event, tool }) => event === "mcp.session.request" && tool !== undefined);
    const answered = new Set(found.map(({ request }) => request));
    return calls.length === 2 && calls.every(({ uid }) => answered.has(uid));
  }

  // --- telling ---

  async #step(what: string, command: string): Promise<void> {
    await this.#say(`\n# ${what}\n$ ${command}`);
  }

  async #say(text: string): Promise<void> {
    await this.#options.print(text);
  }

  #file(name: string, content: object): string {
    const path = join(this.#dir, name);
    writeFileSync(path, stringify(content), { mode: 0o600 });
    return path;
  }
}
