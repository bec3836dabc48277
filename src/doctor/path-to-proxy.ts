/**
 * The way to the proxy, step by step, as clients and agents go it: name, connection, certificate and pin, the proxy's answer
 * (release, address, clock), and a WebSocket with a ping both ways. What comes after a step that failed is not tried.
 */
import { lookup } from "node:dns/promises";
import { connect, isIP } from "node:net";
import { formatHostPort, type HostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { publicUrl } from "../identity/url.ts";
import { environmentProxy } from "../link/dial.ts";
import { fetchCa, type Trust } from "../link/trust.ts";
import { inTime } from "../observe/in-time.ts";
import { type Finding, type Part, report } from "./finding.ts";
import { checkAnswer } from "./proxy-answer.ts";
import { checkUpgrade } from "./upgrade.ts";

export interface PathOptions {
  part: Part;
  trust: Trust;
  /** The pin that the proxy's CA has to have. */
  pin?: string | undefined;
  /** Where a WebSocket would go. */
  path: string;
  env: Record<string, string | undefined>;
  /** Milliseconds since the epoch. */
  now: () => number;
  /** How long a ping may take, milliseconds. */
  pongMs?: number;
  /** How long the CA may take to come, milliseconds. */
  pinMs?: number;
  /** Takes each finding as soon as it is there. */
  soFar?: Finding[];
}

export interface PathResult {
  findings: Finding[];
  /** Whether requests reach the proxy. */
  reached: boolean;
  /** What was given; where it had no CA, with the one that has the pin. */
  trust: Trust;
}

const CHECKS = ["name", "connection", "certificate", "version", "clock", "websocket"];
const STEP_MS = 5_000;
const PIN_MS = 8_000;

export async function checkPath(o: PathOptions): Promise<PathResult> {
  const { part, env, soFar: findings = [] } = o;
  const before = findings.length;
  let { trust } = o;
  const url = publicUrl(trust.proxy, "/v1/webapi/find");
  const via = httpProxy(environmentProxy(url, env).proxy);
  const next = typeof via === "string" ? trust.proxy : (via ?? trust.proxy);
  if (typeof via === "string") findings.push(report(part, "http proxy").fail(via, "correct HTTPS_PROXY, or unset it"));
  else if (via !== undefined) {
    findings.push(report(part, "http proxy").ok(`the way goes through ${formatHostPort(via)} (HTTPS_PROXY)`));
  }

  const steps = [
    () => checkName(part, next.host),
    () => checkConnection(part, next),
    async () => {
      const { found, caPem } = await checkPin(o);
      if (trust.caPem === undefined && caPem !== undefined) trust = { ...trust, caPem };
      return found;
    },
    () => checkAnswer({ ...o, trust }),
    () => checkUpgrade({ ...o, trust }),
  ];
  let reached = false;
  for (const step of steps) {
    const got = await step();
    findings.push(...got);
    // one of another release, or under another address, is there all the same
    reached ||= got.some(({ check }) => check === "clock");
    const failed = reached ? undefined : got.find(({ state }) => state === "fail");
    if (failed === undefined) continue;
    const left = CHECKS.filter((name) => !findings.some(({ check }) => check === name));
    findings.push(...left.map((name) => report(part, name).skip(`not tried, as the ${failed.check} is not right`)));
    break;
  }
  return { findings: findings.slice(before), reached, trust };
}

/** The HTTP proxy's address without what it takes to use it; a text that says what is wrong with it. */
function httpProxy(text: string | undefined): HostPort | string | undefined {
  if (text === undefined) return undefined;
  const url = URL.parse(text.includes("://") ? text : `http://${text}`);
  if (url === null || url.hostname === "") return "HTTPS_PROXY is no address";
  const port = url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
  return { host: url.hostname.replace(/^\[|\]$/g, ""), port };
}

async function checkName(part: Part, host: string): Promise<Finding[]> {
  const say = report(part, "name");
  if (isIP(host) !== 0) return [say.ok(`${host} is an address`)];
  const timeout = Bun.sleep(STEP_MS).then(() => {
    throw new Error(`no answer within ${STEP_MS / 1000} s`);
  });
  try {
    const addresses = await Promise.race([lookup(host, { all: true }), timeout]);
    return [say.ok(`${host} is ${addresses.map(({ address }) => address).join(", ")}`)];
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
    return [say.fail(`the name ${host} can't be resolved: ${why}`, `getent hosts ${host}; cat /etc/resolv.conf`)];
  }
}

function checkConnection(part: Part, to: HostPort): Promise<Finding[]> {
  const say = report(part, "connection");
  const { promise, resolve } = Promise.withResolvers<Finding[]>();
  const began = performance.now();
  const socket = connect({ host: to.host, port: to.port });
  const end = (finding: Finding) => {
    clearTimeout(timer);
    socket.destroy();
    resolve([finding]);
  };
  const no = (why: string) =>
    end(
      say.fail(
        `no connection to ${formatHostPort(to)}: ${why}`,
        `does the proxy run there (sudo mcpgate doctor on its host), and does every firewall in between let TCP port ${to.port} pass?`,
      ),
    );
  const timer = setTimeout(() => no(`no answer within ${STEP_MS / 1000} s`), STEP_MS);
  socket.once("connect", () =>
    end(say.ok(`${formatHostPort(to)} answers in ${Math.round(performance.now() - began)} ms`)),
  );
  socket.once("error", (error: NodeJS.ErrnoException) => no(error.code ?? error.message));
  return promise;
}

/** `caPem`: of the CA that has the pin. */
async function checkPin({
  part,
  trust,
  pin,
  pinMs = PIN_MS,
}: PathOptions): Promise<{ found: Finding[]; caPem?: string }> {
  if (pin === undefined) return { found: [] };
  const say = report(part, "certificate");
  const name = formatHostPort(trust.proxy);
  try {
    const ca = await inTime(() => fetchCa(trust.proxy), pinMs, undefined);
    if (ca === undefined) {
      const fix = "what answers there may be no mcpgate proxy, or the proxy hangs: sudo mcpgate doctor on its host";
      return { found: [report(part, "connection").fail(`${name} says nothing within ${pinMs / 1000} s`, fix)] };
    }
    if (ca.pin === pin) return { found: [], caPem: ca.caPem };
    const message = `the CA of ${name} has the pin ${ca.pin}, and ${pin} is what is trusted here`;
    return { found: [say.fail(message, pinFix(part, trust.proxy))] };
  } catch (error) {
    const { code, message, hint } = Failure.from(error);
    const fix = code === "tls" && part === "agent" ? "remove ca_pin from the agent's configuration" : hint;
    return { found: [say.fail(message, fix)] };
  }
}

/** Which of the two is right, only the proxy's own host can tell. */
function pinFix(part: Part, proxy: HostPort): string {
  const look = "compare with what `sudo mcpgate doctor` says on the proxy's host; if it is the new one:";
  if (part === "agent")
    return `${look} set ca_pin to it, remove agent/identity.json from the data directory, and join again`;
  return `${look} mcpgate client login --proxy=${formatHostPort(proxy)} --ca-pin=PIN`;
}
