/**
 * Both ends of a proxy in one process: an agent that offers an app and clients that open sessions on it, as the proxy sees
 * them, and frames between them that nobody makes sense of. `bun relay-ends.ts JSON`, the JSON a `RelayOrder`; lines of
 * JSON on stdout, one for each size.
 */
import { loadIdentity } from "../src/agent/join.ts";
import { loadProfile } from "../src/client/state.ts";
import { loadConfig } from "../src/config/load.ts";
import type { KeyPair } from "../src/identity/keys.ts";
import { signProof } from "../src/identity/proof.ts";
import { publicUrl } from "../src/identity/url.ts";
import { LINK_VERSION } from "../src/link/frame.ts";
import { AGENT_CONTROL_PATH, AGENT_SESSION_PATH, CLIENT_PATH } from "../src/link/protocol.ts";
import type { Trust } from "../src/link/trust.ts";
import { createLog } from "../src/log.ts";
import { VERSION } from "../src/version.ts";
import { cpuSeconds } from "./processes.ts";

export interface RelayOrder {
  agentConfig: string;
  /** Where the agent's identity lies, or will. */
  agentDir: string;
  clientHome: string;
  tls: boolean;
  /** Whose CPU is counted. */
  proxyPid: number;
  sessions: number;
  sizes: number[];
  ms: number;
}

export interface RelayResult {
  size: number;
  messages: number;
  seconds: number;
  proxyCpuSeconds: number;
}

/** Bytes and messages that are on their way at the most, of all sessions together. */
const IN_FLIGHT_BYTES = 8 * 1024 * 1024;
const IN_FLIGHT_MESSAGES = 4096;

const order: RelayOrder = JSON.parse(process.argv[2] ?? "");
const log = createLog({ severity: "ERROR" });
const config = loadConfig({ path: order.agentConfig, env: {}, uid: process.getuid?.() ?? 0 });
const identity = await loadIdentity(config, order.agentDir, log);
const profile = await loadProfile(order.clientHome);
if (profile === undefined) throw new Error("nobody is logged in");

type Message = { t: string; nonce?: string; attach?: string; message?: string };
interface Dialled {
  path: string;
  key: KeyPair;
  claims?: Record<string, string>;
  first(proof: string): object;
  /** The text message that ends the handshake. */
  until: string;
  onText?(socket: WebSocket, message: Message): void;
}

/** `link/dial.ts` speaks TLS only; what ends TLS in front of a proxy without it would be measured along. */
function dial(trust: Trust, o: Dialled): Promise<WebSocket> {
  const url = publicUrl(trust.proxy, o.path);
  const socket = new WebSocket(url.replace(/^https/, order.tls ? "wss" : "ws"), {
    tls: { ca: trust.caPem },
    perMessageDeflate: false,
  } as Bun.WebSocketOptions);
  socket.binaryType = "nodebuffer";
  const { promise, resolve, reject } = Promise.withResolvers<WebSocket>();
  socket.onmessage = ({ data }: MessageEvent<string>) => {
    const message: Message = JSON.parse(data);
    if (message.t === "refused") reject(new Error(message.message));
    else if (message.t === "challenge") {
      const request = { key: o.key, method: "GET", url, nonce: message.nonce ?? "" };
      void signProof({ ...request, ...(o.claims === undefined ? {} : { claims: o.claims }) }).then((proof) =>
        socket.send(JSON.stringify(o.first(proof))),
      );
    } else if (message.t === o.until) resolve(socket);
    else o.onText?.(socket, message);
  };
  socket.onclose = ({ code, reason }) => reject(new Error(`${o.path}: closed, ${code} ${reason}`));
  return promise;
}

const accepted: WebSocket[] = [];
let onAccepted: (() => void) | undefined;

async function serve(attach: string): Promise<void> {
  const socket = await dial(identity.trust, {
    path: AGENT_SESSION_PATH,
    key: identity.key,
    claims: { attach },
    first: (proof) => ({ t: "accept", proof, attach, link: LINK_VERSION }),
    until: "joined",
  });
  accepted.push(socket);
  onAccepted?.();
}

const control = await dial(identity.trust, {
  path: AGENT_CONTROL_PATH,
  key: identity.key,
  first: (proof) => ({
    ...{ t: "hello", proof, agent: identity.agent, boot: crypto.randomUUID(), version: VERSION },
    ...{ apps: [{ name: "bench", description: "", labels: {}, shared: false }], sessions: [], ended: [] },
  }),
  until: "welcome",
});
const afterHello = (message: Message) => {
  if (message.t === "ping") control.send(JSON.stringify({ t: "pong" }));
  if (message.t === "session.open" && message.attach !== undefined) void serve(message.attach);
};
control.onmessage = ({ data }: MessageEvent<string>) => afterHello(JSON.parse(data));

interface Pair {
  agent: WebSocket;
  client: WebSocket;
}

async function open(key: KeyPair, trust: Trust): Promise<Pair> {
  const sid = crypto.randomUUID();
  const came = new Promise<void>((resolve) => {
    onAccepted = resolve;
  });
  const client = await dial(trust, {
    path: CLIENT_PATH,
    key,
    claims: { sid, app: "bench" },
    first: (proof) => ({ t: "attach", proof, sid, app: "bench", link: [LINK_VERSION], version: VERSION }),
    until: "joined",
  });
  await came;
  return { client, agent: accepted.at(-1) as WebSocket };
}

const pairs: Pair[] = [];
for (let i = 0; i < order.sessions; i++) pairs.push(await open(profile.key, profile.trust));

/** From the agents to the clients, as much as comes through. */
async function relay(size: number): Promise<RelayResult> {
  const share = Math.min(IN_FLIGHT_MESSAGES, Math.floor(IN_FLIGHT_BYTES / size)) / pairs.length;
  const window = Math.max(2, Math.floor(share));
  const message = new Uint8Array(size).fill(120);
  const word = new Uint8Array(9).fill(2);
  let [messages, open, sending] = [0, 0, true];
  const ended = Promise.withResolvers<void>();
  for (const { agent, client } of pairs) {
    const step = Math.max(1, Math.floor(window / 4));
    let came = 0;
    client.onmessage = () => {
      messages++;
      // As a link does: what is owed is acknowledged a quarter of the window at a time.
      if (++came % step === 0) client.send(word);
    };
    const send = (count: number) => {
      for (let i = 0; i < count; i++) agent.send(message);
      open += count;
    };
    agent.onmessage = () => {
      open -= step;
      if (sending) send(step);
      else if (open <= pairs.length * step) ended.resolve();
    };
    send(step * 4);
  }
  await Bun.sleep(order.ms / 4);
  const [begun, cpu, before] = [performance.now(), cpuSeconds(order.proxyPid), messages];
  await Bun.sleep(order.ms);
  const result = {
    size,
    messages: messages - before,
    seconds: (performance.now() - begun) / 1000,
    proxyCpuSeconds: cpuSeconds(order.proxyPid) - cpu,
  };
  sending = false;
  await Promise.race([ended.promise, Bun.sleep(2_000)]);
  await Bun.sleep(50);
  return result;
}

for (const size of order.sizes) console.log(JSON.stringify(await relay(size)));
process.exit(0);
