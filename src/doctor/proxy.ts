/** The proxy's side: the process and its admin socket, certificates, what lies on its disk, and whether it is reached by its address. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import { openAdminApi } from "../client/api.ts";
import type { Config, ProxyConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import { spkiPin } from "../identity/pin.ts";
import { CLIENT_PATH } from "../link/protocol.ts";
import { inTime } from "../observe/in-time.ts";
import { VERSION } from "../version.ts";
import type { Edges } from "./edges.ts";
import { bounded, type Finding, report } from "./finding.ts";
import { checkPath } from "./path-to-proxy.ts";
import { checkModes, checkSpace } from "./storage.ts";
import { checkUnit, startCommand } from "./systemd.ts";

const WAY_MS = 30_000;
const LOCAL_MS = 6_000;
const ANSWER_MS = 8_000;
const DAY_MS = 86_400_000;
/** A certificate with less left is about to end, days. */
const SOON_DAYS = 14;

export async function checkProxy(config: Config, service: ProxyConfig, edges: Edges): Promise<Finding[]> {
  const dir = join(config.dataDir, "proxy");
  const local = (check: string, work: Parameters<typeof bounded>[3]) => bounded("proxy", check, LOCAL_MS, work);
  const all = await Promise.all([
    bounded("proxy", "way", WAY_MS, (soFar) => checkProcess(config, service, dir, edges, soFar)),
    local("certificate files", () => checkCertificate(service, edges.now())),
    local("permissions", () => checkModes("proxy", secretPaths(config, service, dir), edges.uid)),
    local("disk", () => checkSpace("proxy", dir, edges.statfs)),
    local("systemd", () => checkUnit({ part: "proxy", ...edges })),
  ]);
  return all.flat();
}

const secretPaths = ({ file }: Config, { keyFile, certFile, awsCertificates }: ProxyConfig, dir: string) => {
  const paths: Parameters<typeof checkModes>[1] = [
    "",
    "mcpgate.db",
    "mcpgate.db-wal",
    "mcpgate.db-shm",
    "admin.sock",
  ].map((name) => [join(dir, name), "nothing"]);
  if (keyFile !== undefined) paths.push([keyFile, "nothing"]);
  for (const path of [file, certFile, awsCertificates]) if (path !== undefined) paths.push([path, "read"]);
  return paths;
};

/** Through the admin socket first: what the proxy is to be reached by, it says itself. */
async function checkProcess(
  config: Config,
  service: ProxyConfig,
  dir: string,
  edges: Edges,
  findings: Finding[],
): Promise<Finding[]> {
  const say = report("proxy", "admin socket");
  const socket = join(dir, "admin.sock");
  const start = await startCommand({ part: "proxy", ...edges });
  if (!existsSync(socket)) {
    // who is not root looks elsewhere, unless the file says where the data is
    const fix = edges.uid === 0 ? start : `sudo mcpgate doctor, where it is root's; else: ${start}`;
    return [say.fail(`no proxy runs here: there is no ${socket}`, fix), ...(await way(service, undefined, edges))];
  }
  const api = await openAdminApi({ config, env: edges.env });
  const { answerMs = ANSWER_MS } = edges;
  const get = async <T>(path: string): Promise<T> => {
    const answer = await inTime(() => api.call<T>("GET", path), answerMs, undefined);
    if (answer !== undefined) return answer;
    const silence = `the proxy does not answer on ${socket} within ${answerMs / 1000} s`;
    throw new Failure("unavailable", silence, { hint: `its log may say why; then: ${start}` });
  };
  let caPem: string | undefined;
  try {
    const { server_version } = await get<{ server_version: string }>("/v1/webapi/find");
    findings.push(
      server_version === VERSION
        ? say.ok("the proxy answers")
        : say.warn(`what runs is ${server_version}, and ${VERSION} is installed`, start),
    );
    caPem = await get<{ ca_pem: string }>("/v1/webapi/ca").then(({ ca_pem }) => ca_pem, noCa);
    if (caPem !== undefined) findings.push(report("proxy", "pin").ok(`the CA's pin is ${spkiPin(caPem)}`));
  } catch (error) {
    findings.push(say.failure(error));
  } finally {
    api.close();
  }
  // its release was told already, if it answered
  const told = findings.some(({ state }) => state === "ok" || state === "warn");
  const more = await way(service, caPem, edges);
  return [...findings, ...more.filter(({ check, state }) => !(told && check === "version" && state !== "ok"))];
}

function noCa(error: unknown): undefined {
  if (Failure.from(error).code !== "not_found") throw error;
}

/** As clients go it. Some networks don't let a host reach its own public address, so that is no failure of its own. */
async function way(service: ProxyConfig, caPem: string | undefined, edges: Edges): Promise<Finding[]> {
  const { publicAddr } = service;
  if (publicAddr.port === 0) return [];
  const trust = caPem === undefined ? { proxy: publicAddr } : { proxy: publicAddr, caPem };
  const { findings } = await checkPath({ part: "proxy", trust, path: CLIENT_PATH, env: edges.env, now: edges.now });
  const softened = new Set(["name", "connection"]);
  return findings.map((each) =>
    each.state === "fail" && softened.has(each.check) && caPem !== undefined
      ? { ...each, state: "warn" as const, message: `${each.message} (seen from this host)` }
      : each,
  );
}

/** Not read synchronously: whatever lies there, the check ends in its time. */
async function checkCertificate({ certFile, keyFile, publicAddr }: ProxyConfig, now: number): Promise<Finding[]> {
  if (certFile === undefined || keyFile === undefined) return [];
  const say = report("proxy", "certificate files");
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(await readFile(certFile));
  } catch (error) {
    return [
      say.fail(
        `${certFile} is no certificate in PEM form, or can't be read: ${codeOf(error)}`,
        `openssl x509 -in '${certFile}' -noout -text`,
      ),
    ];
  }
  try {
    if (!certificate.checkPrivateKey(createPrivateKey(await readFile(keyFile)))) {
      return [
        say.fail(
          `${keyFile} is not the key of ${certFile}`,
          "put the pair that was issued together into cert_file and key_file",
        ),
      ];
    }
  } catch (error) {
    return [say.fail(`${keyFile} is no private key, or can't be read: ${codeOf(error)}`, `sudo ls -l '${keyFile}'`)];
  }
  const host = publicAddr.host;
  const covers = isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host);
  if (covers === undefined) {
    return [
      say.fail(
        `${certFile} is not for ${host}, which is public_addr (it is for ${certificate.subjectAltName ?? "no name"})`,
        "have a certificate issued for that name, or correct public_addr",
      ),
    ];
  }
  const days = Math.floor((Date.parse(certificate.validTo) - now) / DAY_MS);
  const renew = "renew it; the proxy takes the new file as soon as it is there";
  if (Date.parse(certificate.validFrom) > now)
    return [say.fail(`${certFile} is valid from ${certificate.validFrom} on`, "timedatectl")];
  if (days < 0) return [say.fail(`${certFile} ended on ${certificate.validTo}`, renew)];
  if (days < SOON_DAYS) return [say.warn(`${certFile} ends in ${days} days`, renew)];
  return [say.ok(`${certFile} is for ${host}, and good for ${days} days`)];
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? "unreadable";
