/** An agent's request to STS, signed by the agent's own code; the stand-in checks the signature that arrives. */
import { describe, expect, test } from "bun:test";
import { signIdentityRequest } from "../../src/agent/identity-request.ts";
import { type SignedIdentityRequest, STS_HOSTS, stsHost } from "../../src/identity/sts.ts";
import { askCallerIdentity, type Fetch } from "../../src/proxy/caller-identity.ts";
import { awsIdentity, standInSts } from "../fixtures/aws.ts";

const ROLE = awsIdentity("111111111111", "arn:aws:sts::111111111111:assumed-role/mcp/i-0123456789abcdef0");
const USER = awsIdentity("222222222222", "arn:aws:iam::222222222222:user/alice", false);
const JOIN = { nonce: "n".repeat(75), jkt: "j".repeat(43), url: "https://mcpgate.example.com/v1/join" };

const credentialsOf = ({ accessKeyId, secretAccessKey, sessionToken }: typeof ROLE) => ({
  accessKeyId,
  secretAccessKey,
  ...(sessionToken === undefined ? {} : { sessionToken }),
});
const sign = (who = ROLE, o: Partial<typeof JOIN> & { region?: string; env?: Record<string, string> } = {}) =>
  signIdentityRequest({ ...JOIN, region: "eu-west-1", env: {}, credentials: credentialsOf(who), ...o });
const ask = (request: SignedIdentityRequest, o: { fetch?: Fetch; timeoutMs?: number } & Partial<typeof JOIN> = {}) =>
  askCallerIdentity(request, { ...JOIN, fetch: standInSts([ROLE, USER]).fetch, ...o });
const reason = (asked: Promise<unknown>): Promise<string> =>
  asked.then(
    () => "let in",
    (error: Error & { code?: string }) => `${error.code}: ${error.message}`,
  );

describe("believed", () => {
  test("temporary credentials, in the region's own endpoint", async () => {
    const sts = standInSts([ROLE]);
    expect(await ask(await sign(), sts)).toEqual({ account: ROLE.account, arn: ROLE.arn });
    expect(sts.calls).toHaveLength(1);
    expect(sts.calls[0]).toMatchObject({
      url: "https://sts.eu-west-1.amazonaws.com/",
      body: "Action=GetCallerIdentity&Version=2011-06-15",
      redirect: "manual",
    });
    expect(Object.keys(sts.calls[0]?.headers ?? {}).sort()).toEqual([
      "accept",
      "authorization",
      "content-type",
      "x-amz-date",
      "x-amz-security-token",
      "x-mcpgate-challenge",
    ]);
  });

  test("a user's keys, which have no token", async () => {
    expect(await ask(await sign(USER))).toEqual({ account: USER.account, arn: USER.arn });
  });

  const places: [region: string, env: Record<string, string>, host: string][] = [
    ["us-east-1", {}, "sts.us-east-1.amazonaws.com"],
    ["cn-north-1", {}, "sts.cn-north-1.amazonaws.com.cn"],
    ["us-gov-west-1", {}, "sts.us-gov-west-1.amazonaws.com"],
    ["us-gov-west-1", { AWS_USE_FIPS_ENDPOINT: "true" }, "sts.us-gov-west-1.amazonaws.com"],
    ["us-west-2", { AWS_USE_FIPS_ENDPOINT: "true" }, "sts-fips.us-west-2.amazonaws.com"],
    ["eu-west-1", { AWS_USE_FIPS_ENDPOINT: "true" }, "sts-fips.us-east-1.amazonaws.com"],
    ["xx-new-1", {}, "sts.us-east-1.amazonaws.com"],
  ];
  for (const [region, env, host] of places) {
    test(`in ${region}${Object.keys(env).join()} by ${host}`, async () => {
      const request = await sign(ROLE, { region, env });
      expect(request.host).toBe(host);
      expect(await ask(request)).toMatchObject({ account: ROLE.account });
    });
  }
});

