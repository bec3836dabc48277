/**
 * A whole mcpgate in a directory of its own: proxy, agent, users, each the compiled binary run as a person runs it.
 * Every process that comes of it has the directory's name in its arguments or its environment, by which `stop` finds
 * what is left.
 */
import {
  accessSync,
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import type { AuditEvent } from "../../src/event.ts";
import {
  argvOf,
  descendants,
  type Ended,
  eventually,
  processesWith,
  runCommand,
  type Service,
  startService,
} from "./processes.ts";

/** Of a test, and of setting up: generous for machines that are busy; nothing here waits for it to pass. */
export const SLOWEST_MS = 20_000;

export const ROOT = join(import.meta.dir, "../..");
export const FIXTURES = join(import.meta.dir, "../fixtures");
export const NODE = Bun.which("node") ?? process.execPath;
export const isRoot = process.geteuid?.() === 0;
/** Whoever runs the tests. */
export const SELF = (await Bun.$`id -un`.text()).trim();

export interface OsUser {
  name: string;
  uid: number;
  gid: number;
}

/** Another OS user: one that is on every host, when the tests run as root; else there is nobody to switch to but us. */
export const OTHER: OsUser = await osUser(isRoot ? "nobody" : SELF);

async function osUser(name: string): Promise<OsUser> {
  const id = async (flag: string): Promise<number> => Number(await Bun.$`id ${flag} ${name}`.text());
  return { name, uid: await id("-u"), gid: await id("-g") };
}

export const PATH = process.env.PATH ?? "/usr/local/bin:/usr/bin:/bin";
export const PASSWORD = "correct horse battery staple";

/** The binary (`MCPGATE_BINARY`: another one); built when nobody did so before. */
async function builtBinary(): Promise<string> {
  if (process.env.MCPGATE_BINARY) return process.env.MCPGATE_BINARY;
  const path = join(ROOT, "dist/mcpgate");
  if (!existsSync(path)) {
    const { code, stderr } = await runCommand([process.execPath, "build.ts"], { cwd: ROOT, env: { PATH } });
    if (code !== 0) throw new Error(`build.ts failed:\n${stderr}`);
  }
  return path;
}

export interface CliOptions {
  /** MCPGATE_HOME: whose command it is. */
  home?: string | undefined;
  stdin?: string;
  env?: Record<string, string>;
  cwd?: string;
  /** As root: run it as this OS user. */
  user?: OsUser | undefined;
}

export interface AppDocument {
  name: string;
  labels?: Record<string, string>;
  description?: string;
  mcp: { command: string; args?: string[]; run_as_host_user?: string; env?: Record<string, string>; cwd?: string };
}

/** A directory with the binary in it, and commands that run there. */
export class Place {
  readonly dir: string;
  /** The binary, under a name in `dir` that every OS user may run. */
  readonly bin: string;

  /** Environment of every command. */
  more: Record<string, string> = {};

  readonly #services: Service[] = [];

  private constructor(dir: string) {
    this.dir = dir;
    this.bin = join(dir, "mcpgate");
  }

  static async open(): Promise<Place> {
    const built = await builtBinary();
    const place = new Place(mkdtempSync(join(tmpdir(), "mcpgate-e2e-")));
    chmodSync(place.dir, 0o755);
    try {
      linkSync(built, place.bin);
      accessSync(place.bin);
    } catch {
      copyFileSync(built, place.bin);
    }
    chmodSync(place.bin, 0o755);
    return place;
  }

  path(...names: string[]): string {
    return join(this.dir, ...names);
  }

  /** Writes YAML, or text as it is; 0600. */
  file(name: string, content: object | string, mode = 0o600): string {
    const path = this.path(name);
    writeFileSync(path, typeof content === "string" ? content : stringify(content), { mode });
    chmodSync(path, mode);
    return path;
  }

  folder(name: string, mode = 0o700): string {
    mkdirSync(this.path(name), { recursive: true });
    chmodSync(this.path(name), mode);
    return this.path(name);
  }

  /** A directory that belongs to an OS user. */
  folderOf(user: OsUser, name: string): string {
    const path = this.folder(name);
    if (isRoot) chownSync(path, user.uid, user.gid);
    return path;
  }

  env(home = this.path("nobody-home")): Record<string, string> {
    return { PATH, HOME: this.dir, MCPGATE_HOME: home, MCPGATE_CONFIG: this.path("proxy.yaml"), ...this.more };
  }

  argv(args: string[], user?: CliOptions["user"]): string[] {
    if (user === undefined || user.uid === process.getuid?.()) return [this.bin, ...args];
    return ["setpriv", `--reuid=${user.uid}`, `--regid=${user.gid}`, "--clear-groups", "--", this.bin, ...args];
  }

  cli(args: string[], { home, stdin, env = {}, cwd = this.dir, user }: CliOptions = {}): Promise<Ended> {
    return runCommand(this.argv(args, user), { env: { ...this.env(home), ...env }, cwd, stdin });
  }

  /** The stdout of a command that has to succeed. */
  async ok(args: string[], options: CliOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await this.cli(args, options);
    if (code !== 0) throw new Error(`mcpgate ${args.join(" ")} ended with code ${code}:\n${stderr}${stdout}`);
    return stdout;
  }

  start(args: string[], { home, env = {}, cwd = this.dir, user }: CliOptions = {}): Service {
    const service = startService(this.argv(args, user), { env: { ...this.env(home), ...env }, cwd });
    this.#services.push(service);
    return service;
  }

  /** For a set-up that failed: nothing of it stays. */
  async abandon(): Promise<void> {
    for (const service of this.#services.reverse()) await service.stop("SIGKILL");
    await this.close();
  }

  /** Removes the directory and answers with what was still running; a test wants that to be nothing. */
  async close(): Promise<string[]> {
    const rest = () => processesWith(this.dir);
    await eventually(() => rest().length === 0, { ms: 3_000 }).catch(() => {});
    const left = rest();
    for (const { pid } of left) process.kill(pid, "SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
    return left.map(({ pid, argv }) => `${pid} ${argv.join(" ")}`);
  }
}

const module = (name: string): string => join(ROOT, "node_modules/@modelcontextprotocol", name, "dist/index.js");

/** The apps that tests may choose from. */
export function knownApps(place: Place) {
  const env = { MCPGATE_TEST: place.dir };
  const app = (name: string, command: string, args: string[], more: Record<string, string> = {}): AppDocument => ({
    name,
    labels: { env: "test" },
    description: `${name} MCP server`,
    mcp: { command, args, env: { ...env, ...more }, run_as_host_user: SELF },
  });
  return {
    demo: app("demo", place.bin, ["demo-server"]),
    /** Logs each line that it receives to `seen.jsonl`. */
    echo: app("echo", NODE, [join(FIXTURES, "servers/echo.mjs")], { SEEN: place.path("seen.jsonl") }),
    everything: app("everything", NODE, [module("server-everything"), "stdio"]),
    filesystem: app("filesystem", NODE, [module("server-filesystem"), place.path("files")]),
    memory: app("memory", NODE, [module("server-memory")], { MEMORY_FILE_PATH: place.path("memory.jsonl") }),
  } satisfies Record<string, AppDocument>;
}

export interface ClusterOptions {
  apps?: (AppDocument | keyof ReturnType<typeof knownApps> | ((place: Place) => AppDocument))[];
  /** User → roles. Each is invited, sets a password and logs in. */
  users?: Record<string, string[]>;
  /** Role documents, made before the users. */
  roles?: object[];
  /** Further keys of the agent's app_service. */
  appService?: object;
  /** Further keys of the proxy_service. */
  proxyService?: object;
  /** Environment of every command. */
  env?: Record<string, string>;
  /** Of both services; off unless told, as tests run beside each other. */
  diagAddr?: string;
  /** Where agents and clients dial, if not where the proxy listens; told where that is, each time that it starts. */
  publicAddr?: string;
  onListening?: (address: string) => void;
}

/** Reads, and nothing else: lists are filtered for it, and calls denied. */
export const READER = role("reader", ["read_*", "get-*", "echo"]);

export function role(name: string, tools: string[], deny: string[] = []): object {
  return {
    kind: "role",
    version: "v8",
    metadata: { name },
    spec: {
      allow: { app_labels: { "*": "*" }, mcp: { tools } },
      ...(deny.length === 0 ? {} : { deny: { mcp: { tools: deny } } }),
    },
  };
}

export class Cluster {
  readonly place: Place;
  proxy: Service;
  agent: Service;
  /** HOST:PORT, for good: a proxy that starts again takes the same port. */
  readonly address: string;
  readonly pin: string;

  private constructor(place: Place, proxy: Service, agent: Service, address: string, pin: string) {
    this.place = place;
    this.proxy = proxy;
    this.agent = agent;
    this.address = address;
    this.pin = pin;
  }

  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    const place = await Place.open();
    try {
      return await Cluster.#startIn(place, options);
    } catch (error) {
      await place.abandon();
      throw error;
    }
  }

  static async #startIn(place: Place, options: ClusterOptions): Promise<Cluster> {
    const { apps = ["demo", "echo"], users = {}, roles = [], publicAddr, onListening, appService } = options;
    place.more = options.env ?? {};
    const { proxy, address, pin, listening } = await startProxy(
      place,
      publicAddr,
      options.proxyService,
      options.diagAddr,
    );
    onListening?.(listening);
    const token = place.file("token", await place.ok(["tokens", "add", "--type=app", "--format=text"]));
    const known = knownApps(place);
    place.folder("files");
    writeAgentConfig(
      place,
      { address, pin, token, diagAddr: options.diagAddr },
      apps.map((app) => (typeof app === "string" ? known[app] : typeof app === "function" ? app(place) : app)),
      "agent.yaml",
      place.dir,
      appService,
    );
    const agent = place.start(["agent", "start", "-c", place.path("agent.yaml")]);
    const cluster = new Cluster(place, proxy, agent, address, pin);
    const created = async () => {
      if (roles.length === 0) return;
      place.file("roles.yaml", roles.map((each) => stringify(each)).join("---\n"));
      await place.ok(["create", "-f", "roles.yaml"]);
    };
    const invited = created().then(() =>
      Promise.all(Object.entries(users).map(([name, names]) => cluster.addUser(name, names))),
    );
    await Promise.all([agent.ready, invited]);
    return cluster;
  }

  get #pinFlag(): string[] {
    return this.pin === "" ? [] : [`--ca-pin=${this.pin}`];
  }

  home(user: string): string {
    return this.place.path("home", user);
  }

  /** A user who is logged in. */
  async addUser(name: string, roles: string[]): Promise<void> {
    const { place } = this;
    const added = JSON.parse(await place.ok(["users", "add", name, `--roles=${roles.join(",")}`, "--format=json"]));
    const options = { home: this.home(name), stdin: `${PASSWORD}\n` };
    await place.ok(["client", "accept-invite", added.invite_url, ...this.#pinFlag, "--password-stdin"], options);
    await this.login(name);
  }

  async login(name: string, home = this.home(name), more: CliOptions = {}): Promise<string> {
    const args = ["client", "login", `--proxy=${this.address}`, `--user=${name}`, ...this.#pinFlag];
    return this.place.ok([...args, "--password-stdin"], { home, stdin: `${PASSWORD}\n`, ...more });
  }

  /** A command as that user. */
  as(user: string, args: string[], more: CliOptions = {}): Promise<Ended> {
    return this.place.cli(args, { home: this.home(user), ...more });
  }

  /** `audit ls --format=json` with these flags. */
  async events(...flags: string[]): Promise<AuditEvent[]> {
    return JSON.parse(await this.place.ok(["audit", "ls", "--format=json", ...flags]));
  }

  /** The same, once `enough` says so: events reach the proxy a moment after what they tell about. */
  eventsOnce(enough: (events: AuditEvent[]) => boolean, ...flags: string[]): Promise<AuditEvent[]> {
    return eventually(async () => {
      const events = await this.events(...flags);
      return enough(events) ? events : undefined;
    });
  }

  async sessions(): Promise<{ sid: string; user: string; app: string }[]> {
    return JSON.parse(await this.place.ok(["sessions", "ls", "--format=json"]));
  }

  /** Pids of the servers that the agent runs. */
  servers(): number[] {
    // The service that we started may be the guard of the agent proper: of them both the servers are left, and the exec
    // helper that stands ready for the next one.
    return descendants(this.agent.pid).filter((pid) => !/ agent start | __exec $/.test(argvOf(pid).join(" ")));
  }

  /** The lines that the echo server received. */
  seen(): string[] {
    const file = this.place.path("seen.jsonl");
    return existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n") : [];
  }

  async restartProxy(): Promise<void> {
    await this.proxy.stop();
    await this.startProxy();
  }

  async startProxy(): Promise<void> {
    this.proxy = this.place.start(["proxy", "start"]);
    await this.proxy.ready;
  }

  async startAgent(): Promise<void> {
    this.agent = this.place.start(["agent", "start", "-c", this.place.path("agent.yaml")]);
    await this.agent.ready;
  }

  /** Stops everything; answers with what was left running after it. */
  async stop(): Promise<string[]> {
    await this.agent.stop();
    await this.proxy.stop();
    return this.place.close();
  }
}

/** On any free port first; the configuration then names the port, so that it can start again there. */
export async function startProxy(
  place: Place,
  publicAddr?: string,
  more: object = {},
  diagAddr = "off",
): Promise<{ proxy: Service; address: string; pin: string; listening: string }> {
  const write = (listen_addr: string) =>
    place.file("proxy.yaml", {
      version: "v1",
      mcpgate: { data_dir: place.dir, diag_addr: diagAddr },
      proxy_service: {
        enabled: true,
        listen_addr,
        ...(publicAddr === undefined ? {} : { public_addr: publicAddr }),
        ...more,
      },
    });
  write("127.0.0.1:0");
  const proxy = place.start(["proxy", "start"]);
  const line = await proxy.ready;
  const address = /127\.0\.0\.1:\d+/.exec(line)?.[0] ?? "";
  const listening = /listening on (127\.0\.0\.1:\d+)/.exec(line)?.[1] ?? address;
  const pin = /sha256:[0-9a-f]{64}/.exec(line)?.[0] ?? "";
  if (address === "" || (pin === "" && !line.includes("certificate from"))) throw new Error(`the proxy said: ${line}`);
  write(listening);
  return { proxy, address, pin, listening };
}

export function writeAgentConfig(
  place: Place,
  o: { address: string; pin: string; token: string; diagAddr?: string | undefined },
  apps: AppDocument[],
  name = "agent.yaml",
  dataDir = place.dir,
  service: object = {},
): string {
  return place.file(name, {
    version: "v1",
    mcpgate: {
      data_dir: dataDir,
      diag_addr: o.diagAddr ?? "off",
      proxy_server: o.address,
      join_params: { method: "token", token_name: o.token },
      ...(o.pin === "" ? {} : { ca_pin: o.pin }),
    },
    app_service: { enabled: true, apps, ...service },
  });
}
