/**
 * Hosts on AWS join without a secret: the agent is the binary, its credentials come from wherever AWS's own tools find them,
 * and what stands in for AWS checks for real. Only STS itself has to be put into the proxy, which therefore runs in here:
 * no configuration of the binary could send its question elsewhere.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { hostname } from "node:os";
import { loadConfig } from "../../src/config/load.ts";
import { createLog } from "../../src/log.ts";
import { type RunningProxy, startProxy as startOwnProxy } from "../../src/proxy/start.ts";
import {
  awsIdentity,
  awsRegion,
  instanceDocument,
  type Metadata,
  roleMetadata,
  serveMetadata,
  signDocument,
  standInSts,
} from "../fixtures/aws.ts";
import { Place, SELF, SLOWEST_MS, startProxy } from "./harness.ts";

const TEST_MS = 2 * SLOWEST_MS;
const ROLE = awsIdentity("111111111111", "arn:aws:sts::111111111111:assumed-role/mcp-host/i-0123456789abcdef0");
const OTHER = awsIdentity("999999999999", "arn:aws:sts::999999999999:assumed-role/mcp-host/i-0123456789abcdef0");
const TOKENS = `
kind: token
version: v2
metadata: { name: aws-hosts }
spec:
  roles: [App]
  join_method: iam
  allow: [{ aws_account: "111111111111", aws_arn: "arn:aws:sts::111111111111:assumed-role/mcp-*/i-*" }]
---
kind: token
version: v2
metadata: { name: aws-instances }
spec:
  roles: [App]
  join_method: ec2
  allow: [{ aws_account: "111111111111", aws_regions: [us-west-2] }]
`;

function agentFile(
  place: Place,
  method: string,
  token_name: string,
  at: { publicAddr: string; caPin?: string },
): string {
  const mcp = { command: place.bin, args: ["demo-server"], run_as_host_user: SELF };
  return place.file(`${method}.yaml`, {
    version: "v1",
    mcpgate: {
      data_dir: place.path(method),
      proxy_server: at.publicAddr,
      ca_pin: at.caPin,
      join_params: { method, token_name },
      diag_addr: "off",
    },
    app_service: { enabled: true, apps: [{ name: "demo", mcp }] },
  });
}

/** What the agent said when it did not start. */
async function refusal(place: Place, file: string, env: Record<string, string>, exit = 1): Promise<string> {
  const { code, stderr } = await place.cli(["agent", "start", "-c", file], { env });
  expect(code).toBe(exit);
  return stderr;
}
const events = async (place: Place) =>
  JSON.parse(await place.ok(["audit", "ls", "--event=agent.join", "--format=json"])) as Record<string, unknown>[];

let place: Place;
beforeAll(async () => {
  place = await Place.open();
});
afterAll(async () => {
  expect(await place.close()).toEqual([]);
});

test(
  "method iam: by the environment, shared files, the container and the instance",
  async () => {
    const sts = standInSts([ROLE, OTHER]);
    place.file("proxy.yaml", {
      version: "v1",
      mcpgate: { data_dir: place.dir, diag_addr: "off" },
      proxy_service: { enabled: true, listen_addr: "127.0.0.1:0" },
    });
    const config = loadConfig({ path: place.path("proxy.yaml"), env: {}, uid: process.getuid?.() ?? -1 });
    const log = createLog({ write: () => {}, severity: "ERROR" });
    const proxy: RunningProxy = await startOwnProxy({ config, log, print: async () => {}, fetchSts: sts.fetch });
    const container = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: ({ headers }) =>
        headers.get("authorization") === "of the container"
          ? Response.json({
              AccessKeyId: ROLE.accessKeyId,
              SecretAccessKey: ROLE.secretAccessKey,
              Token: ROLE.sessionToken,
              Expiration: new Date(Date.now() + 3_600_000).toISOString(),
            })
          : new Response("", { status: 403 }),
    });
    const region = { "/latest/meta-data/placement/region": "us-west-2" };
    const instance = serveMetadata({ ...roleMetadata("mcp-host", ROLE), ...region });
    try {
      await place.ok(["create", "-f", place.file("tokens.yaml", TOKENS)]);
      const file = agentFile(place, "iam", "aws-hosts", proxy.ready);
      const off = { AWS_EC2_METADATA_DISABLED: "true", AWS_REGION: "eu-west-1" };
      const keys = ({ accessKeyId, secretAccessKey, sessionToken = "" }: typeof ROLE) => ({
        AWS_ACCESS_KEY_ID: accessKeyId,
        AWS_SECRET_ACCESS_KEY: secretAccessKey,
        AWS_SESSION_TOKEN: sessionToken,
      });
      const { accessKeyId, secretAccessKey, sessionToken } = ROLE;
      place.folder("aws");
      const shared = place.file(
        "aws/credentials",
        `[mcp]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\naws_session_token = ${sessionToken}\n`,
      );
      const sources: [host: string, env: Record<string, string>][] = [
        ["sts.eu-west-1.amazonaws.com", { ...off, ...keys(ROLE) }],
        ["sts.eu-west-1.amazonaws.com", { ...off, AWS_PROFILE: "mcp", AWS_SHARED_CREDENTIALS_FILE: shared }],
        [
          "sts.eu-west-1.amazonaws.com",
          {
            ...off,
            AWS_CONTAINER_CREDENTIALS_FULL_URI: `http://127.0.0.1:${container.port}/credentials`,
            AWS_CONTAINER_AUTHORIZATION_TOKEN: "of the container",
          },
        ],
        // Through a proxy they would be somebody else's to read.
        [
          "sts.us-west-2.amazonaws.com",
          { AWS_EC2_METADATA_SERVICE_ENDPOINT: instance.url, HTTP_PROXY: "http://127.0.0.1:9" },
        ],
      ];
      for (const [host, env] of sources) {
        const before = sts.calls.length;
        const agent = place.start(["agent", "start", "-c", file], { env });
        expect(await agent.ready).toContain("is ready and offers demo");
        expect(sts.calls.slice(before).map(({ url }) => url)).toEqual([`https://${host}/`]);
        await agent.stop();
        expect((await events(place)).at(-1)).toMatchObject({
          agent: hostname(),
          success: true,
          details: { method: "iam", token: "aws-hosts", account: ROLE.account, arn: ROLE.arn },
        });
        if (host.includes("us-west")) {
          // from here on it is known by its key: no AWS is asked, and no credentials are needed
          const again = place.start(["agent", "start", "-c", file], { env: { AWS_EC2_METADATA_DISABLED: "true" } });
          await again.ready;
          await again.stop();
          expect(sts.calls).toHaveLength(before + 1);
        }
        await place.ok(["agents", "rm", hostname()]);
        rmSync(place.path("iam"), { recursive: true });
      }

      expect(await refusal(place, file, { ...off, ...keys(OTHER) })).toContain(
        "mcpgate: error: this host may not join with that token\nmcpgate: hint: the proxy's audit log says why",
      );
      expect((await events(place)).at(-1)).toMatchObject({
        success: false,
        error: `no rule of the token aws-hosts allows ${OTHER.arn}`,
        details: { arn: OTHER.arn },
      });
      const asked = sts.calls.length;
      const none = await refusal(place, file, { ...off, HOME: place.folder("empty") }, 2);
      expect(none).toContain("error: join_params.method is iam, and this host has no AWS credentials");
      expect(none).toContain("hint: attach an IAM role");
      expect(sts.calls).toHaveLength(asked);
      expect(await place.ok(["tokens", "ls"])).toMatch(/aws-hosts +app +iam +never/);
    } finally {
      await proxy.stop();
      await Promise.all([container.stop(true), instance.stop()]);
      rmSync(place.path("proxy"), { recursive: true });
    }
  },
  TEST_MS,
);

