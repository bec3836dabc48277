/** What the proxy says of itself, and by that: whether its certificate is trusted, whose release is behind, its address, its clock. */
import * as v from "valibot";
import { formatHostPort, type HostPort, parseHostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { publicUrl } from "../identity/url.ts";
import { reach, readText, type Trust, tlsOptions } from "../link/trust.ts";
import { MIN_CLIENT_VERSION, VERSION } from "../version.ts";
import { type Finding, type Part, report } from "./finding.ts";

export interface AnswerOptions {
  part: Part;
  trust: Trust;
  /** Milliseconds since the epoch. */
  now: () => number;
}

const ANSWER_MS = 10_000;
/** A clock that is off by less is nobody's trouble, seconds. */
const CLOCK_S = 30;
/** Signatures for AWS are refused beyond that, seconds. */
const CLOCK_LIMIT_S = 5 * 60;
const MAX_ANSWER = 64 * 1024;

const found = v.object({
  server_version: v.pipe(v.string(), v.maxLength(64)),
  min_client_version: v.optional(v.pipe(v.string(), v.maxLength(64))),
  proxy: v.object({ public_addr: v.pipe(v.string(), v.maxLength(300)) }),
});

/** The proxy's own word on itself, over a connection that is trusted; with its clock. */
export async function checkAnswer({ part, trust, now }: AnswerOptions): Promise<Finding[]> {
  const url = publicUrl(trust.proxy, "/v1/webapi/find");
  const name = formatHostPort(trust.proxy);
  const certificate = report(part, "certificate");
  const sent = now();
  let response: Response;
  try {
    response = await reach(trust.proxy, url, { tls: tlsOptions(trust), signal: AbortSignal.timeout(ANSWER_MS) });
  } catch (error) {
    const { code, message, hint } = Failure.from(error);
    return [code === "tls" ? certificate.fail(message, hint) : report(part, "connection").fail(message, hint)];
  }
  const heard = now();
  const text = await readText(response, MAX_ANSWER).catch(() => undefined);
  const parsed = v.safeParse(found, parseJson(text ?? ""));
  if (!response.ok || !parsed.success) {
    const fix = `what answers there is something else (status ${response.status}): check the address and what stands in front of the proxy`;
    return [certificate.ok(trusted(trust)), report(part, "version").fail(`${name} is no mcpgate proxy`, fix)];
  }
  return [
    certificate.ok(trusted(trust)),
    versionFinding(part, trust, parsed.output),
    ...addressFinding(part, trust.proxy, parsed.output.proxy.public_addr),
    clockFinding(part, response.headers.get("date"), sent, heard),
  ];
}

const trusted = ({ caPem }: Trust): string =>
  caPem === undefined ? "verified by this host's certificate authorities" : "verified by the proxy's own CA";

function versionFinding(
  part: Part,
  { proxy, caPem }: Trust,
  { server_version, min_client_version }: v.InferOutput<typeof found>,
): Finding {
  const say = report(part, "version");
  // plain curl can't verify a proxy's own CA
  const install =
    caPem === undefined
      ? `curl -fsS ${publicUrl(proxy, "/scripts/install.sh")} | sudo bash`
      : part === "client"
        ? "install the proxy's release by the line that came with your invite"
        : "install the proxy's release by the line that `mcpgate tokens add --type=app` prints on its host";
  if (min_client_version !== undefined && order(min_client_version, VERSION) > 0) {
    return say.fail(
      `${VERSION} here is too old for the proxy ${server_version}, which wants ${min_client_version}`,
      install,
    );
  }
  if (order(MIN_CLIENT_VERSION, server_version) > 0) {
    return say.fail(
      `the proxy ${server_version} is too old for ${VERSION} here`,
      "install this release on the proxy's host first",
    );
  }
  const ahead = order(server_version, VERSION);
  if (ahead > 0) return say.warn(`${VERSION} here, and the proxy has ${server_version}`, install);
  if (ahead < 0 || server_version !== VERSION)
    return say.warn(
      `the proxy has ${server_version}, and ${VERSION} is here`,
      "install this release on the proxy's host",
    );
  return say.ok(`${VERSION} here and at the proxy`);
}

function addressFinding(part: Part, dialled: HostPort, told: string): Finding[] {
  const say = report(part, "address");
  const address = parseHostPort(told, { defaultPort: 443 });
  // what somebody may paste into a shell is not the other side's to choose
  if (typeof address === "string" || !/^[\w.:[\]-]+$/.test(told)) {
    return [say.fail("the proxy's public address is none", "correct proxy_service.public_addr on the proxy's host")];
  }
  if (address.host === dialled.host && address.port === dialled.port) return [];
  const fix =
    part === "agent"
      ? `in the agent's configuration: proxy_server: ${told}`
      : part === "proxy"
        ? "restart the proxy, or correct proxy_service.public_addr"
        : `mcpgate client login --proxy=${told} --user=NAME`;
  const message = `the proxy's public address is ${told}, and ${formatHostPort(dialled)} is what is dialled: proofs are refused`;
  return [say.fail(message, fix)];
}

function clockFinding(part: Part, date: string | null, sent: number, heard: number): Finding {
  const say = report(part, "clock");
  const theirs = date === null ? Number.NaN : Date.parse(date);
  if (Number.isNaN(theirs)) return say.skip("the answer has no date");
  // the header has whole seconds, and its second began up to one ago
  const off = Math.round((sent / 2 + heard / 2 - theirs - 500) / 1000);
  if (Math.abs(off) <= CLOCK_S) return say.ok("within seconds of the proxy's");
  const message = `this host's clock is ${Math.abs(off)} s ${off > 0 ? "ahead of" : "behind"} the proxy's`;
  const fix = "sudo timedatectl set-ntp true; on both hosts: timedatectl";
  return Math.abs(off) > CLOCK_LIMIT_S ? say.fail(message, fix) : say.warn(message, fix);
}

function order(a: string, b: string): number {
  try {
    return Bun.semver.order(a, b);
  } catch {
    return 0;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
