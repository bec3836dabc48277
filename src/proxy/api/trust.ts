/** What a person pastes beside a token or an invite: where the proxy is, and the pins of its CA and of its own key. */
import { formatHostPort } from "../../config/host-port.ts";
import type { ApiDeps } from "./deps.ts";

export function clusterTrust({ config }: ApiDeps) {
  return {
    public_addr: formatHostPort(config.publicAddr),
    ...(config.caPin === undefined ? {} : { ca_pin: config.caPin }),
    ...(config.keyPin === undefined ? {} : { key_pin: config.keyPin }),
  };
}
