/**
 * What AWS says of an EC2 instance: its identity document, in a message that AWS signed (RSA-2048 with SHA-256, from
 * `instance-identity/rsa2048` of the instance metadata service). It is checked against the certificates that AWS publishes
 * for its regions, which the proxy's admin has put into a directory.
 */
import { type KeyObject, X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { Failure } from "../errors.ts";
import { readSignedMessage } from "../identity/cms.ts";

export interface InstanceIdentity {
  /** Twelve digits. */
  account: string;
  /** `i-0123456789abcdef0` */
  instance: string;
  region: string;
  /** When it was launched or started, milliseconds since the epoch. */
  startedAt: number;
}

/** A message is 1.3 KiB, as base64 1.8. */
const MAX_MESSAGE = 12 * 1024;
/** A certificate file; one certificate is 1.5 KiB. */
const MAX_CERTIFICATES = 64 * 1024;
const MIN_KEY_BITS = 2048;
/** Also a file's name: no dots and no slashes. */
const REGION = /^[a-z]{2,4}(-[a-z]{1,12}){1,3}-\d{1,2}$/;

const document = v.object({
  accountId: v.pipe(v.string(), v.regex(/^\d{12}$/)),
  instanceId: v.pipe(v.string(), v.regex(/^i-[0-9a-f]{8,17}$/)),
  region: v.pipe(v.string(), v.regex(REGION)),
  pendingTime: v.pipe(
    v.string(),
    v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/),
    v.check((value) => !Number.isNaN(Date.parse(value))),
  ),
});

/**
 * The document in a message (base64 of PKCS #7, as the instance gets it), once its signature holds. `directory`:
 * `proxy_service.aws_certificates`. `now`: milliseconds since the epoch. Throws a `Failure("token_invalid")` that says why.
 */
export async function checkInstanceIdentity(
  message: string,
  { directory, now }: { directory: string | undefined; now: number },
): Promise<InstanceIdentity> {
  if (directory === undefined) {
    throw refused("this proxy has no certificates of AWS: proxy_service.aws_certificates is not set");
  }
  if (message.length > MAX_MESSAGE) throw refused("the signed message is too long");
  const compact = message.replace(/\s/g, "");
  const bytes = Buffer.from(compact, "base64");
  // Buffer skips what is no base64: what was read has to be all that came
  if (bytes.length === 0 || bytes.toString("base64") !== compact) throw refused("the signed message is no base64");
  const signed = await readSignedMessage(bytes).catch((error: unknown) => {
    throw refused(Failure.from(error).message, error);
  });
  // Only to know which certificate to take: nothing of it counts before the signature does.
  const claimed = parseDocument(signed.content);
  const keys = loadKeys(directory, claimed.region, now);
  if (!keys.some((key) => signed.signedBy(key))) {
    throw refused(`AWS did not sign this document for ${claimed.region}, by the certificates in ${directory}`);
  }
  return {
    account: claimed.accountId,
    instance: claimed.instanceId,
    region: claimed.region,
    startedAt: Date.parse(claimed.pendingTime),
  };
}

function parseDocument(content: Buffer): v.InferOutput<typeof document> {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(content);
    value = JSON.parse(text);
  } catch (error) {
    throw refused("the signed document is not JSON", error);
  }
  if (members(value) !== membersIn(text)) throw refused("the signed document has a key twice");
  const parsed = v.safeParse(document, value);
  if (parsed.success) return parsed.output;
  throw refused(`the signed document's ${v.getDotPath(parsed.issues[0]) ?? "form"} is missing or malformed`);
}

/** Members of all objects of a JSON text (that is known to be one): strings that a colon follows. */
const membersIn = (text: string): number =>
  [...text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/g)].filter(([, colon]) => colon !== undefined).length;

/** The same of the value that came of it, where the last of equal keys has replaced the others. */
const members = (value: unknown): number => {
  if (typeof value !== "object" || value === null) return 0;
  const own = Array.isArray(value) ? 0 : Object.keys(value).length;
  return Object.values(value).reduce((sum: number, each: unknown) => sum + members(each), own);
};

/** The keys of the certificates in `DIRECTORY/REGION.pem`, read whenever one is asked for: a new region needs no restart. */
function loadKeys(directory: string, region: string, now: number): KeyObject[] {
  const file = join(directory, `${region}.pem`);
  let text: string;
  try {
    for (const path of [directory, file]) {
      const { mode, uid, size } = statSync(path);
      if (uid !== 0 && uid !== process.getuid?.()) throw refused(`${path} belongs to another user`);
      if ((mode & 0o022) !== 0) throw refused(`other users may write ${path}: chmod go-w '${path}'`);
      if (size > MAX_CERTIFICATES && path === file) throw refused(`${path} is too long to be certificates`);
    }
    text = readFileSync(file, "utf8");
  } catch (error) {
    if (error instanceof Failure) throw error;
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw refused(missing ? `there is no certificate for ${region}: ${file}` : `${file} can't be read`, error);
  }
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g) ?? [];
  const keys = blocks.flatMap((pem) => {
    const certificate = parseCertificate(pem, file);
    if (Date.parse(certificate.validFrom) > now || Date.parse(certificate.validTo) < now) return [];
    const { publicKey } = certificate;
    const bits = publicKey.asymmetricKeyDetails?.modulusLength ?? 0;
    // the DSA and RSA-1024 ones stand beside it in AWS's list
    return publicKey.asymmetricKeyType === "rsa" && bits >= MIN_KEY_BITS ? [publicKey] : [];
  });
  if (keys.length === 0) throw refused(`${file} holds no RSA-2048 certificate that is valid now`);
  return keys;
}

function parseCertificate(pem: string, file: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (error) {
    throw refused(`${file} holds something that is not a certificate`, error);
  }
}

const refused = (why: string, cause?: unknown): Failure => new Failure("token_invalid", why, { cause });
