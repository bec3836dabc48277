/** Everything that a command may touch besides its arguments. Tests hand in their own. */
import type { ApiClient } from "../client/api.ts";
import type { Config } from "../config/config.ts";
import { createLog, type LogOptions, type RootLog } from "../log.ts";
import { createOutput, type Output } from "./output.ts";
import { openTerminal, readAllOfStdin, type Terminal } from "./terminal.ts";

export interface Context {
  out: Output;
  env: Record<string, string | undefined>;
  /** Of this process; -1 where the system has none. */
  uid: number;
  /** The words that start this very program, with an absolute path: what goes into an MCP client's configuration. */
  self: string[];
  /** The same for our own children; independent of the program's place on disk where the system allows that. */
  respawn: string[];
  createLog(options: LogOptions): RootLog;
  /** All of standard input; at most 1 MiB. */
  readStdin(): Promise<string>;
  /** The person's terminal, whatever stdin and stdout are; undefined where there is none. */
  openTerminal(): Terminal | undefined;
  /** Resolves at the first SIGINT or SIGTERM, which then doesn't end the process; the second one does. */
  untilStopped(): Promise<void>;
  /** Calls back at each SIGHUP, which then doesn't end the process, until it is told to stop. */
  onHangUp(take: () => void): () => void;
  /** The proxy's API for admins: the unix socket on the proxy's own host, else as the logged-in user. */
  openAdminApi(config: Config | undefined): Promise<ApiClient>;
  /** The proxy's API as the logged-in user. */
  openUserApi(): Promise<ApiClient>;
  services: Services;
}

/** The parts of the program that commands start, each loaded when it is called. */
export interface Services {
  startProxy: typeof import("../proxy/start.ts").startProxy;
  startAgent: typeof import("../agent/start.ts").startAgent;
  loadAgentStatus: typeof import("../agent/status.ts").loadAgentStatus;
  checkApps: typeof import("../agent/check-apps.ts").checkApps;
  pinPackages: typeof import("../agent/pin-packages.ts").pinPackages;
  openGuard: typeof import("../agent/guard.ts").openGuard;
  runConnect: typeof import("../client/connect.ts").runConnect;
  login: typeof import("../client/login.ts").login;
  logout: typeof import("../client/login.ts").logout;
  loginStatus: typeof import("../client/login.ts").loginStatus;
  acceptInvite: typeof import("../client/login.ts").acceptInvite;
  runDoctor: typeof import("../doctor/run.ts").runDoctor;
  runDemo: typeof import("../demo/run.ts").runDemo;
  runDemoServer: typeof import("../demo/server.ts").runDemoServer;
}

export function createContext(): Context {
  const env = process.env;
  return {
    out: createOutput(),
    env,
    uid: process.getuid?.() ?? -1,
    ...ownCommand(),
    createLog,
    readStdin: readAllOfStdin,
    openTerminal,
    untilStopped,
    onHangUp,
    openAdminApi: async (config) => await (await import("../client/api.ts")).openAdminApi({ config, env }),
    openUserApi: async () => await (await import("../client/api.ts")).openUserApi({ env }),
    services: {
      startProxy: async (o) => await (await import("../proxy/start.ts")).startProxy(o),
      startAgent: async (o) => await (await import("../agent/start.ts")).startAgent(o),
      loadAgentStatus: async (o) => await (await import("../agent/status.ts")).loadAgentStatus(o),
      pinPackages: async (o) => await (await import("../agent/pin-packages.ts")).pinPackages(o),
      checkApps: async (o) => await (await import("../agent/check-apps.ts")).checkApps(o),
      openGuard: async (o) => await (await import("../agent/guard.ts")).openGuard(o),
      runConnect: async (o) => await (await import("../client/connect.ts")).runConnect(o),
      login: async (o) => await (await import("../client/login.ts")).login(o),
      logout: async (o) => await (await import("../client/login.ts")).logout(o),
      loginStatus: async (o) => await (await import("../client/login.ts")).loginStatus(o),
      acceptInvite: async (o) => await (await import("../client/login.ts")).acceptInvite(o),
      runDoctor: async (o) => await (await import("../doctor/run.ts")).runDoctor(o),
      runDemo: async (o) => await (await import("../demo/run.ts")).runDemo(o),
      runDemoServer: async () => await (await import("../demo/server.ts")).runDemoServer(),
    },
  };
}

/** A compiled binary is one word; run from source it is the runtime and this program's file. */
function ownCommand(): { self: string[]; respawn: string[] } {
  const compiled = /^(\/\$bunfs\/|[A-Z]:[\\/]~BUN[\\/])/i.test(Bun.main);
  const program = compiled ? [] : [Bun.main];
  const runtime = process.platform === "linux" ? "/proc/self/exe" : process.execPath;
  return { self: [process.execPath, ...program], respawn: [runtime, ...program] };
}

function untilStopped(): Promise<void> {
  return new Promise((resolve) => {
    const signals = ["SIGINT", "SIGTERM"] as const;
    const stop = () => {
      for (const signal of signals) process.removeListener(signal, stop);
      resolve();
    };
    for (const signal of signals) process.on(signal, stop);
  });
}

function onHangUp(take: () => void): () => void {
  process.on("SIGHUP", take);
  return () => void process.removeListener("SIGHUP", take);
}
