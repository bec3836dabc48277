import { expect, test } from "bun:test";
import { createPublicKey } from "node:crypto";
import * as asn1 from "asn1js";
import { readSignedMessage } from "../../src/identity/cms.ts";
import { awsRegion, type Forging, OIDS, signedMessage } from "../fixtures/aws.ts";

const { privateKey } = await awsRegion("us-west-2");
const { privateKey: otherKey } = await awsRegion("us-west-2");
const [key, other] = [createPublicKey(privateKey), createPublicKey(otherKey)];
const content = Buffer.from(JSON.stringify({ text: "x".repeat(200) }));
const message = (forging?: Forging, by = privateKey) => signedMessage(content, by, forging);
const reason = (bytes: Uint8Array): Promise<string> =>
  readSignedMessage(bytes).then(
    () => "read",
    (error: Error) => `${error.name}: ${error.message}`,
  );

test("a message in pieces is read, and its signer known by the key", async () => {
  const { content: found, signedBy } = await readSignedMessage(message());
  expect(found.equals(content)).toBe(true);
  expect([signedBy(key), signedBy(other)]).toEqual([true, false]);
});

test("another content under the same signature is not signed", async () => {
  const { content: found, signedBy } = await readSignedMessage(message({ content: Buffer.from("{}") }));
  expect([found.toString(), signedBy(key)]).toEqual(["{}", false]);
});

test("what the signature does not cover is not believed, and what it covers can't change", async () => {
  const whole = message();
  let refused = 0;
  for (let at = 0; at < whole.length; at++) {
    const changed = Buffer.from(whole);
    changed[at] = (changed[at] as number) ^ 0x01;
    try {
      const { content: found, signedBy } = await readSignedMessage(changed);
      if (signedBy(key)) expect(found.equals(content)).toBe(true);
      else refused += 1;
    } catch (error) {
      expect((error as Error).name).toBe("Failure");
      refused += 1;
    }
  }
  expect(refused).toBeGreaterThan(content.length + 256);
});

const attribute = (type: string, ...values: asn1.BaseBlock[]) =>
  new asn1.Sequence({ value: [new asn1.ObjectIdentifier({ value: type }), new asn1.Set({ value: values })] });
const forgeries: [name: string, forging: Forging, reason: string][] = [
  ["SHA-1", { digestAlgorithm: OIDS.sha1 }, "was not hashed with SHA-256"],
  ["another signature algorithm", { signatureAlgorithm: "1.2.840.10045.4.3.2" }, "was not signed with RSA and SHA-256"],
  ["another type of content", { contentType: OIDS.signedData }, "has a content of another type"],
  ["a signature over the content itself", { bare: true }, "lacks a part"],
  ["a second signer", { also: otherKey }, "has a part too many or too few"],
  ["no digest among the attributes", { attributes: ([type]) => (type === undefined ? [] : [type]) }, "lacks its bytes"],
  [
    "no type among the attributes",
    { attributes: ([, digest]) => (digest === undefined ? [] : [digest]) },
    "lacks an identifier",
  ],
  ["a digest twice", { attributes: (all) => [...all, ...all.slice(1)] }, "has an attribute twice"],
  [
    "two digests in one attribute",
    {
      attributes: ([type]) => [
        ...(type === undefined ? [] : [type]),
        attribute(
          "1.2.840.113549.1.9.4",
          ...[1, 2].map((byte) => new asn1.OctetString({ valueHex: Buffer.alloc(32, byte) })),
        ),
      ],
    },
    "has a part too many or too few",
  ],
];
for (const [name, forging, why] of forgeries) {
  test(`refused: ${name}`, async () => {
    expect(await reason(message(forging))).toBe(`Failure: the signed message ${why}`);
  });
}

test("refused: what is cut off, what goes on, what is something else", async () => {
  const whole = message();
  expect(await reason(Buffer.concat([whole, Buffer.from([0])]))).toContain("is followed by something else");
  expect(await reason(Buffer.concat([whole, whole]))).toContain("is followed by something else");
  for (const bytes of [whole.subarray(0, -10), Buffer.alloc(0), Buffer.from("hello"), Buffer.from("30800000", "hex")]) {
    expect(await reason(bytes)).toStartWith("Failure: the signed message ");
  }
  // as deep as 12 KiB allow
  expect(await reason(Buffer.from("3080".repeat(6000), "hex"))).toStartWith("Failure: the signed message ");
});
