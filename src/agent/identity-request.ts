/**
 * Signs the request by which AWS tells the proxy whose credentials this host has (signature version 4). The credentials are
 * found as AWS's own tools find them (environment, shared files, web identity, container, instance), by AWS's own library:
 * that order, and what each source means, is theirs to say.
 */
import { Failure } from "../errors.ts";
import { joinChallenge, type SignedIdentityRequest, STS_BODY, stsHeaders, stsHost } from "../identity/sts.ts";
import { askInstance } from "./instance-metadata.ts";

type Env = Record<string, string | undefined>;

interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}

export interface SigningOptions {
  /** From the proxy, for this one join. */
  nonce: string;
  /** Thumbprint of the key that joins. */
  jkt: string;
  /** Where it joins. */
  url: string;
  credentials: Credentials;
  region: string;
  env: Env;
  now?: () => Date;
}

const CREDENTIALS_MS = 30_000;
/** Where a region is none that this release knows: any other of AWS's commercial ones knows the same identities. */
const COMMON_REGION = "us-east-1";

/** What this host has. Throws `Failure("config")` where it has none, or they can't be had. */
export async function loadAwsCredentials(): Promise<Credentials> {
  const { defaultProvider } = await import("@aws-sdk/credential-provider-node");
  const timeout = Promise.withResolvers<never>();
  const timer = setTimeout(() => timeout.reject(new Error("they did not come in 30 s")), CREDENTIALS_MS);
  try {
    return await Promise.race([defaultProvider()(), timeout.promise]);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new Failure("config", `join_params.method is iam, and this host has no AWS credentials: ${why}`, {
      hint: "attach an IAM role to the instance or the task (it needs no permissions), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
      cause,
    });
  } finally {
    clearTimeout(timer);
  }
}

/** AWS_REGION, or the shared files' region, or the one that this instance is in; else the common one. */
export async function findAwsRegion(env: Env): Promise<string> {
  const named = env.AWS_REGION || env.AWS_DEFAULT_REGION;
  if (named) return named;
  const { loadConfig, NODE_REGION_CONFIG_OPTIONS } = await import("@smithy/core/config");
  const { default: _, ...selectors } = NODE_REGION_CONFIG_OPTIONS;
  const shared = await loadConfig<string | undefined>({ ...selectors, default: () => undefined })().catch(
    () => undefined,
  );
  return shared ?? (await askInstance("/latest/meta-data/placement/region", env).catch(() => COMMON_REGION));
}

export async function signIdentityRequest(o: SigningOptions): Promise<SignedIdentityRequest> {
  const { SignatureV4 } = await import("@smithy/signature-v4");
  const { Hash } = await import("@smithy/core/serde");
  const { host, region } = hostFor(o.region, o.env);
  const signer = new SignatureV4({
    service: "sts",
    region,
    credentials: o.credentials,
    sha256: Hash.bind(null, "sha256"),
    applyChecksum: false,
  });
  const signingDate = o.now?.() ?? new Date();
  const amzDate = signingDate.toISOString().replace(/[-:]|\.\d+/g, "");
  const headers = stsHeaders({
    challenge: joinChallenge(o),
    amzDate,
    securityToken: o.credentials.sessionToken,
  });
  const request = { method: "POST", protocol: "https:", hostname: host, path: "/", query: {}, body: STS_BODY };
  const signed = await signer.sign({ ...request, headers: { ...headers, host } }, { signingDate });
  return {
    host,
    authorization: signed.headers.authorization ?? "",
    amz_date: amzDate,
    ...(o.credentials.sessionToken === undefined ? {} : { security_token: o.credentials.sessionToken }),
  };
}

function hostFor(region: string, env: Env): { host: string; region: string } {
  const fips = env.AWS_USE_FIPS_ENDPOINT?.toLowerCase() === "true";
  for (const each of [region, COMMON_REGION]) {
    const host = stsHost(each, { fips });
    if (host !== undefined) return { host, region: each };
  }
  throw new Failure("internal", `there is no endpoint of STS for ${region}`);
}
