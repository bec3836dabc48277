/** What a running proxy takes over of a configuration that has changed: its certificate, whom it trusts, and its audit log's keeping. */
import type { Config, ProxyConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import type { KeptAudit } from "./audit.ts";
import type { KeptCertificate } from "./kept-certificate.ts";
import type { Listener } from "./listener.ts";

export interface ReloadParts {
  listener: Pick<Listener, "trust">;
  certificate: Pick<KeptCertificate, "renew">;
  audit: Pick<KeptAudit, "replace">;
}

/** `running`: what the proxy was started with. What is returned throws where something can't be taken over. */
export function createReload(
  running: ProxyConfig,
  { listener, certificate, audit }: ReloadParts,
): (config: Config) => Promise<void> {
  let service = running;
  return async ({ proxy: next, file }) => {
    if (next === undefined) {
      throw new Failure("config", `${file ?? "configuration"}: proxy_service is not enabled any more`, {
        hint: "stop the proxy, if that is what it is to mean",
      });
    }
    const wanted = takenOver(service, next);
    await certificate.renew(wanted);
    listener.trust(next.trustedProxies);
    service = wanted;
    await audit.replace(next.audit);
  };
}

/** From a certificate that was given to one of our own, or back, is another trust for everybody: a restart. */
function takenOver(service: ProxyConfig, next: ProxyConfig): ProxyConfig {
  const { certFile: _cert, keyFile: _key, ...others } = service;
  const { certFile, keyFile } = (service.certFile === undefined) === (next.certFile === undefined) ? next : service;
  const given = certFile === undefined || keyFile === undefined ? {} : { certFile, keyFile };
  return { ...others, ...given, trustedProxies: next.trustedProxies };
}
