/** Whether a WebSocket gets through to the proxy, and whether pings come back: what stands in between may let neither pass. */
import { formatHostPort } from "../config/host-port.ts";
import { publicUrl } from "../identity/url.ts";
import { environmentProxy } from "../link/dial.ts";
import { challenge, parseMessage } from "../link/protocol.ts";
import { type Trust, tlsOptions } from "../link/trust.ts";
import { type Finding, type Part, report } from "./finding.ts";

export interface UpgradeOptions {
  part: Part;
  trust: Trust;
  path: string;
  env: Record<string, string | undefined>;
  /** How long a ping may take, milliseconds. */
  pongMs?: number;
}

const UPGRADE_MS = 8_000;
const PONG_MS = 5_000;
/** Bun's WebSocket can send pings and hears of the answers, which the standard one does not. */
interface PingingSocket extends WebSocket {
  ping(): void;
  terminate(): void;
}

export async function checkUpgrade({ part, trust, path, env, pongMs = PONG_MS }: UpgradeOptions): Promise<Finding[]> {
  const say = report(part, "websocket");
  const name = formatHostPort(trust.proxy);
  const url = publicUrl(trust.proxy, path);
  const proxy = environmentProxy(url, env);
  const between =
    proxy.proxy === undefined
      ? `what stands in front of ${name} has to pass \`Upgrade: websocket\` on ${path} (nginx: proxy_http_version 1.1, and the Upgrade and Connection headers)`
      : `the HTTP proxy of HTTPS_PROXY has to pass WebSockets to ${name}; or go around it: NO_PROXY=${trust.proxy.host}`;
  const socket = new WebSocket(url.replace(/^http/, "ws"), {
    tls: tlsOptions(trust),
    perMessageDeflate: false,
    ...proxy,
  } as Bun.WebSocketOptions) as PingingSocket;
  const { promise: greeted, resolve: greet } = Promise.withResolvers<string | undefined>();
  const { promise: answered, resolve: answer } = Promise.withResolvers<boolean>();
  socket.onerror = (event) => greet("message" in event ? String(event.message) : "the connection failed");
  socket.onclose = ({ code, reason }) => greet(reason || `closed with code ${code}`);
  socket.onmessage = ({ data }) => {
    const hello = typeof data === "string" ? parseMessage(challenge, data) : undefined;
    greet(hello === undefined ? "what answers is no mcpgate proxy" : undefined);
  };
  socket.addEventListener("pong", () => answer(true));
  const timers = [setTimeout(() => greet(`no answer within ${UPGRADE_MS / 1000} s`), UPGRADE_MS)];
  try {
    const fault = await greeted;
    if (fault !== undefined) return [say.fail(`no WebSocket to ${name}: ${statusOf(fault)}`, between)];
    const began = performance.now();
    timers.push(setTimeout(() => answer(false), pongMs));
    socket.ping();
    if (await answered) return [say.ok(`open, and a ping comes back in ${Math.round(performance.now() - began)} ms`)];
    return [
      say.fail(
        `a WebSocket to ${name} opens, but pings do not come back`,
        `what stands in front of ${name} has to pass ping and pong frames, or connections will be cut when they are silent`,
      ),
    ];
  } finally {
    for (const timer of timers) clearTimeout(timer);
    socket.terminate();
  }
}

/** The runtime's words for a refusal, down to the status. */
function statusOf(fault: string): string {
  const [, status] = /Expected 101 status code(?:: (\d+))?/.exec(fault) ?? [];
  return status === undefined ? fault : `the upgrade was answered with status ${status}`;
}