test(
  "method ec2: an instance joins by its identity document, once; a copy of the document is worth nothing",
  async () => {
    const west = await awsRegion("us-west-2");
    place.folder("certificates");
    place.file("certificates/us-west-2.pem", west.certificatePem);
    const metadata: Metadata = {};
    const instance = serveMetadata(metadata);
    const { proxy, address, pin } = await startProxy(place, undefined, { aws_certificates: "certificates" });
    try {
      await place.ok(["create", "-f", place.file("tokens.yaml", TOKENS)]);
      const file = agentFile(place, "ec2", "aws-instances", { publicAddr: address, caPin: pin });
      const env = { AWS_EC2_METADATA_SERVICE_ENDPOINT: instance.url };
      const path = "/latest/dynamic/instance-identity/rsa2048";
      const why = async () => {
        expect(await refusal(place, file, env)).toContain("error: this host may not join with that token");
        return (await events(place)).at(-1);
      };

      const since = (seconds: number) => new Date(Date.now() - seconds * 1000).toISOString();
      metadata[path] = signDocument(instanceDocument({ pendingTime: since(600) }), west.privateKey);
      expect(await why()).toMatchObject({
        success: false,
        error: expect.stringContaining("over aws_iid_ttl (300 s) ago"),
      });
      metadata[path] = signDocument(instanceDocument(), (await awsRegion("us-west-2")).privateKey);
      expect(await why()).toMatchObject({
        success: false,
        error: expect.stringContaining("AWS did not sign this document"),
      });

      metadata[path] = signDocument(instanceDocument({ pendingTime: since(60) }), west.privateKey);
      const agent = place.start(["agent", "start", "-c", file], { env });
      expect(await agent.ready).toContain("is ready and offers demo");
      await agent.stop();
      const details = { method: "ec2", account: "111111111111", instance: "i-078517ca8a70a1dde", region: "us-west-2" };
      expect((await events(place)).at(-1)).toMatchObject({ agent: hostname(), success: true, details });

      // Somebody who got hold of the document, with a key of their own.
      rmSync(place.path("ec2"), { recursive: true });
      expect(await why()).toMatchObject({
        success: false,
        error: expect.stringContaining("the instance i-078517ca8a70a1dde has joined already"),
        details,
      });
    } finally {
      await proxy.stop();
      await instance.stop();
    }
  },
  TEST_MS,
);
