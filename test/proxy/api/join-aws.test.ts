/** Joins by `method: iam` and `method: ec2` at the API: what is let in, once, and what strangers and the audit log hear. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { signIdentityRequest } from "../../../src/agent/identity-request.ts";
import { generateKeyPair, type KeyPair } from "../../../src/identity/keys.ts";
import { publicUrl } from "../../../src/identity/url.ts";
import { putLock } from "../../../src/store/locks.ts";
import { awsIdentity, awsRegion, instanceDocument, signDocument, standInSts } from "../../fixtures/aws.ts";
import { type Answer, type Fixture, OUTSIDE, openFixture } from "./fixture.ts";

const ROLE = awsIdentity("111111111111", "arn:aws:sts::111111111111:assumed-role/mcp-host/i-0123456789abcdef0");
const OTHER = awsIdentity("999999999999", "arn:aws:sts::999999999999:assumed-role/mcp-host/i-0123456789abcdef0");
const west = await awsRegion("us-west-2");

let f: Fixture;
let sts: ReturnType<typeof standInSts>;
let directory: string;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "mcpgate-join-"));
  writeFileSync(join(directory, "us-west-2.pem"), west.certificatePem);
  sts = standInSts([ROLE, OTHER], () => f.clock.now);
  f = await openFixture({ awsCertificates: directory }, { fetchSts: (url, init) => sts.fetch(url, init) });
});
afterEach(async () => {
  await f.close();
  rmSync(directory, { recursive: true, force: true });
});

const put = async (name: string, spec: object, metadata: object = {}): Promise<Answer> =>
  f.admin("PUT", `/v1/api/tokens/documents/${name}`, {
    kind: "token",
    version: "v2",
    metadata: { name, ...metadata },
    spec: { roles: ["App"], ...spec },
  });
const iamToken = (rule: object = { aws_account: ROLE.account }, metadata?: object) =>
  put("aws", { join_method: "iam", allow: [rule] }, metadata);
const ec2Token = (more: object = {}) =>
  put("ec2", { join_method: "ec2", allow: [{ aws_account: ROLE.account, aws_regions: ["us-west-2"] }], ...more });

const nonce = async (): Promise<string> => (await f.send("GET", "/v1/nonce")).body.nonce;
const url = () => publicUrl(f.publicAddr, "/v1/join");

async function iamBody(key: KeyPair, o: { who?: typeof ROLE; nonce?: string } = {}) {
  const used = o.nonce ?? (await nonce());
  const { accessKeyId, secretAccessKey, sessionToken = "" } = o.who ?? ROLE;
  const signed = await signIdentityRequest({
    ...{ nonce: used, jkt: key.jkt, url: url(), region: "us-west-2", env: {}, now: () => new Date(f.clock.now) },
    credentials: { accessKeyId, secretAccessKey, sessionToken },
  });
  return { token: "aws", name: "host-a", iam: { nonce: used, ...signed } };
}
const join_ = (key: KeyPair, body: object) => f.send("POST", "/v1/join", { key, body });
const agents = () => f.store.selectFrom("agents").select("name").execute();
const lastJoin = async () => (await f.events("agent.join")).at(-1);

/** What every stranger hears who is not let in, whatever the reason. */
const NO = {
  code: "token_invalid",
  message: "this host may not join with that token",
  hint: "the proxy's audit log says why; on its host: mcpgate audit ls --event=agent.join",
};

