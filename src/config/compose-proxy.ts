/** `mcpgate proxy configure`: a configuration for a proxy, with comments. */
import { yamlText } from "./yaml-text.ts";

export interface ProxyFile {
  /** As `public_addr` and `listen_addr` take them. */
  publicAddr: string;
  listenAddr: string;
  clusterName?: string | undefined;
  certFile?: string | undefined;
  keyFile?: string | undefined;
}

/** Nothing is checked here: the text is to be read like any other configuration. */
export function composeProxyFile({ publicAddr, listenAddr, clusterName, certFile, keyFile }: ProxyFile): string {
  const given = (key: string, value: string | undefined, otherwise: string): string =>
    `  ${value === undefined ? `# ${key}: ${otherwise}` : `${key}: ${yamlText(value)}`}\n`;
  return `\
# The proxy of mcpgate on this host. Whether what stands here is right: mcpgate config check
# The proxy looks at this file every second; its log names what takes effect only at its next start.
version: v1
mcpgate:
  # The proxy's data (users, roles, keys, the audit log) lies in proxy/ under it.
  # data_dir: /var/lib/mcpgate
  log: {severity: INFO, format: text}

proxy_service:
  enabled: true
  # What agents and clients dial, and what every proof of theirs names.
  public_addr: ${yamlText(publicAddr)}
  listen_addr: ${yamlText(listenAddr)}
  # What people see; the host of public_addr unless it stands here.
${given("cluster_name", clusterName, "example")}\
  # Both, or the proxy makes a CA and a certificate of its own, and agents and clients check its pin.
${given("cert_file", certFile, "/etc/mcpgate/tls.crt")}\
${given("key_file", keyFile, "/etc/mcpgate/tls.key")}\
  # Where a load balancer ends TLS in front of it:
  # tls: off
  # trusted_proxies: [10.0.0.0/24]
  audit:
    # Older events go, and the oldest when there are too many; everything is kept unless told.
    # retention: {max_age: 90d, max_size: 10GiB}
    # Where events go besides the proxy's own store.
    # sinks: [{type: file, path: /var/log/mcpgate/audit.jsonl}]
`;
}
