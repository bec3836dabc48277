/** Who is measured: the same server behind each of them, reached by the same driver. */
import { openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createCa, issueLeaf } from "../src/identity/pki.ts";
import type { Cluster } from "./cluster.ts";
import { descendants, eventually, freePort, type Service, startService } from "./processes.ts";
import { type Command, Session } from "./session.ts";

export interface Contender {
  name: string;
  /** Milliseconds that a session may take to open. */
  startMs: number;
  /** How many of the work's repetitions it gets: those that are slow are measured on fewer. */
  share: number;
  command(): Command;
  /** The pids that work for this session, by what they are. */
  roles(session: Session): Record<string, number[]>;
  stop(): Promise<void>;
}

export const open = (contender: Contender): Session => new Session(contender.command(), contender.startMs);

const PATH = process.env.PATH ?? "/usr/local/bin:/usr/bin:/bin";

export function direct(server: string[], dir: string): Contender {
  const log = openSync(join(dir, "direct.log"), "a");
  return {
    name: "direct",
    startMs: 10_000,
    share: 1,
    command: () => ({ argv: server, env: { PATH }, cwd: dir, log }),
    roles: (session) => ({ server: [session.pid] }),
    stop: async () => {},
  };
}

/** `program`: native/floor.c, compiled. */
export function floor(program: string, server: string[], dir: string): Contender {
  const log = openSync(join(dir, "floor.log"), "a");
  const [clients, agents] = [`${freePort()}`, `${freePort()}`];
  const start = (...args: string[]) =>
    startService({ argv: [program, ...args], env: { PATH }, cwd: dir, log: join(dir, "floor.log") });
  const proxy = start("proxy", clients, agents);
  const agent = start("agent", agents, ...server);
  return {
    name: "floor",
    startMs: 10_000,
    share: 1,
    command: () => ({ argv: [program, "client", clients], env: { PATH }, cwd: dir, log }),
    roles: (session) => ({
      client: [session.pid],
      proxy: [proxy.pid],
      agent: [agent.pid],
      server: descendants(agent.pid),
    }),
    stop: async () => {
      await agent.stop();
      await proxy.stop();
    },
  };
}

export const RUNTIME = "floor in Bun";

/** `runtime-floor.ts`, with a CA and a certificate of the run's own. */
export async function runtimeFloor(server: string[], dir: string): Promise<Contender> {
  const [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map((name) => join(dir, `runtime-${name}`)) as [
    string,
    string,
    string,
  ];
  const authority = await createCa("bench");
  const leaf = await issueLeaf({ ca: authority, names: ["127.0.0.1"] });
  writeFileSync(ca, authority.certPem);
  writeFileSync(cert, leaf.certPem);
  writeFileSync(key, leaf.keyPem, { mode: 0o600 });
  const argv = [process.execPath, join(import.meta.dir, "runtime-floor.ts")];
  const start = async (name: string, ...args: string[]) => {
    const log = join(dir, `runtime-${name}.log`);
    writeFileSync(log, "");
    const service = startService({ argv: [...argv, name, ...args], env: { PATH }, cwd: dir, log });
    const said = () => /^.+(?=\n)/.exec(readFileSync(log, "utf8"))?.[0];
    try {
      return { service, said: await eventually(said, 10_000, `${RUNTIME}: ${name}`) };
    } catch (error) {
      await service.stop();
      throw error;
    }
  };
  const proxy = await start("proxy", cert, key);
  const url = `wss://127.0.0.1:${proxy.said}`;
  const agent = await start("agent", url, ca, ...server);
  const log = openSync(join(dir, "runtime-client.log"), "a");
  return {
    name: RUNTIME,
    startMs: 10_000,
    share: 1,
    command: () => ({ argv: [...argv, "client", url, ca], env: { PATH }, cwd: dir, log }),
    roles: (session) => ({
      client: [session.pid],
      proxy: [proxy.service.pid],
      agent: [agent.service.pid],
      server: descendants(agent.service.pid),
    }),
    stop: async () => {
      await agent.service.stop();
      await proxy.service.stop();
    },
  };
}

export const OURS = "mcpgate";

export function ours(cluster: Cluster, app?: string): Contender {
  return {
    name: OURS,
    startMs: 20_000,
    share: 1,
    command: () => cluster.connect(cluster.home, app),
    roles: (session) => ({
      client: [session.pid],
      proxy: cluster.proxyPids,
      agent: cluster.agentPids,
      server: cluster.serverPids,
    }),
    stop: async () => {},
  };
}

/** A gateway that turns stdio into HTTP, and mcp-remote that turns it back. */
export interface Peer {
  name: string;
  /** Arguments of `node` that start the gateway on this port of loopback. */
  gateway(port: number): string[];
}

export async function peer(
  { name, gateway }: Peer,
  o: { node: string; remote: string; dir: string },
): Promise<Contender> {
  const port = freePort();
  const env = {
    PATH,
    HOME: o.dir,
    MCP_REMOTE_CONFIG_DIR: join(o.dir, "mcp-remote"),
    NO_UPDATE_NOTIFIER: "1",
    BROWSER: "none",
  };
  const log = join(o.dir, `${name.replaceAll(/\W+/g, "-")}.log`);
  const service: Service = startService({ argv: [o.node, ...gateway(port)], env, cwd: o.dir, log });
  const fd = openSync(log, "a");
  try {
    await listening(port);
  } catch (error) {
    await service.stop();
    throw error;
  }
  const url = `http://127.0.0.1:${port}/mcp`;
  return {
    name,
    startMs: 8_000,
    share: 0.1,
    command: () => ({
      argv: [o.node, o.remote, url, "--allow-http", "--transport", "http-only"],
      env,
      cwd: o.dir,
      log: fd,
    }),
    roles: (session) => ({ remote: [session.pid], gateway: [service.pid], server: descendants(service.pid) }),
    stop: () => service.stop(),
  };
}

async function listening(port: number): Promise<void> {
  const until = performance.now() + 15_000;
  for (;;) {
    try {
      const socket = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } });
      socket.end();
      return;
    } catch (error) {
      if (performance.now() > until) throw error;
      await Bun.sleep(30);
    }
  }
}