describe("iam", () => {
  test("an identity that a rule allows registers its key, and the event says who it was", async () => {
    await iamToken({ aws_account: ROLE.account, aws_arn: "arn:aws:sts::111111111111:assumed-role/mcp-*/i-*" });
    const key = await generateKeyPair();
    const answer = await join_(key, await iamBody(key));
    expect([answer.status, answer.body.agent_name]).toEqual([200, "host-a"]);
    expect(await lastJoin()).toMatchObject({
      agent: "host-a",
      success: true,
      remote: OUTSIDE.remote,
      details: { agent_id: answer.body.agent_id, method: "iam", token: "aws", account: ROLE.account, arn: ROLE.arn },
    });
    const said = JSON.stringify([await f.events(), f.logged, answer.body]);
    for (const secret of [ROLE.secretAccessKey, ROLE.sessionToken, ROLE.accessKeyId])
      expect(said).not.toContain(secret);
  });

  const refusals: [name: string, why: string, attempt: (key: KeyPair) => Promise<object>][] = [
    ["another account", `no rule of the token aws allows ${OTHER.arn}`, (key) => iamBody(key, { who: OTHER })],
    [
      "an unknown challenge",
      "its challenge is unknown, used or too old",
      (key) => iamBody(key, { nonce: "x".repeat(75) }),
    ],
    [
      "no challenge of this proxy in what was signed",
      "STS answered with status 403",
      async (key) => {
        const body = await iamBody(key);
        return { ...body, iam: { ...body.iam, nonce: await nonce() } };
      },
    ],
    ["what another key's agent signed", "STS answered with status 403", async () => iamBody(await generateKeyPair())],
    [
      "an endpoint of its own",
      '"evil.example.com" is no endpoint of STS that this release knows',
      async (key) => {
        const body = await iamBody(key);
        return { ...body, iam: { ...body.iam, host: "evil.example.com" } };
      },
    ],
    [
      "no such token",
      "there is no such token, or it has expired",
      async (key) => ({ ...(await iamBody(key)), token: "gcp" }),
    ],
    [
      "a token of another method",
      "the token ec2 is for the method ec2, not iam",
      async (key) => ({ ...(await iamBody(key)), token: "ec2" }),
    ],
  ];
  for (const [name, why, attempt] of refusals) {
    test(`refused: ${name}`, async () => {
      await iamToken();
      await ec2Token();
      const key = await generateKeyPair();
      const answer = await join_(key, await attempt(key));
      expect([answer.status, answer.body.error]).toEqual([403, NO]);
      expect(await lastJoin()).toMatchObject({
        agent: "host-a",
        success: false,
        error: why,
        details: { method: "iam" },
      });
      expect(await agents()).toEqual([]);
    });
  }

  test("a request that was let in is worth nothing again, with its key or with another", async () => {
    await iamToken();
    const key = await generateKeyPair();
    const body = await iamBody(key);
    expect((await join_(key, body)).status).toBe(200);
    for (const again of [key, await generateKeyPair()]) {
      expect((await join_(again, { ...body, name: "host-b" })).body.error).toEqual(NO);
      expect(await lastJoin()).toMatchObject({ error: "its challenge is unknown, used or too old" });
    }
    expect(sts.calls).toHaveLength(1);
    expect(await agents()).toEqual([{ name: "host-a" }]);
  });

  test("a glob holds for the whole ARN", async () => {
    await iamToken({ aws_account: ROLE.account, aws_arn: "arn:aws:sts::111111111111:assumed-role/mcp-host" });
    const key = await generateKeyPair();
    expect((await join_(key, await iamBody(key))).body.error).toEqual(NO);
  });

  test("a secret in the place of a name is not told to the log, and a name in the place of a secret lets nobody in", async () => {
    await iamToken();
    const { token } = (await f.admin("POST", "/v1/api/tokens", { type: "app" })).body;
    const key = await generateKeyPair();
    expect((await join_(key, { ...(await iamBody(key)), token })).body.error).toEqual(NO);
    expect(JSON.stringify(await f.events())).not.toContain(token);
    const plain = await join_(key, { token: "aws", name: "host-a" });
    expect([plain.status, plain.body.error.code]).toEqual([403, "token_invalid"]);
  });

  test("what cannot be said is not understood", async () => {
    await iamToken();
    const key = await generateKeyPair();
    const body = await iamBody(key);
    for (const more of [{ method: "GET" }, { body: "Action=AssumeRole" }, { path: "/x" }, { headers: { host: "x" } }]) {
      const answer = await join_(key, { ...body, iam: { ...body.iam, ...more } });
      expect([answer.status, answer.body.error.message]).toEqual([400, expect.stringContaining("unknown key")]);
    }
    expect((await join_(key, { ...body, ec2: { message: "x" } })).status).toBe(400);
    const long = await join_(key, { ...body, iam: { ...body.iam, security_token: "x".repeat(9000) } });
    expect(long.body.error.message).toBe("iam.security_token: at most 8192 characters");
  });

  test("a token that has expired, or was removed while AWS was asked, lets nobody in", async () => {
    await iamToken({ aws_account: ROLE.account }, { expires: new Date(f.clock.now + 60_000).toISOString() });
    const key = await generateKeyPair();
    const asking = sts.fetch;
    sts.fetch = async (...args) => {
      await f.admin("POST", "/v1/api/tokens/revoke", { token: "aws" });
      return asking(...args);
    };
    expect((await join_(key, await iamBody(key))).body.error).toEqual(NO);
    sts.fetch = asking;
    await iamToken({ aws_account: ROLE.account }, { expires: new Date(f.clock.now + 60_000).toISOString() });
    f.clock.now += 60_000;
    expect((await join_(key, await iamBody(key))).body.error).toEqual(NO);
    expect(await lastJoin()).toMatchObject({ error: "there is no such token, or it has expired" });
  });

  test("a locked name stays locked, and its agent hears why", async () => {
    await iamToken();
    const spec = { name: undefined, kind: "agent", target: "host-a", message: "stolen", expiresAt: undefined } as const;
    await putLock(f.store, spec, { replace: false, createdBy: "uid:0", now: f.clock.now });
    const key = await generateKeyPair();
    expect((await join_(key, await iamBody(key))).body.error).toMatchObject({ code: "locked" });
  });

  test("few requests to AWS at once, and few failures from one address", async () => {
    await iamToken();
    const { promise, resolve } = Promise.withResolvers<void>();
    const asking = sts.fetch;
    let [asked, refused] = [0, 0];
    sts.fetch = async (...args) => {
      asked += 1;
      await promise;
      return asking(...args);
    };
    const all = Array.from({ length: 12 }, async (_, index) => {
      const key = await generateKeyPair();
      const answer = await join_(key, { ...(await iamBody(key)), name: `host-${index}` });
      if (answer.status === 503 && ++refused === 4) resolve();
      return answer.status;
    });
    const statuses = await Promise.all(all);
    expect([asked, statuses.filter((status) => status === 200).length]).toEqual([8, 8]);
    expect(statuses.filter((status) => status === 503)).toHaveLength(4);

    sts.fetch = asking;
    const key = await generateKeyPair();
    // what found no room was no failure
    const wrong = { ...(await iamBody(key)), token: "gcp" };
    for (let i = 0; i < 60; i++) expect((await join_(key, wrong)).status).toBe(403);
    expect((await join_(key, await iamBody(key))).status).toBe(429);
  });
});

