/** Identity documents as AWS signs them, and everything that only looks like one. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkInstanceIdentity } from "../../src/proxy/instance-identity.ts";
import { awsRegion, instanceDocument, signDocument } from "../fixtures/aws.ts";

const west = await awsRegion("us-west-2");
const east = await awsRegion("us-east-1");
const NOW = Date.UTC(2026, 10, 23);
let directory: string;
const put = (region: string, text: string) => writeFileSync(join(directory, `${region}.pem`), text, { mode: 0o644 });

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "mcpgate-aws-"));
  put("us-west-2", west.certificatePem);
  put("us-east-1", east.certificatePem);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const check = (message: string, o: { directory?: string | undefined; now?: number } = {}) =>
  checkInstanceIdentity(message, { directory, now: NOW, ...o });
const reason = (message: string, o?: Parameters<typeof check>[1]): Promise<string> =>
  check(message, o).then(
    () => "believed",
    (error: Error & { code?: string }) => `${error.code}: ${error.message}`,
  );
const document = instanceDocument({ pendingTime: "2026-11-22T23:59:00Z" });

test("what AWS signed for the region is believed", async () => {
  expect(await check(signDocument(document, west.privateKey))).toEqual({
    account: "111111111111",
    instance: "i-078517ca8a70a1dde",
    region: "us-west-2",
    startedAt: NOW - 60_000,
  });
});

test("a region's next certificate beside the one before it", async () => {
  const next = await awsRegion("us-west-2");
  put("us-west-2", `${west.certificatePem}\n# from 2030 on\n${next.certificatePem}`);
  for (const { privateKey } of [west, next]) {
    expect(await check(signDocument(document, privateKey))).toMatchObject({ region: "us-west-2" });
  }
  put("us-west-2", west.certificatePem);
});

describe("not AWS's word", () => {
  test("another region's signature", async () => {
    expect(await reason(signDocument(document, east.privateKey))).toContain(
      "AWS did not sign this document for us-west-2",
    );
  });

  test("a certificate that somebody made, which comes with the message", async () => {
    const own = await awsRegion("us-west-2");
    const forged = signDocument(document, own.privateKey, { certificatePem: own.certificatePem });
    expect(await reason(forged)).toContain("AWS did not sign this document for us-west-2");
  });

  test("the region's own certificate in the message does not help another's signature", async () => {
    const own = await awsRegion("us-west-2");
    const forged = signDocument(document, own.privateKey, { certificatePem: west.certificatePem });
    expect(await reason(forged)).toContain("AWS did not sign this document");
  });

  test("another document under a signature of AWS's", async () => {
    const forged = signDocument(document, west.privateKey, {
      content: Buffer.from(JSON.stringify({ ...document, accountId: "999999999999" })),
    });
    expect(await reason(forged)).toContain("AWS did not sign this document");
  });

  test("a document that claims a region whose key somebody has", async () => {
    const forged = signDocument({ ...document, region: "us-east-1" }, west.privateKey);
    expect(await reason(forged)).toContain("AWS did not sign this document for us-east-1");
  });

  test("an altered document", async () => {
    const message = Buffer.from(signDocument(document, west.privateKey), "base64");
    const at = message.indexOf("111111111111");
    message.write("2", at + 3);
    expect(await reason(message.toString("base64"))).toContain("AWS did not sign this document");
  });

  test("a signature over attributes, passed off as one over a content", async () => {
    expect(await reason(signDocument(document, west.privateKey, { bare: true }))).toContain("lacks a part");
  });
});

describe("no document", () => {
  const text = JSON.stringify(document);
  const cases: [name: string, content: string | object, why: string][] = [
    ["a key twice", text.replace("{", '{"accountId":"999999999999",'), "has a key twice"],
    ["a key twice by another spelling", text.replace("{", '{"\\u0061ccountId":"999999999999",'), "has a key twice"],
    ["no JSON", "accountId=111111111111", "is not JSON"],
    ["something after it", `${text} {}`, "is not JSON"],
    ["a list", [document], "accountId is missing or malformed"],
    ["no account", { ...document, accountId: undefined }, "accountId is missing or malformed"],
    ["an account that is a number", { ...document, accountId: 111111111111 }, "accountId is missing or malformed"],
    ["an instance that is a path", { ...document, instanceId: "i-../x" }, "instanceId is missing or malformed"],
    ["a region that is a path", { ...document, region: "../us-west-2" }, "region is missing or malformed"],
    [
      "a time without a zone",
      { ...document, pendingTime: "2026-11-22T23:59:00" },
      "pendingTime is missing or malformed",
    ],
    ["no such time", { ...document, pendingTime: "2026-13-22T23:59:00Z" }, "pendingTime is missing or malformed"],
  ];
  for (const [name, content, why] of cases) {
    test(name, async () => {
      expect(await reason(signDocument(content, west.privateKey))).toBe(
        `token_invalid: the signed document's ${why}`.replace(/document's (has|is not)/, "document $1"),
      );
    });
  }

  test("text beside a string's escapes counts no keys", async () => {
    const tricky = { ...document, privateIp: '"a": "b\\": ', billingProducts: ['x":', { "\\": null }] };
    expect(await check(signDocument(tricky, west.privateKey))).toMatchObject({ region: "us-west-2" });
  });

  const message = signDocument(document, west.privateKey);
  const messages: [name: string, message: string, why: string][] = [
    ["an empty message", "", "is no base64"],
    ["other characters", `${message}!`, "is no base64"],
    [
      "something after it",
      Buffer.concat([Buffer.from(message, "base64"), Buffer.from("x")]).toString("base64"),
      "is followed by something else",
    ],
    ["half of it", Buffer.from(message, "base64").subarray(0, 400).toString("base64"), "is not in ASN.1's encoding"],
    ["too much", "A".repeat(20_000), "is too long"],
  ];
  for (const [name, text, why] of messages) {
    test(name, async () => expect(await reason(text)).toBe(`token_invalid: the signed message ${why}`));
  }
});

describe("certificates", () => {
  test("none are set", async () => {
    const why = "this proxy has no certificates of AWS: proxy_service.aws_certificates is not set";
    expect(await reason(signDocument(document, west.privateKey), { directory: undefined })).toContain(why);
  });

  test("none for the region", async () => {
    const message = signDocument({ ...document, region: "eu-west-3" }, west.privateKey);
    expect(await reason(message)).toContain(
      `there is no certificate for eu-west-3: ${join(directory, "eu-west-3.pem")}`,
    );
  });

  const files: [name: string, text: () => string | Promise<string>, why: string][] = [
    ["a file without any", () => "hello\n", "holds no RSA-2048 certificate that is valid now"],
    [
      "one whose time is over",
      async () => (await awsRegion("x", { notAfter: new Date(NOW - 1) })).certificatePem,
      "holds no RSA-2048",
    ],
    ["one with a short key", async () => (await awsRegion("x", { bits: 1024 })).certificatePem, "holds no RSA-2048"],
    ["a broken one", () => "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is not a certificate"],
  ];
  for (const [name, text, why] of files) {
    test(name, async () => {
      put("eu-north-1", await text());
      expect(await reason(signDocument({ ...document, region: "eu-north-1" }, west.privateKey))).toContain(why);
    });
  }

  test("that others may write are no one's word", async () => {
    const file = join(directory, "us-east-1.pem");
    const message = signDocument({ ...document, region: "us-east-1" }, east.privateKey);
    chmodSync(file, 0o666);
    expect(await reason(message)).toContain(`other users may write ${file}: chmod go-w`);
    chmodSync(file, 0o644);
    chmodSync(directory, 0o777);
    expect(await reason(message)).toContain(`other users may write ${directory}`);
    chmodSync(directory, 0o700);
    expect(await check(message)).toMatchObject({ region: "us-east-1" });
  });
});
