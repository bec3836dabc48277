/** The configuration as the rest of the program sees it: defaults filled in, paths absolute, addresses parsed. */
import type { HostPort } from "./host-port.ts";

export interface Config {
  /** Absolute path of the file it came from; undefined where there is none and everything is default. */
  file: string | undefined;
  /** Absolute. The proxy's data lies in `proxy/` under it, the agent's in `agent/`. */
  dataDir: string;
  log: { severity: "DEBUG" | "INFO" | "WARN" | "ERROR"; format: "text" | "json" };
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
  method: "token";
  /** An absolute path (it holds a slash), else the token itself; `loadJoinToken` tells them apart. */
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
  /** The host of `publicAddr` unless told. */
  clusterName: string;
}

export interface AppServiceConfig {
  apps: AppConfig[];
  /** Seconds, 1 to 86400; 600 unless told. */
  resumeWindowSeconds: number;
}

export interface AppConfig {
  /** `^[a-z0-9][a-z0-9_-]{0,62}$`, unique in the file. */
  name: string;
  labels: Record<string, string>;
  /** Empty where there is none. */
  description: string;
  shared: boolean;
  mcp: McpConfig;
}

export interface McpConfig {
  command: string;
  args: string[];
  /** Always there when the configuration was loaded as root. */
  runAsHostUser?: string;
  env?: Record<string, string>;
  /** Absolute. */
  cwd?: string;
}
