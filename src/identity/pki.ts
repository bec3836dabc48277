/**
 * The proxy's own certificate authority and its server certificate, for a proxy that was given none. Loaded by the proxy
 * alone: the X.509 library and what it needs take a while to start.
 */
import { isIP } from "node:net";
import type * as X509 from "@peculiar/x509";
import { Failure } from "../errors.ts";

/**
 * The X.509 library wants its polyfill in place while it loads, and neither the bundler nor the runtime keeps the order of
 * static imports where CommonJS is among them.
 */
async function library(): Promise<typeof X509> {
  await import("reflect-metadata");
  return import("@peculiar/x509");
}

/** A certificate or a CA with its private key (PKCS #8), both in PEM form. */
export interface Credential {
  certPem: string;
  keyPem: string;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const DAY_MS = 86_400_000;
const CA_DAYS = 3652;
/** A server certificate at the most, from its first day to its last: what browsers accept (CA/Browser Forum, below 398). */
export const MAX_LEAF_DAYS = 397;
/** Both begin earlier than they are made, days: TLS compares clocks, and a laptop's may be behind. */
const BACKDATED_DAYS = 30;
/** With this left, a server certificate is due, days. */
const RENEW_DAYS = 60;

/** A new CA: P-256, ten years. `clusterName` only tells people whose it is. `now`: milliseconds since the epoch. */
export async function createCa(clusterName: string, now = Date.now()): Promise<Credential> {
  const x509 = await library();
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: [{ CN: [`mcpgate CA ${clusterName}`.slice(0, 64)] }], // 64: the bound of RFC 5280 on a common name
    notBefore: new Date(now - BACKDATED_DAYS * DAY_MS),
    notAfter: new Date(now + CA_DAYS * DAY_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certPem: pem(certificate), keyPem: await encodeKey(keys.privateKey) };
}

export interface LeafRequest {
  ca: Credential;
  /** The server's key of the certificate before this one (PKCS #8, PEM): a renewal keeps it. A new one without it. */
  keyPem?: string | undefined;
  /** The names and addresses that clients dial: host names (`*.` in front is fine), IPv4, IPv6 (brackets or none). */
  names: readonly string[];
  /** Milliseconds since the epoch. */
  now?: number;
  /** How long from `now`, days; at most 367, so that with its backdating it stays under 398. */
  days?: number;
}

/** A server certificate. Throws `Failure("invalid")` on no name or one that is neither a host name nor an address. */
export async function issueLeaf(request: LeafRequest): Promise<Credential> {
  const x509 = await library();
  const { ca, names, now = Date.now(), days = MAX_LEAF_DAYS - BACKDATED_DAYS } = request;
  if (!(days > 0 && days <= MAX_LEAF_DAYS - BACKDATED_DAYS)) {
    throw new Failure("invalid", `a server certificate lasts at most ${MAX_LEAF_DAYS - BACKDATED_DAYS} days`);
  }
  const issuer = new x509.X509Certificate(ca.certPem);
  const keys = request.keyPem === undefined ? await newKey() : await decodeKey(request.keyPem);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: [{ CN: ["mcpgate proxy"] }], // names stand in the SAN, where TLS looks for them
    issuer: issuer.subjectName,
    notBefore: new Date(now - BACKDATED_DAYS * DAY_MS),
    notAfter: new Date(now + days * DAY_MS),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: (await decodeKey(ca.keyPem)).privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(parseNames(names)),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  });
  return { certPem: pem(certificate), keyPem: await encodeKey(keys.privateKey) };
}

/** Whether a server certificate still does: of this CA, for exactly these names, and with at least 60 days left. */
export async function leafServes(
  certPem: string,
  need: { ca: Credential; names: readonly string[]; now?: number },
): Promise<boolean> {
  const x509 = await library();
  const { ca, names, now = Date.now() } = need;
  const leaf = new x509.X509Certificate(certPem);
  const san = leaf.getExtension(x509.SubjectAlternativeNameExtension)?.names.toJSON() ?? [];
  const spell = (list: X509.JsonGeneralName[]) =>
    JSON.stringify(list.map(({ type, value }) => `${type}:${value}`).sort());
  if (spell(san) !== spell(parseNames(names))) return false;
  if (leaf.notBefore.getTime() > now || leaf.notAfter.getTime() < now + RENEW_DAYS * DAY_MS) return false;
  return leaf.verify({ publicKey: new x509.X509Certificate(ca.certPem).publicKey, signatureOnly: true });
}

const LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const HOST_NAME = new RegExp(`^(?:\\*\\.)?${LABEL}(?:\\.${LABEL})*\\.?$`);

function parseNames(names: readonly string[]): X509.JsonGeneralName[] {
  if (names.length === 0) throw new Failure("invalid", "a server certificate needs a name");
  const parsed = new Map<string, X509.JsonGeneralName>();
  for (const name of names) {
    const plain = name.replace(/^\[(.*)\]$/, "$1").toLowerCase();
    if (isIP(plain) !== 0) {
      // one spelling for each address: `::1` and `0:0:0:0:0:0:0:1` are one
      const value = isIP(plain) === 6 ? new URL(`http://[${plain}]`).hostname.slice(1, -1) : plain;
      parsed.set(value, { type: "ip", value });
    } else if (plain.length <= 253 && HOST_NAME.test(plain)) {
      const value = plain.replace(/\.$/, "");
      parsed.set(value, { type: "dns", value });
    } else {
      throw new Failure("invalid", `${JSON.stringify(name)} is neither a host name nor an IP address`);
    }
  }
  return [...parsed.values()];
}

/** 127 random bits, positive (RFC 5280, 4.1.2.2; CA/Browser Forum: at least 64). */
function serial(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toHex();
}

const newKey = () => crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);

async function encodeKey(key: CryptoKey): Promise<string> {
  const x509 = await library();
  return `${x509.PemConverter.encode(await crypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY")}\n`;
}

async function decodeKey(keyPem: string): Promise<CryptoKeyPair> {
  const x509 = await library();
  const [der] = x509.PemConverter.decode(keyPem);
  if (der === undefined) throw new Failure("invalid", "not a private key in PEM form");
  const privateKey = await crypto.subtle.importKey("pkcs8", der, ALGORITHM, true, ["sign"]);
  const { kty = "", crv = "", x = "", y = "" } = await crypto.subtle.exportKey("jwk", privateKey);
  const publicKey = await crypto.subtle.importKey("jwk", { kty, crv, x, y }, ALGORITHM, true, ["verify"]);
  return { privateKey, publicKey };
}

const pem = (certificate: X509.X509Certificate): string => `${certificate.toString("pem")}\n`;
