/**
 * Signed messages in the form of PKCS #7 (CMS, RFC 5652), as AWS signs what it says of an instance: one signer, SHA-256
 * with RSA, the content within. The reader asks for exactly that. Whose key it is, the caller says: certificates that come
 * with a message are not looked at.
 */
import { createHash, type KeyObject, timingSafeEqual, verify } from "node:crypto";
import type { BaseBlock } from "asn1js";
import { Failure } from "../errors.ts";

type Asn1 = typeof import("asn1js");

const OID = {
  data: "1.2.840.113549.1.7.1",
  signedData: "1.2.840.113549.1.7.2",
  contentType: "1.2.840.113549.1.9.3",
  messageDigest: "1.2.840.113549.1.9.4",
  sha256: "2.16.840.1.101.3.4.2.1",
  rsa: "1.2.840.113549.1.1.1",
  sha256WithRsa: "1.2.840.113549.1.1.11",
} as const;
/** Identifier octets: `[0]` constructed, and a SET, in whose place it stands in what is signed (RFC 5652, 5.4). */
const [CONTEXT_0, SET] = [0xa0, 0x31];

/** A message that was read but not yet believed. */
export interface SignedMessage {
  content: Buffer;
  /** Whether the key signed exactly this content. */
  signedBy(key: KeyObject): boolean;
}

/**
 * Reads a message (BER, as AWS's are). Throws `Failure("invalid")` for one that is of another form, also when something
 * follows it.
 */
export async function readSignedMessage(bytes: Uint8Array): Promise<SignedMessage> {
  const asn1: Asn1 = await import("asn1js");
  try {
    return read(asn1, bytes);
  } catch (error) {
    // the parser throws whatever it stumbles over
    throw error instanceof Failure ? error : broken("is not in ASN.1's encoding");
  }
}

function read(asn1: Asn1, bytes: Uint8Array): SignedMessage {
  const { result, offset } = asn1.fromBER(bytes);
  if (offset === -1 || result.error !== "") throw broken("is not in ASN.1's encoding");
  if (offset !== bytes.byteLength) throw broken("is followed by something else");
  const { oid, items, octets, tagged } = reader(asn1);

  const [type, wrapped] = items(result, asn1.Sequence, 2);
  if (oid(type) !== OID.signedData) throw broken("is no signed data");
  const signedData = items(only(tagged(wrapped, 0)), asn1.Sequence);
  const encapsulated = signedData.find((item) => item instanceof asn1.Sequence);
  const [contentType, eContent] = items(encapsulated, asn1.Sequence, 2);
  if (oid(contentType) !== OID.data) throw broken("has a content of another type");
  const content = octets(only(tagged(eContent, 0)));

  const signer = items(only(items(signedData.at(-1), asn1.Set)), asn1.Sequence);
  const [, , digestAlgorithm, attributes, signatureAlgorithm, signature] = signer;
  if (oid(items(digestAlgorithm, asn1.Sequence)[0]) !== OID.sha256) throw broken("was not hashed with SHA-256");
  const algorithm = oid(items(signatureAlgorithm, asn1.Sequence)[0]);
  if (algorithm !== OID.sha256WithRsa && algorithm !== OID.rsa) throw broken("was not signed with RSA and SHA-256");

  // Without signed attributes a signature over attributes could be taken for one over a content (RFC 5652, 11.4).
  const named = new Map<string, BaseBlock>();
  for (const attribute of tagged(attributes, 0)) {
    const [name, values] = items(attribute, asn1.Sequence, 2);
    if (named.has(oid(name))) throw broken("has an attribute twice");
    named.set(oid(name), only(items(values, asn1.Set)));
  }
  if (oid(named.get(OID.contentType)) !== OID.data) throw broken("says another type of its content");
  const digest = octets(named.get(OID.messageDigest));
  const signed = Buffer.from((attributes as BaseBlock).valueBeforeDecodeView);
  if (signed[0] !== CONTEXT_0) throw broken("has no signed attributes");
  signed[0] = SET;
  const signatureBytes = octets(signature);

  return {
    content,
    signedBy: (key) =>
      isSame(digest, createHash("sha256").update(content).digest()) && verify("sha256", signed, key, signatureBytes),
  };
}

/** What the elements of a message are, or the message is refused. */
function reader(asn1: Asn1) {
  const items = (block: BaseBlock | undefined, kind: Asn1["Sequence"] | Asn1["Set"], count?: number): BaseBlock[] => {
    if (!(block instanceof kind)) throw broken("lacks a part");
    const { value } = block.valueBlock;
    if (count !== undefined && value.length !== count) throw broken("has a part too many or too few");
    return value as BaseBlock[];
  };
  return {
    items,
    oid: (block: BaseBlock | undefined): string => {
      if (!(block instanceof asn1.ObjectIdentifier)) throw broken("lacks an identifier");
      return block.getValue();
    },
    /** An octet string, also one in pieces. */
    octets: (block: BaseBlock | undefined): Buffer => {
      if (!(block instanceof asn1.OctetString)) throw broken("lacks its bytes");
      return Buffer.from(block.getValue());
    },
    /** The elements under the context tag `[number]`. */
    tagged: (block: BaseBlock | undefined, number: number): BaseBlock[] => {
      const is =
        block instanceof asn1.Constructed && block.idBlock.tagClass === 3 && block.idBlock.tagNumber === number;
      if (!is) throw broken("lacks a part");
      return block.valueBlock.value as BaseBlock[];
    },
  };
}

function only(blocks: BaseBlock[]): BaseBlock {
  const [first, ...more] = blocks;
  if (first === undefined || more.length > 0) throw broken("has a part too many or too few");
  return first;
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && timingSafeEqual(a, b);

const broken = (what: string): Failure => new Failure("invalid", `the signed message ${what}`);
