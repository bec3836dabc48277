/** What this host shows to join, by `join_params.method`. */
import * as v from "valibot";
import type { JoinConfig } from "../config/config.ts";
import { loadJoinToken } from "../config/join-token.ts";
import type { KeyPair } from "../identity/keys.ts";
import { publicUrl } from "../identity/url.ts";
import { request } from "../link/request.ts";
import type { Trust } from "../link/trust.ts";

export const JOIN_PATH = "/v1/join";

/** The part of the request's body that lets this host in, for that proxy and that key. */
export type GatherEvidence = (trust: Trust, key: KeyPair) => Promise<Record<string, unknown>>;

/** What is wrong with the configuration is thrown here, before anything is sent. */
export function gatherEvidence(
  join: JoinConfig,
  env: Record<string, string | undefined> = process.env,
): GatherEvidence {
  if (join.method === "token") {
    const token = loadJoinToken(join);
    return async () => ({ token });
  }
  const { tokenName: token } = join;
  if (join.method === "ec2") {
    return async () => {
      const { askInstance } = await import("./instance-metadata.ts");
      return { token, ec2: { message: await askInstance("/latest/dynamic/instance-identity/rsa2048", env) } };
    };
  }
  return async (trust, { jkt }) => {
    const { findAwsRegion, loadAwsCredentials, signIdentityRequest } = await import("./identity-request.ts");
    const [credentials, region] = await Promise.all([loadAwsCredentials(), findAwsRegion(env)]);
    // the last of all: it is good for a minute
    const schema = v.object({ nonce: v.string() });
    const { nonce } = await request({ trust, method: "GET", path: "/v1/nonce", schema });
    const url = publicUrl(trust.proxy, JOIN_PATH);
    return { token, iam: { nonce, ...(await signIdentityRequest({ nonce, jkt, url, credentials, region, env })) } };
  };
}
