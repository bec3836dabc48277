/** Where a service's metrics and health checks are to be had: on this host alone, unless the file says otherwise. */
import type { Config } from "./config.ts";
import type { HostPort } from "./host-port.ts";

/** Two, so that a proxy and an agent on one host get along. */
const DEFAULTS = { proxy: { host: "127.0.0.1", port: 3070 }, agent: { host: "127.0.0.1", port: 3071 } } as const;

/** Undefined: nowhere. */
export function diagAddress({ diagAddr }: Config, service: keyof typeof DEFAULTS): HostPort | undefined {
  return diagAddr === "off" ? undefined : (diagAddr ?? DEFAULTS[service]);
}
