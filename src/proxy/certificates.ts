/** The proxy's TLS certificate: the one that it was given, or one of its own CA, renewed before it ends. */
import { readFileSync } from "node:fs";
import type { ProxyConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import { curlPin, spkiPin } from "../identity/pin.ts";
import { ensureKeys, listKeys, putKey } from "../store/keys.ts";
import type { Store } from "../store/store.ts";

export interface ServerCertificate {
  /** Both absent where something in front of the proxy ends TLS. */
  cert?: string;
  key?: string;
  /** The CA of our own; absent where the certificate was given. */
  caPem?: string;
  caPin?: string;
  /** Of the key in `cert`, for curl; with a CA of our own only. The key stays across renewals. */
  keyPin?: string;
}

export async function loadCertificate(store: Store, config: ProxyConfig, now: number): Promise<ServerCertificate> {
  const { certFile, keyFile } = config;
  if (!config.tls) return {};
  if (certFile !== undefined && keyFile !== undefined) {
    return { cert: readPem(certFile, "cert_file"), key: readPem(keyFile, "key_file") };
  }
  return ownCertificate(store, config, now);
}

function readPem(file: string, name: string): string {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new Failure("config", `proxy_service.${name}: can't read ${file}: ${(error as NodeJS.ErrnoException).code}`, {
      hint: `ls -l ${file}`,
    });
  }
  if (!text.includes("-----BEGIN ")) {
    throw new Failure("config", `proxy_service.${name}: ${file} is not PEM`, {
      hint: "openssl x509 -in FILE -out FILE.pem",
    });
  }
  return text;
}

/** The CA's key stays for its ten years, and so does the pin; the server's key stays across renewals. */
async function ownCertificate(store: Store, config: ProxyConfig, now: number): Promise<ServerCertificate> {
  const { createCa, issueLeaf, leafServes } = await import("../identity/pki.ts");
  const [storedCa] = await ensureKeys(
    store,
    "ca",
    async () => {
      const { certPem, keyPem } = await createCa(config.clusterName, now);
      return { id: spkiPin(certPem), public: certPem, private: keyPem };
    },
    now,
  );
  if (storedCa === undefined) throw new Failure("data_dir", "the proxy's CA is gone from its database");
  const ca = { certPem: storedCa.public, keyPem: storedCa.private };
  const names = serverNames(config);
  const stored = (await listKeys(store, "tls")).at(0);
  let leaf = stored === undefined ? undefined : { certPem: stored.public, keyPem: stored.private };
  if (leaf === undefined || !(await leafServes(leaf.certPem, { ca, names, now }))) {
    leaf = await issueLeaf({ ca, names, now, keyPem: leaf?.keyPem });
    await putKey(store, "tls", { id: "server", public: leaf.certPem, private: leaf.keyPem }, now);
  }
  const pins = { caPin: spkiPin(ca.certPem), keyPin: curlPin(leaf.certPem) };
  return { cert: leaf.certPem, key: leaf.keyPem, caPem: ca.certPem, ...pins };
}

/** What clients and agents may dial: the public name, and this host's loopback names and the address it listens on. */
function serverNames(config: ProxyConfig): string[] {
  const names = new Set([config.publicAddr.host, "localhost", "127.0.0.1", "::1"]);
  const listen = config.listen.host;
  if (listen !== "0.0.0.0" && listen !== "::") names.add(listen);
  return [...names];
}
