/** The configuration as the rest of the program sees it: defaults filled in, paths absolute, addresses parsed. */
import type { CommandRule } from "./command-rule.ts";
import type { HostPort } from "./host-port.ts";
import type { Variable } from "./variable.ts";

export interface Config {
  /** Absolute path of the file it came from; undefined where there is none and everything is default. */
  file: string | undefined;
  /** Absolute. The proxy's data lies in `proxy/` under it, the agent's in `agent/`. */
  dataDir: string;
  log: { severity: "DEBUG" | "INFO" | "WARN" | "ERROR"; format: "text" | "json" };
  /** Where metrics and health checks are to be had (`diag-address.ts`). */
  diagAddr?: HostPort | "off";
  /** What the agent is called from the time that it joins; the host's name unless told. */
  nodename?: string;
  proxyServer?: HostPort;
  join?: JoinConfig;
  /** `sha256:` and 64 lower-case hex digits. */
  caPin?: string;
  /** Absent unless `proxy_service` is enabled. */
  proxy?: ProxyConfig;
  /** Absent unless `app_service` is enabled. */
  app?: AppServiceConfig;
}

export interface JoinConfig {
  method: "token" | "iam" | "ec2";
  /** `token`: an absolute path (it holds a slash), else the token itself; `loadJoinToken` tells them apart. Else a name. */
  tokenName: string;
}

export interface ProxyConfig {
  /** Port 0: any free port. */
  listen: HostPort;
  /** What agents and clients dial. Port 0: the port that `listen` got. */
  publicAddr: HostPort;
  /** Absolute; PEM, leaf first. Given together with `keyFile` or not at all. */
  certFile?: string;
  keyFile?: string;
  /** False: plain HTTP, because something in front of the proxy ends TLS. */
  tls: boolean;
  /** Addresses and networks (CIDR) whose `X-Forwarded-For` is believed. */
  trustedProxies: string[];
  /** Absolute; `proxy/downloads` in `dataDir` unless told. */
  downloadsDir?: string;
  audit?: AuditConfig;
  /** Absolute: the directory with the certificates of AWS's regions, `REGION.pem`. */
  awsCertificates?: string;
  /** The host of `publicAddr` unless told. */
  clusterName: string;
}

/** What becomes of the audit log at the proxy. */
export interface AuditConfig {
  retention: {
    /** Seconds. */
    maxAge?: number;
    /** Bytes of the whole database. */
    maxSize?: number;
  };
  sinks: SinkConfig[];
}

/** `name`: unique; the sink's place in the log is kept under it. */
export type SinkConfig = { name: string } & (
  | { type: "file" /** Absolute. */; path: string }
  | { type: "stdout" }
  | { type: "syslog"; transport: "tcp" | "udp"; address: HostPort }
  | { type: "http"; url: string; token?: SecretReference }
);

/** Where a secret is to be found; `file` is absolute. */
export type SecretReference = { file: string } | { env: string };

/** The agent's audit spool. */
export interface SpoolConfig {
  /** Bytes; 256 MiB unless told. */
  limit?: number;
  onFull?: "refuse" | "drop_oldest";
  sync?: "group" | "always";
}

export interface AppServiceConfig {
  apps: AppConfig[];
  audit?: SpoolConfig;
  /** Seconds, 1 to 86400; 600 unless told. */
  resumeWindowSeconds: number;
  /** Seconds that open calls have when the agent stops, 0 to 300; 10 unless told. */
  drainSeconds: number;
  /** Who a template in `runAsHostUser` may come to, and an app resource may name; nobody unless told. */
  allowHostUsers?: string[];
  /** Label → value or values. The agent takes the proxy's app resources that one of these matches; none unless told. */
  resources?: Record<string, string | string[]>[];
  /** What app resources may have it run (`command-rule.ts`), and in which directories; nothing unless told. */
  allowCommands?: CommandRule[];
  allowCwd?: string[];
}

export interface AppConfig {
  /** `^[a-z0-9][a-z0-9_-]{0,62}$`, unique in the file. */
  name: string;
  labels: Record<string, string>;
  /** Empty where there is none. */
  description: string;
  shared: boolean;
  /** What a new or changed tool definition leads to: nothing, an event (unless told), or it is hidden until approved. */
  toolPinning?: "off" | "warn" | "enforce";
  /** It came from the proxy, as an app resource (`app-resource.ts`). */
  resource?: true;
  mcp: McpConfig;
}

export interface McpConfig {
  command: string;
  args: string[];
  /** A name, or a template for one; always there when the configuration was loaded as root. */
  runAsHostUser?: string;
  env?: Record<string, Variable>;
  /** Absolute. */
  cwd?: string;
  /** What becomes of the server's own secrets in what it answers; `mask` unless told. */
  secrets?: "mask" | "block" | "allow";
  /** Whose process it is: each session's own unless told. */
  share?: "session" | "user" | "app";
  /** Seconds that a shared server stays without sessions, 0 to 86400; 300 unless told. */
  linger?: number;
  /** Servers that wait for their session, 0 to 100; none unless told. */
  warm?: number;
  /** Seconds, 0 to 300; 2 each unless told. */
  stopGrace?: { stdin?: number; term?: number };
  limits?: Limits;
  sandbox?: Sandbox;
}

/** All optional: nothing is limited unless told, but the start. */
export interface Limits {
  /** Bytes. */
  memory?: number;
  /** Of one processor: 0.5 is half of one, 2 is two. */
  cpu?: number;
  processes?: number;
  openFiles?: number;
  /** Seconds until the server's first answer; 120 unless told. */
  startTimeout?: number;
  /** Seconds without a message and without an open request. */
  idleTimeout?: number;
  /** Seconds. */
  sessionTimeout?: number;
  sessionsPerUser?: number;
  sessionsPerApp?: number;
}

export interface Sandbox {
  network: "none" | "host";
  /** Absolute paths, beside the system's own. */
  read: string[];
  write: string[];
}
