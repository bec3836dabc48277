/**
 * The one request to AWS's STS by which a host shows whose credentials it has (`join_params.method: iam`): signed by the
 * agent, sent by the proxy. Both ends build it here from the same few values, so that what was signed is what is sent, and
 * nothing else can be asked for.
 */
import { createHash } from "node:crypto";

/** Regions by the name that their endpoints end with; from the endpoint data that AWS publishes with its SDKs. */
const REGIONS: Record<string, string> = {
  "amazonaws.com":
    "af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2 ap-southeast-1 " +
    "ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7 ca-central-1 ca-west-1 " +
    "eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2 eu-west-1 eu-west-2 eu-west-3 il-central-1 me-central-1 " +
    "me-south-1 mx-central-1 sa-east-1 us-east-1 us-east-2 us-gov-east-1 us-gov-west-1 us-west-1 us-west-2",
  "amazonaws.com.cn": "cn-north-1 cn-northwest-1",
  "amazonaws.eu": "eusc-de-east-1",
};
/** Those with an endpoint of their own for FIPS 140; in GovCloud the common one is. */
const FIPS_REGIONS = ["us-east-1", "us-east-2", "us-west-1", "us-west-2"];

/**
 * Every host that may be asked, and the region that a signature for it names. A list and no pattern: who chooses the host
 * that says who they are, is whoever they like, and not every name under amazonaws.com is AWS's own to answer.
 */
export const STS_HOSTS: ReadonlyMap<string, string> = new Map([
  ["sts.amazonaws.com", "us-east-1"],
  ...Object.entries(REGIONS).flatMap(([suffix, regions]) =>
    regions.split(" ").map((region): [string, string] => [`sts.${region}.${suffix}`, region]),
  ),
  ...FIPS_REGIONS.map((region): [string, string] => [`sts-fips.${region}.amazonaws.com`, region]),
]);

/** The host for a region; undefined for one that this release does not know, or that has none for FIPS. */
export function stsHost(region: string, { fips }: { fips: boolean }): string | undefined {
  const own = fips && !region.startsWith("us-gov-") ? "sts-fips" : "sts";
  for (const [host, named] of STS_HOSTS) if (named === region && host.startsWith(`${own}.${region}.`)) return host;
  return undefined;
}

/** What the agent sends: the few values of the request that are its own. */
export interface SignedIdentityRequest {
  host: string;
  /** The header `Authorization`, signature version 4. */
  authorization: string;
  /** `20261123T052400Z` */
  amz_date: string;
  /** Of temporary credentials. */
  security_token?: string | undefined;
}

const CHALLENGE_HEADER = "x-mcpgate-challenge";
export const STS_BODY = "Action=GetCallerIdentity&Version=2011-06-15";

/** Every header that is signed, and no others; lower case, sorted. `host` and `content-length` follow from the rest. */
export function stsHeaders(o: { challenge: string; amzDate: string; securityToken: string | undefined }) {
  return {
    accept: "application/json",
    "content-type": "application/x-www-form-urlencoded; charset=utf-8",
    "x-amz-date": o.amzDate,
    ...(o.securityToken === undefined ? {} : { "x-amz-security-token": o.securityToken }),
    [CHALLENGE_HEADER]: o.challenge,
  };
}

/** As `SignedHeaders` has to have them. */
export const signedHeaderNames = (headers: Record<string, string>): string =>
  [...Object.keys(headers), "host"].sort().join(";");

/**
 * What the signature is for: this one join, of this key, at this proxy. A request that was copied, or signed for somebody
 * else's proxy, is worth nothing. `jkt`: thumbprint of the agent's key. `url`: where it joins, as `publicUrl` spells it.
 */
export function joinChallenge({ nonce, jkt, url }: { nonce: string; jkt: string; url: string }): string {
  return createHash("sha256").update(`mcpgate join by iam, version 1\n${url}\n${jkt}\n${nonce}`).digest("base64url");
}