describe("the endpoint", () => {
  test("is one of AWS's own, letter by letter", () => {
    expect(STS_HOSTS.size).toBeGreaterThan(40);
    for (const host of STS_HOSTS.keys()) {
      expect(host).toMatch(/^sts(-fips)?(\.[a-z]{2,4}(-[a-z]+)+-\d)?\.amazonaws\.(com|com\.cn|eu)$/);
    }
    expect(stsHost("s3-us-west-2", { fips: false })).toBeUndefined();
  });

  for (const host of [
    "evil.example.com",
    "sts.amazonaws.com.evil.example.com",
    "sts.us-east-1.amazonaws.com.",
    "STS.us-east-1.amazonaws.com",
    "sts.us-east-1.amazonaws.com:443",
    "sts.us-east-1.amazonaws.com/x?",
    "evil@sts.us-east-1.amazonaws.com",
    "sts.s3-us-west-2.amazonaws.com",
    "sts.xx-nowhere-1.amazonaws.com",
    "sts.us-east-1.amazonaws.com.cn",
    "sts.amazonaws.com\r\nHost: evil.example.com",
    "169.254.169.254",
    "",
  ]) {
    test(`is not ${JSON.stringify(host)}`, async () => {
      const sts = standInSts([ROLE]);
      const request = { ...(await sign()), host };
      expect(await reason(ask(request, sts))).toContain("is no endpoint of STS");
      expect(sts.calls).toEqual([]);
    });
  }
});

describe("the request is sent to nobody", () => {
  const cases: [
    name: string,
    change: (request: SignedIdentityRequest) => Partial<SignedIdentityRequest>,
    why: string,
  ][] = [
    [
      "the challenge unsigned",
      ({ authorization: a }) => ({ authorization: a.replace(";x-mcpgate-challenge", "") }),
      "it signs the headers",
    ],
    [
      "another header signed",
      ({ authorization: a }) => ({ authorization: a.replace(";host", ";host;x-forwarded-host") }),
      "it signs the headers",
    ],
    [
      "the host unsigned",
      ({ authorization: a }) => ({ authorization: a.replace(";host", "") }),
      "it signs the headers",
    ],
    [
      "another endpoint's region",
      () => ({ host: "sts.eu-west-2.amazonaws.com" }),
      "its signature is for the region eu-west-1",
    ],
    [
      "another service",
      ({ authorization: a }) => ({ authorization: a.replace("/sts/", "/s3/") }),
      "its Authorization is no signature",
    ],
    ["no signature", () => ({ authorization: "" }), "its Authorization is no signature"],
    ["a bearer", () => ({ authorization: "Bearer x" }), "its Authorization is no signature"],
    [
      "another algorithm",
      ({ authorization: a }) => ({ authorization: a.replace("HMAC", "ECDSA-P256") }),
      "its Authorization is no signature",
    ],
    [
      "a header hidden in the signature",
      ({ authorization: a }) => ({ authorization: `${a}\r\nX-Evil: 1` }),
      "its Authorization is no signature",
    ],
    [
      "a header hidden in the date",
      ({ amz_date: d }) => ({ amz_date: `${d}\r\nX-Evil: 1` }),
      "its X-Amz-Date is no time",
    ],
    ["another day", () => ({ amz_date: "20200101T000000Z" }), "its X-Amz-Date is no time, or not of the day"],
    ["a header hidden in the token", () => ({ security_token: "x\r\nX-Evil: 1" }), "its X-Amz-Security-Token is none"],
    ["an empty token", () => ({ security_token: "" }), "its X-Amz-Security-Token is none"],
    ["a token left out", () => ({ security_token: undefined }), "it signs the headers"],
  ];
  for (const [name, change, why] of cases) {
    test(name, async () => {
      const sts = standInSts([ROLE]);
      const request = await sign();
      expect(await reason(ask({ ...request, ...change(request) }, sts))).toStartWith(`token_invalid: ${why}`);
      expect(sts.calls).toEqual([]);
    });
  }

  test("the token of a user who has none", async () => {
    expect(await reason(ask({ ...(await sign(USER)), security_token: "x" }))).toContain("it signs the headers");
  });
});

