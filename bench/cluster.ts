/** A whole mcpgate in a directory of its own, the compiled binary run as a person runs it: proxy, agent, one user. */
import { mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { argvOf, descendants, eventually, run, type Service, startService } from "./processes.ts";
import type { Command } from "./session.ts";

const PATH = process.env.PATH ?? "/usr/local/bin:/usr/bin:/bin";
const PASSWORD = "correct horse battery staple";
const READY_MS = 15_000;
const SELF = (await Bun.$`id -un`.text()).trim();

/** As the issue says: 20 patterns to allow and 20 to deny, of all kinds; `echo` is looked for among all of them. */
const ROLE = {
  kind: "role",
  version: "v8",
  metadata: { name: "bench" },
  spec: {
    allow: { app_labels: { "*": "*" }, mcp: { tools: [...patterns("read").slice(1), "echo"] } },
    deny: { mcp: { tools: patterns("write") } },
  },
};

function patterns(prefix: string): string[] {
  const kinds = [
    (i: number) => `^${prefix}${i}_[a-z]+$`,
    (i: number) => `${prefix}${i}_*`,
    (i: number) => `${prefix}${i}`,
  ];
  return Array.from({ length: 20 }, (_, i) => (kinds[i % 3] as (i: number) => string)(i));
}

export interface ClusterOptions {
  binary: string;
  /** Made, and left to whoever asked. */
  dir: string;
  /** App → its MCP server's command. */
  servers: Record<string, string[]>;
  /** Further keys of `app_service`. */
  appService?: object;
}

export class Cluster {
  readonly dir: string;
  /** MCPGATE_HOME of the user. */
  readonly home: string;
  readonly #binary: string;
  readonly #servers: Record<string, string[]>;
  readonly #appService: object;
  #proxy: Service | undefined;
  #agent: Service | undefined;
  address = "";
  pin = "";

  private constructor(o: ClusterOptions) {
    this.dir = o.dir;
    this.home = join(o.dir, "home");
    this.#binary = o.binary;
    this.#servers = o.servers;
    this.#appService = o.appService ?? {};
  }

  /** With a user who is logged in, and an agent unless told otherwise. */
  static async start(options: ClusterOptions, { agent = true } = {}): Promise<Cluster> {
    mkdirSync(options.dir, { recursive: true, mode: 0o755 });
    const cluster = new Cluster(options);
    try {
      await cluster.startProxy({});
      await cluster.#addUser();
      await cluster.#writeAgentConfig();
      if (agent) await cluster.#startAgent();
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  get proxyPids(): number[] {
    return this.#proxy === undefined ? [] : [this.#proxy.pid];
  }

  /** The guard and the agent proper. */
  get agentPids(): number[] {
    const guard = this.#agent?.pid;
    if (guard === undefined) return [];
    return [guard, ...descendants(guard).filter((pid) => argvOf(pid).includes("agent"))];
  }

  get serverPids(): number[] {
    const guard = this.#agent?.pid;
    const programs = new Set(Object.values(this.#servers).map(([program]) => program));
    return guard === undefined ? [] : descendants(guard).filter((pid) => programs.has(argvOf(pid)[0]));
  }

  /** The agent's configuration, and the directory of its identity. */
  get agentConfig(): string {
    return join(this.dir, "agent.yaml");
  }

  get proxyConfig(): string {
    return join(this.dir, "proxy.yaml");
  }

  /** `client connect`; as somebody who is not logged in with another home. */
  connect(home = this.home, app = "bench"): Command {
    return {
      argv: [this.#binary, "client", "connect", app],
      env: this.#env(home),
      cwd: this.dir,
      log: openSync(join(this.dir, "client.log"), "a", 0o600),
    };
  }

  /** On any port first, and then on the same again. */
  async startProxy(more: object): Promise<void> {
    await this.#proxy?.stop();
    const listen_addr = this.address === "" ? "127.0.0.1:0" : this.address;
    const write = (listen: string) =>
      this.#write("proxy.yaml", {
        version: "v1",
        mcpgate: { data_dir: this.dir },
        proxy_service: { enabled: true, listen_addr: listen, ...more },
      });
    write(listen_addr);
    this.#proxy = this.#startService("proxy", ["proxy", "start"]);
    const line = await this.#ready("proxy");
    if (this.address !== "") return;
    this.address = /127\.0\.0\.1:\d+/.exec(line)?.[0] ?? "";
    this.pin = /sha256:[0-9a-f]{64}/.exec(line)?.[0] ?? "";
    write(this.address);
  }

  async stop(): Promise<void> {
    await this.#agent?.stop();
    await this.#proxy?.stop();
    this.#agent = undefined;
    this.#proxy = undefined;
  }

  async #addUser(): Promise<void> {
    this.#write("role.yaml", ROLE);
    await this.#ok(["create", "-f", "role.yaml"]);
    const added: { invite_url: string } = JSON.parse(
      await this.#ok(["users", "add", "bench", "--roles=bench", "--format=json"]),
    );
    const pin = `--ca-pin=${this.pin}`;
    await this.#ok(["client", "accept-invite", added.invite_url, pin, "--password-stdin"], PASSWORD);
    await this.#ok(["client", "login", `--proxy=${this.address}`, "--user=bench", pin, "--password-stdin"], PASSWORD);
  }

  async #writeAgentConfig(): Promise<void> {
    const token = join(this.dir, "token");
    writeFileSync(token, await this.#ok(["tokens", "add", "--type=app", "--format=text"]), { mode: 0o600 });
    const apps = Object.entries(this.#servers).map(([name, [command, ...args]]) => {
      return { name, labels: { env: "bench" }, mcp: { command, args, run_as_host_user: SELF } };
    });
    this.#write("agent.yaml", {
      version: "v1",
      mcpgate: {
        data_dir: this.dir,
        proxy_server: this.address,
        join_params: { method: "token", token_name: token },
        ca_pin: this.pin,
      },
      app_service: {
        enabled: true,
        apps,
        ...this.#appService,
      },
    });
  }

  async #startAgent(): Promise<void> {
    this.#agent = this.#startService("agent", ["agent", "start", "-c", this.agentConfig]);
    await this.#ready("agent");
  }

  #startService(name: string, args: string[]): Service {
    const log = join(this.dir, `${name}.log`);
    writeFileSync(log, "", { mode: 0o600 });
    return startService({ argv: [this.#binary, ...args], env: this.#env(), cwd: this.dir, log });
  }

  #ready(name: string): Promise<string> {
    const log = join(this.dir, `${name}.log`);
    const line = () =>
      readFileSync(log, "utf8")
        .split("\n")
        .slice(0, -1)
        .find((each) => /\bis ready\b/.test(each));
    return eventually(line, READY_MS, `${name} is ready`).catch((error) => {
      throw new Error(`${error.message}\n${readFileSync(log, "utf8")}`);
    });
  }

  #ok(args: string[], stdin?: string): Promise<string> {
    return run([this.#binary, ...args], {
      env: this.#env(),
      cwd: this.dir,
      ...(stdin === undefined ? {} : { stdin: `${stdin}\n` }),
    });
  }

  #env(home = this.home): Record<string, string> {
    return { PATH, HOME: this.dir, MCPGATE_HOME: home, MCPGATE_CONFIG: this.proxyConfig };
  }

  #write(name: string, content: object): void {
    writeFileSync(join(this.dir, name), stringify(content), { mode: 0o600 });
  }
}