describe("ec2", () => {
  const message = (more: object = {}, o?: Parameters<typeof signDocument>[2]) => {
    const pendingTime = new Date(f.clock.now - 60_000).toISOString();
    return signDocument(instanceDocument({ pendingTime, ...more }), west.privateKey, o);
  };
  const body = (text: string, name = "host-a") => ({ token: "ec2", name, ec2: { message: text } });

  test("an instance that a rule allows joins, once", async () => {
    await ec2Token();
    const key = await generateKeyPair();
    const text = message();
    const answer = await join_(key, body(text));
    expect([answer.status, answer.body.agent_name]).toEqual([200, "host-a"]);
    const details = {
      method: "ec2",
      token: "ec2",
      account: "111111111111",
      instance: "i-078517ca8a70a1dde",
      region: "us-west-2",
    };
    expect(await lastJoin()).toMatchObject({ agent: "host-a", success: true, details });

    // the same document and a new one of the same instance, with another key
    for (const again of [text, message({ imageId: "ami-0" })]) {
      const copied = await join_(await generateKeyPair(), body(again, "host-b"));
      expect([copied.status, copied.body.error]).toEqual([403, NO]);
      expect(await lastJoin()).toMatchObject({
        agent: "host-b",
        success: false,
        error: expect.stringMatching(/^the instance i-078517ca8a70a1dde has joined already, at 2026-/),
        details,
      });
    }
    // the agent itself, which did not hear the answer
    expect((await join_(key, body(text))).body.agent_id).toBe(answer.body.agent_id);
  });

  test("once it was removed, it does not come back by the same instance", async () => {
    await ec2Token();
    const key = await generateKeyPair();
    expect((await join_(key, body(message()))).status).toBe(200);
    await f.admin("DELETE", "/v1/api/agents/host-a");
    expect((await join_(key, body(message()))).body.error).toEqual(NO);
    expect(await lastJoin()).toMatchObject({ error: expect.stringContaining("has joined already") });
  });

  test("of many at once with one document, one gets in", async () => {
    await ec2Token();
    const text = message();
    const answers = await Promise.all(
      Array.from({ length: 10 }, async (_, index) => join_(await generateKeyPair(), body(text, `host-${index}`))),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 403)).toHaveLength(9);
    expect(await agents()).toHaveLength(1);
  });

  test("a join that fails behind it uses up no instance", async () => {
    await ec2Token();
    await iamToken();
    const holder = await generateKeyPair();
    expect((await join_(holder, await iamBody(holder))).status).toBe(200);
    const key = await generateKeyPair();
    expect((await join_(key, body(message()))).body.error.code).toBe("already_exists");
    expect((await join_(key, body(message(), "host-b"))).status).toBe(200);
  });

  const refusals: [name: string, why: string, text: () => string | Promise<string>][] = [
    [
      "another account",
      "no rule of the token ec2 allows instances of 999999999999 in us-west-2",
      () => message({ accountId: "999999999999" }),
    ],
    [
      "a region without a rule",
      "no rule of the token ec2 allows instances of 111111111111 in us-east-1",
      async () => {
        const east = await awsRegion("us-east-1");
        writeFileSync(join(directory, "us-east-1.pem"), east.certificatePem);
        return signDocument(
          instanceDocument({ region: "us-east-1", pendingTime: "2026-11-22T23:59:30Z" }),
          east.privateKey,
        );
      },
    ],
    [
      "an old one",
      "the instance i-078517ca8a70a1dde started at 2026-11-22T23:54:59.000Z, over aws_iid_ttl (300 s) ago",
      () => message({ pendingTime: "2026-11-22T23:54:59Z" }),
    ],
    [
      "one that is to come",
      "the instance i-078517ca8a70a1dde started at 2026-11-23T00:01:01.000Z, which is to come",
      () => message({ pendingTime: "2026-11-23T00:01:01Z" }),
    ],
    [
      "another content",
      "AWS did not sign this document for us-west-2, by the certificates in",
      () => message({}, { content: Buffer.from(JSON.stringify(instanceDocument())) }),
    ],
    [
      "another region's signer",
      "AWS did not sign this document for us-west-2, by the certificates in",
      async () => signDocument(instanceDocument(), (await awsRegion("us-west-2")).privateKey),
    ],
    [
      "a key twice",
      "the signed document has a key twice",
      () => signDocument(JSON.stringify(instanceDocument()).replace("{", '{"region":"x",'), west.privateKey),
    ],
    ["nothing", "the signed message is no base64", () => ""],
  ];
  for (const [name, why, text] of refusals) {
    test(`refused: ${name}`, async () => {
      await ec2Token();
      const answer = await join_(await generateKeyPair(), body(await text()));
      expect([answer.status, answer.body.error]).toEqual([403, NO]);
      expect(await lastJoin()).toMatchObject({
        success: false,
        error: expect.stringContaining(why),
        details: { method: "ec2" },
      });
      expect(await agents()).toEqual([]);
    });
  }

  test("the token says how old an instance may be", async () => {
    await ec2Token({ aws_iid_ttl: "1h" });
    const old = message({ pendingTime: new Date(f.clock.now - 3_599_000).toISOString() });
    expect((await join_(await generateKeyPair(), body(old))).status).toBe(200);
  });
});

