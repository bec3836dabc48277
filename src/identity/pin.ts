/** CA pins: `sha256:` and 64 hex digits, over the CA's public key (SPKI), so that a renewed certificate keeps its pin. */
import { createHash, X509Certificate } from "node:crypto";
import { Failure } from "../errors.ts";

const PREFIX = "sha256:";

/** The pin of a certificate's public key. `certPem`: the first certificate counts. Throws `Failure("tls")` when it is none. */
export function spkiPin(certPem: string): string {
  return pinOf(parseCertificate(certPem));
}

/** The same as curl's `--pinnedpubkey` and GNU wget's take it, `sha256//` and Base64: of a server's own key, not of its CA's. */
export function curlPin(certPem: string): string {
  return `sha256//${Buffer.from(spkiPin(certPem).slice(PREFIX.length), "hex").toString("base64")}`;
}

/**
 * The first certificate of `certPem`, the one whose pin `spkiPin` tells, and nothing else that stands in the text: whoever
 * is in between could put the CA that was pinned first and one of their own behind it. Throws `Failure("tls")` when it is none.
 */
export function firstCertificate(certPem: string): string {
  return parseCertificate(certPem).toString();
}

/** A pin in its one form, lower case. Throws `Failure("usage")` when `text` is none. */
export function parsePin(text: string): string {
  const pin = text.trim().toLowerCase();
  if (!/^sha256:[0-9a-f]{64}$/.test(pin)) {
    throw new Failure("usage", "a CA pin is `sha256:` and 64 hex digits", {
      hint: "copy the pin from the proxy's `ready` line, or from `mcpgate tokens add --type=app` on the proxy's host",
    });
  }
  return pin;
}

/**
 * Throws `Failure("pin_mismatch")` unless `certPem` is a CA certificate whose key has this pin. What the certificate says
 * besides its key is not vouched for: whoever trusts it as a CA trusts that key.
 */
export function requirePin(certPem: string, pin: string): void {
  const certificate = parseCertificate(certPem);
  const found = pinOf(certificate);
  if (found === parsePin(pin) && certificate.ca) return;
  throw new Failure("pin_mismatch", `the proxy's CA has the pin ${found}, not the expected ${pin}`, {
    hint: "compare with the pin that the proxy prints on its `ready` line; if it differs, someone may be in between",
  });
}

function pinOf(certificate: X509Certificate): string {
  const spki = certificate.publicKey.export({ type: "spki", format: "der" });
  return PREFIX + createHash("sha256").update(spki).digest("hex");
}

function parseCertificate(certPem: string): X509Certificate {
  try {
    return new X509Certificate(certPem);
  } catch (cause) {
    throw new Failure("tls", "not a certificate in PEM form", { cause });
  }
}
