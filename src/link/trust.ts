/**
 * How a client or an agent knows that it talks to its proxy: TLS against the proxy's own CA, which was checked against
 * a pin once, or against the public web's.
 */
import { existsSync, readFileSync } from "node:fs";
import { getCACertificates } from "node:tls";
import * as v from "valibot";
import { formatHostPort, type HostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { firstCertificate, spkiPin } from "../identity/pin.ts";
import { publicUrl } from "../identity/url.ts";

export interface Trust {
  /** The proxy's public address; proofs of possession name it. */
  proxy: HostPort;
  /** The proxy's own CA; without it, the public web's and the system's. */
  caPem?: string | undefined;
}

/** A CA response at the most, bytes. */
const MAX_CA = 64 * 1024;
const CONNECT_TIMEOUT_MS = 15_000;

/** `rejectUnauthorized` is said in so many words, or NODE_TLS_REJECT_UNAUTHORIZED=0 in somebody's environment would turn it off. */
export const tlsOptions = (trust: Trust): { ca?: string | string[]; rejectUnauthorized: true } => ({
  ca: trust.caPem ?? webAuthorities(),
  rejectUnauthorized: true,
});

let authorities: string[] | undefined;

/** Mozilla's list as the binary carries it, and the host's own: a company's CA is trusted as the host trusts it. */
function webAuthorities(): string[] {
  authorities ??= [...getCACertificates("bundled"), ...systemAuthorities()];
  return authorities;
}

function systemAuthorities(): string[] {
  const files = [
    process.env.SSL_CERT_FILE,
    process.env.NODE_EXTRA_CA_CERTS,
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
  ];
  const file = files.find((path) => path !== undefined && path !== "" && existsSync(path));
  try {
    return file === undefined ? getCACertificates("system") : [readFileSync(file, "utf8")];
  } catch {
    return []; // a bundle that can't be read adds no trust
  }
}

/**
 * Fetches the proxy's CA over a connection that verifies nothing and carries nothing secret. The caller checks the pin
 * (or asks a person) before anything else is said to this proxy, over a new connection that verifies against this CA.
 */
export async function fetchCa(proxy: HostPort): Promise<{ caPem: string; pin: string }> {
  const body = await get(proxy, "/v1/webapi/ca", { rejectUnauthorized: false });
  const parsed = v.safeParse(v.object({ ca_pem: v.pipe(v.string(), v.maxLength(MAX_CA)) }), body);
  if (!parsed.success) {
    throw new Failure("tls", `${formatHostPort(proxy)} has no certificate authority of its own to pin`, {
      hint: "leave the pin out: its certificate is one of the public web's",
    });
  }
  try {
    // What is pinned is one certificate, and only that one is to be trusted, whatever else came with it.
    const caPem = firstCertificate(parsed.output.ca_pem);
    return { caPem, pin: spkiPin(caPem) };
  } catch (cause) {
    throw new Failure("tls", `${formatHostPort(proxy)} answered with something that is not a certificate`, { cause });
  }
}

/** The CA of `proxy`, checked against `pin`. Fails with `pin_mismatch`, and nothing secret was sent. */
export async function fetchPinnedCa(proxy: HostPort, pin: string): Promise<string> {
  const found = await fetchCa(proxy);
  if (found.pin !== pin) {
    throw new Failure(
      "pin_mismatch",
      `the CA of ${formatHostPort(proxy)} has another key than the pin: ${found.pin}, expected ${pin}`,
      {
        hint: "take the pin from the proxy's own host (the line that `mcpgate proxy start` prints); if it differs there too, somebody is in between",
      },
    );
  }
  return found.caPem;
}

/** `GET /v1/webapi/find`: needs no login. */
export async function findProxy(
  trust: Trust,
): Promise<{ public_addr: string; cluster_name: string; server_version: string }> {
  const body = await get(trust.proxy, "/v1/webapi/find", tlsOptions(trust));
  const schema = v.object({
    server_version: v.string(),
    cluster_name: v.string(),
    proxy: v.object({ public_addr: v.string() }),
  });
  const parsed = v.safeParse(schema, body);
  if (!parsed.success) {
    throw new Failure("unreachable", `${formatHostPort(trust.proxy)} is no mcpgate proxy`, {
      hint: "check the address and the port",
    });
  }
  const { server_version, cluster_name, proxy } = parsed.output;
  return { server_version, cluster_name, public_addr: proxy.public_addr };
}

async function get(
  proxy: HostPort,
  path: string,
  tls: { ca?: string | string[]; rejectUnauthorized: boolean },
): Promise<unknown> {
  const response = await reach(proxy, publicUrl(proxy, path), { tls });
  if (!response.ok) return undefined;
  const body = await readText(response, 4 * MAX_CA);
  try {
    return body === undefined ? undefined : JSON.parse(body);
  } catch {
    return undefined;
  }
}

/**
 * The answer's text, or `undefined` when it is longer than `maxBytes`: counted as it comes and after it was unpacked, so that
 * nobody in between fills our memory.
 */
export async function readText(response: Response, maxBytes: number): Promise<string | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > maxBytes) return undefined; // leaving the loop cancels the rest
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** `fetch` with a time limit, whose failures are ours. */
export async function reach(proxy: HostPort, url: string, init: BunFetchRequestInit): Promise<Response> {
  try {
    return await fetch(url, { redirect: "error", signal: AbortSignal.timeout(CONNECT_TIMEOUT_MS), ...init });
  } catch (error) {
    throw connectionFailure(proxy, error);
  }
}

const TLS_FAULT = /certificate|self[- ]signed|unable to verify|UNABLE_TO|CERT_|SSL|TLS|handshake|altname|issuer/i;

/** A connection that could not be made, in words that say which of the usual reasons it was. */
export function connectionFailure(proxy: HostPort, error: unknown): Failure {
  if (error instanceof Failure) return error;
  const { code, message } = error as { code?: unknown; message?: unknown };
  const said = typeof message === "string" ? message : String(error);
  const text = typeof code === "string" && !said.includes(code) ? `${said} (${code})` : said;
  if (TLS_FAULT.test(text)) {
    return new Failure("tls", `the certificate of ${formatHostPort(proxy)} can't be verified: ${text}`, {
      hint: "a proxy with its own CA needs its pin: --ca-pin=sha256:…, or ca_pin in the agent's configuration",
      cause: error,
    });
  }
  return new Failure("unreachable", `can't reach the proxy ${formatHostPort(proxy)}: ${text}`, {
    hint: "check the address, and that `mcpgate proxy start` runs there",
    cause: error,
  });
}