describe("tokens as documents", () => {
  test("are listed beside the secret ones, read, replaced and removed; each change is an event", async () => {
    expect((await iamToken()).status).toBe(200);
    expect((await ec2Token()).status).toBe(200);
    const secret = (await f.admin("POST", "/v1/api/tokens", { type: "app" })).body;
    expect((await f.admin("GET", "/v1/api/tokens")).body.tokens).toMatchObject([
      { id: secret.id, method: "token", expires_at: secret.expires_at },
      { id: "aws", method: "iam", expires_at: null, created_by: "uid:1000" },
      { id: "ec2", method: "ec2", expires_at: null },
    ]);
    const { document } = (await f.admin("GET", "/v1/api/tokens/documents/aws")).body;
    expect(document.spec).toEqual({ roles: ["App"], join_method: "iam", allow: [{ aws_account: ROLE.account }] });
    expect((await f.admin("POST", "/v1/api/tokens/documents", document)).body.error.code).toBe("already_exists");
    expect((await f.admin("PUT", "/v1/api/tokens/documents/other", document)).body.error.code).toBe("invalid");
    expect((await f.admin("PUT", "/v1/api/tokens/documents/aws", document)).body).toMatchObject({ created: false });
    expect((await f.admin("DELETE", "/v1/api/tokens/documents/aws")).body).toEqual({ name: "aws" });
    expect((await f.admin("DELETE", "/v1/api/tokens/documents/aws")).status).toBe(404);
    expect((await f.admin("POST", "/v1/api/tokens/revoke", { token: "ec2" })).body).toEqual({ id: "ec2" });
    expect(
      (await f.events("token.create", "token.delete")).map(({ event, details }) => [event, details?.token]),
    ).toEqual([
      ["token.create", "aws"],
      ["token.create", "ec2"],
      ["token.create", undefined],
      ["token.create", "aws"],
      ["token.delete", "aws"],
      ["token.delete", "ec2"],
    ]);
  });

  test("a secret that was made elsewhere: told to nobody, and good for a day at most", async () => {
    const name = "0123456789abcdef0123456789abcdef";
    const document = (expires?: number) => ({
      kind: "token",
      version: "v2",
      metadata: { name, ...(expires === undefined ? {} : { expires: new Date(expires).toISOString() }) },
      spec: { roles: ["App"], join_method: "token" },
    });
    const day = f.clock.now + 86_400_000;
    expect((await f.admin("POST", "/v1/api/tokens/documents", document(day + 1000))).body.error.code).toBe("invalid");
    expect((await f.admin("POST", "/v1/api/tokens/documents", document(f.clock.now))).body.error.code).toBe("invalid");
    const made = await f.admin("POST", "/v1/api/tokens/documents", document(day));
    expect([made.status, made.body]).toEqual([201, { name: expect.stringMatching(/^[0-9a-f]{16}$/), created: true }]);
    expect((await f.admin("POST", "/v1/api/tokens/documents", document())).body.error.code).toBe("already_exists");
    const key = await generateKeyPair();
    expect((await join_(key, { token: name, name: "host-a" })).status).toBe(200);
    expect((await f.admin("GET", "/v1/api/tokens/documents")).body).toEqual({ tokens: [] });
    expect(JSON.stringify([await f.events(), f.logged])).not.toContain(name);
  });
});
