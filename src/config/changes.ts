/** What differs between two configurations: what a running service takes over, and what waits for its next start. */
import type { AppConfig, Config } from "./config.ts";

export interface AppChanges {
  added: string[];
  changed: string[];
  removed: string[];
}

/** App by app; the order in the file means nothing. */
export function changedApps(before: readonly AppConfig[], after: readonly AppConfig[]): AppChanges {
  const old = new Map(before.map((app) => [app.name, app]));
  const names = new Set(after.map(({ name }) => name));
  return {
    added: after.flatMap(({ name }) => (old.has(name) ? [] : [name])),
    changed: after.flatMap((app) => {
      const was = old.get(app.name);
      return was === undefined || Bun.deepEquals(was, app) ? [] : [app.name];
    }),
    removed: [...old.keys()].filter((name) => !names.has(name)),
  };
}

/** Keys whose new value counts from the service's next start on, as the file spells them. */
export function waitingForRestart(service: "proxy" | "agent", before: Config, after: Config): string[] {
  const parts = (config: Config): Record<string, unknown> => ({
    "mcpgate.data_dir": config.dataDir,
    "mcpgate.log.format": config.log.format,
    "mcpgate.diag_addr": config.diagAddr,
    ...(service === "agent"
      ? {
          "mcpgate.proxy_server": config.proxyServer,
          "mcpgate.ca_pin": config.caPin,
          "app_service.audit": config.app?.audit,
        }
      : {
          "proxy_service.listen_addr": config.proxy?.listen,
          "proxy_service.public_addr": config.proxy?.publicAddr,
          "proxy_service.cluster_name": config.proxy?.clusterName,
          "proxy_service.downloads_dir": config.proxy?.downloadsDir,
          "proxy_service.tls": config.proxy?.tls,
          "proxy_service.aws_certificates": config.proxy?.awsCertificates,
          // Between a certificate that was given and one of our own, what clients trust changes.
          "proxy_service.cert_file": config.proxy?.certFile !== undefined,
        }),
  });
  const now = parts(after);
  return Object.entries(parts(before)).flatMap(([key, was]) => (Bun.deepEquals(was, now[key]) ? [] : [key]));
}