describe("STS does not know the signature", () => {
  const signed: [name: string, o: Parameters<typeof sign>[1]][] = [
    ["over another nonce", { nonce: "m".repeat(75) }],
    ["for another agent's key", { jkt: "k".repeat(43) }],
    ["for another proxy", { url: "https://evil.example.com/v1/join" }],
  ];
  for (const [name, o] of signed) {
    test(name, async () => {
      expect(await reason(ask(await sign(ROLE, o)))).toBe("token_invalid: STS answered with status 403");
    });
  }
  test("of another secret", async () => {
    const forged = await sign({ ...ROLE, secretAccessKey: "x" });
    expect(await reason(ask(forged))).toBe("token_invalid: STS answered with status 403");
  });
  test("of a key that nobody has", async () => {
    expect(await reason(ask(await sign(awsIdentity("1", "x"))))).toBe("token_invalid: STS answered with status 403");
  });
  test("with another's session token", async () => {
    const forged = { ...(await sign()), security_token: "x".repeat(400) };
    expect(await reason(ask(forged))).toBe("token_invalid: STS answered with status 403");
  });
  test("an hour later", async () => {
    const { fetch } = standInSts([ROLE], () => Date.now() + 3_600_000);
    expect(await reason(ask(await sign(), { fetch }))).toBe("token_invalid: STS answered with status 403");
  });
});

describe("an answer that is none", () => {
  const result = (Account: unknown, Arn: unknown) =>
    Response.json({ GetCallerIdentityResponse: { GetCallerIdentityResult: { Account, Arn } } });
  const endless = () =>
    new ReadableStream({
      pull(controller) {
        controller.enqueue(new Uint8Array(4096).fill(0x20));
      },
    });
  const cases: [name: string, answer: () => Response | Promise<Response>, why: string][] = [
    [
      "a redirect",
      () => new Response(null, { status: 302, headers: { location: "https://evil.example.com/" } }),
      "STS answered with status 302",
    ],
    ["an error", () => new Response("{}", { status: 500 }), "STS answered with status 500"],
    ["XML", () => new Response("<GetCallerIdentityResponse/>"), "something that is no caller identity"],
    ["nothing", () => new Response(""), "something that is no caller identity"],
    ["an endless one", () => new Response(endless()), "the answer of STS is over 16 KiB"],
    ["no account", () => result("", ROLE.arn), "something that is no caller identity"],
    ["a number", () => result(111111111111, ROLE.arn), "something that is no caller identity"],
    ["no ARN", () => result(ROLE.account, ""), "something that is no caller identity"],
    ["an ARN with a line in it", () => result(ROLE.account, `${ROLE.arn}\n`), "something that is no caller identity"],
    ["an ARN of another account", () => result("999999999999", ROLE.arn), "an ARN of another account"],
    [
      "no connection",
      () => Promise.reject(new Error("ECONNREFUSED")),
      "STS can't be reached at sts.eu-west-1.amazonaws.com: ECONNREFUSED",
    ],
  ];
  for (const [name, answer, why] of cases) {
    test(name, async () => {
      expect(await reason(ask(await sign(), { fetch: async () => answer() }))).toContain(why);
    });
  }

  test("none in time", async () => {
    const slow: Fetch = (_, { signal }) =>
      new Promise((_resolve, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
    expect(await reason(ask(await sign(), { fetch: slow, timeoutMs: 20 }))).toContain("STS can't be reached");
  });

  test("a real server that redirects is not followed", async () => {
    const asked: string[] = [];
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch(request) {
        asked.push(new URL(request.url).pathname);
        return Response.redirect("/elsewhere", 307);
      },
    });
    const through: Fetch = (_url, init) => fetch(`http://127.0.0.1:${server.port}/`, { ...init, tls: {} });
    expect(await reason(ask(await sign(), { fetch: through }))).toContain("STS answered with status 307");
    expect(asked).toEqual(["/"]);
    await server.stop(true);
  });
});
