/**
 * Whose AWS credentials a host has, by AWS's word: the request that the agent signed is checked, built anew and sent to
 * STS. Nothing that a stranger says is passed on but a signature, its time and the session token that goes with it.
 */
import * as v from "valibot";
import { Failure, messageOf } from "../errors.ts";
import {
  joinChallenge,
  type SignedIdentityRequest,
  STS_BODY,
  STS_HOSTS,
  signedHeaderNames,
  stsHeaders,
} from "../identity/sts.ts";
import { readText, tlsOptions } from "../link/trust.ts";

export interface CallerIdentity {
  /** Twelve digits. */
  account: string;
  /** Of the user or the assumed role. */
  arn: string;
}

export interface StsOptions {
  /** What was challenged: `joinChallenge`. */
  nonce: string;
  jkt: string;
  url: string;
  /** How STS is reached; a test's own. */
  fetch?: Fetch | undefined;
  timeoutMs?: number | undefined;
}

export type Fetch = (url: string, init: BunFetchRequestInit) => Promise<Response>;

const TIMEOUT_MS = 10_000;
/** An answer is half a KiB. */
const MAX_ANSWER = 16 * 1024;
const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=[A-Z0-9]{16,128}\/(\d{8})\/([a-z0-9-]{1,32})\/sts\/aws4_request, SignedHeaders=([a-z0-9;-]{1,256}), Signature=[0-9a-f]{64}$/;

const answer = v.object({
  GetCallerIdentityResponse: v.object({
    GetCallerIdentityResult: v.object({
      Account: v.pipe(v.string(), v.regex(/^\d{12}$/)),
      Arn: v.pipe(v.string(), v.regex(/^arn:aws[a-z-]{0,16}:(iam|sts)::\d{12}:[\x21-\x7e]{1,2000}$/)),
    }),
  }),
});

/** Throws a `Failure("token_invalid")` that says what is wrong with the request, or what STS said. */
export async function askCallerIdentity(request: SignedIdentityRequest, o: StsOptions): Promise<CallerIdentity> {
  const headers = checkRequest(request, joinChallenge(o));
  const response = await send(request.host, headers, o);
  if (response.status !== 200) {
    await response.body?.cancel();
    throw refused(`STS answered with status ${response.status}`);
  }
  const text = await readText(response, MAX_ANSWER).catch((error: unknown) => {
    throw refused("the answer of STS broke off", error);
  });
  if (text === undefined) throw refused(`the answer of STS is over ${MAX_ANSWER / 1024} KiB`);
  const parsed = v.safeParse(answer, parseJson(text));
  if (!parsed.success) throw refused("STS answered with something that is no caller identity");
  const { Account: account, Arn: arn } = parsed.output.GetCallerIdentityResponse.GetCallerIdentityResult;
  if (arn.split(":")[4] !== account) throw refused("STS named an ARN of another account than the account");
  return { account, arn };
}

function checkRequest(request: SignedIdentityRequest, challenge: string): Record<string, string> {
  const region = STS_HOSTS.get(request.host);
  if (region === undefined) {
    throw refused(`${JSON.stringify(request.host.slice(0, 100))} is no endpoint of STS that this release knows`);
  }
  const [matched, day, scope, signed] = AUTHORIZATION.exec(request.authorization) ?? [];
  if (matched === undefined) throw refused("its Authorization is no signature of version 4 for STS");
  if (!/^\d{8}T\d{6}Z$/.test(request.amz_date) || request.amz_date.slice(0, 8) !== day) {
    throw refused("its X-Amz-Date is no time, or not of the day that the signature is for");
  }
  if (scope !== region) throw refused(`its signature is for the region ${scope}, and the endpoint is in ${region}`);
  const token = request.security_token;
  if (token !== undefined && !/^[\x21-\x7e]{1,8192}$/.test(token)) throw refused("its X-Amz-Security-Token is none");
  const headers = stsHeaders({ challenge, amzDate: request.amz_date, securityToken: token });
  // All that is sent is signed, the challenge among it: STS checks the signature over our challenge, not the stranger's.
  if (signed !== signedHeaderNames(headers)) {
    throw refused(`it signs the headers ${signed}, and not ${signedHeaderNames(headers)}`);
  }
  return { ...headers, authorization: request.authorization };
}

async function send(host: string, headers: Record<string, string>, o: StsOptions): Promise<Response> {
  const send = o.fetch ?? fetch;
  try {
    return await send(`https://${host}/`, {
      method: "POST",
      headers,
      body: STS_BODY,
      // an answer from elsewhere is nobody's word
      redirect: "manual",
      signal: AbortSignal.timeout(o.timeoutMs ?? TIMEOUT_MS),
      tls: tlsOptions({ proxy: { host, port: 443 } }),
    });
  } catch (error) {
    const why = messageOf(error);
    throw refused(`STS can't be reached at ${host}: ${why}`, error);
  }
}

const refused = (why: string, cause?: unknown): Failure => new Failure("token_invalid", why, { cause });

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
