/** What anybody may ask: which release this is, the CA to check against a pin, and a nonce for a proof. */
import type { Hono } from "hono";
import { formatHostPort } from "../../config/host-port.ts";
import { Failure } from "../../errors.ts";
import { LOGIN_TTL } from "../../store/logins.ts";
import { MIN_CLIENT_VERSION, VERSION } from "../../version.ts";
import type { ApiEnv } from "./actor.ts";
import type { ApiDeps } from "./deps.ts";
import { MIN_PASSWORD } from "./passwords.ts";

export function discoveryRoutes(app: Hono<ApiEnv>, { config, nonces }: ApiDeps): void {
  app.get("/v1/webapi/find", (c) =>
    c.json({
      server_version: VERSION,
      min_client_version: MIN_CLIENT_VERSION,
      cluster_name: config.clusterName,
      auth: { type: "local", second_factor: "off", login_ttl: LOGIN_TTL, min_password_length: MIN_PASSWORD },
      proxy: { public_addr: formatHostPort(config.publicAddr) },
    }),
  );

  app.get("/v1/webapi/ca", (c) => {
    if (config.caPem !== undefined) return c.json({ ca_pem: config.caPem });
    throw new Failure("not_found", "this proxy has no CA of its own: its certificate is checked as a web site's", {
      hint: "leave the CA pin out",
    });
  });

  app.get("/v1/nonce", (c) => {
    const nonce = nonces.issue();
    c.header("dpop-nonce", nonce);
    return c.json({ nonce });
  });
}

/** What agents and clients keep of the cluster when they join or log in. */
export function clusterJson({ config }: ApiDeps) {
  return {
    cluster_name: config.clusterName,
    public_addr: formatHostPort(config.publicAddr),
    signing_keys: config.signingKeys,
    ...(config.caPem === undefined ? {} : { ca_pem: config.caPem }),
  };
}
