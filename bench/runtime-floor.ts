/**
 * The floor of the runtime: a relay through three processes as ours are (pipe, WebSocket with TLS, WebSocket with TLS, pipe), in
 * the same runtime, and nothing in them: no proof, no link, no gate, no audit. What a call takes beyond it is ours.
 *
 *     bun runtime-floor.ts proxy CERT KEY | agent URL CA SERVER… | client URL CA
 *
 * One session at a time, as often as one likes: the agent starts the server when a client comes.
 */
import { readFileSync } from "node:fs";

const FRAME = 64 * 1024;
const LIMITS = { perMessageDeflate: false, maxPayloadLength: 64 * 1024 * 1024, backpressureLimit: 256 * 1024 * 1024 };
const [role, ...rest] = process.argv.slice(2);

if (role === "proxy") runProxy(rest[0] ?? "", rest[1] ?? "");
else if (role === "agent") await runAgent(rest[0] ?? "", rest[1] ?? "", rest.slice(2));
else await runClient(rest[0] ?? "", rest[1] ?? "");

function runProxy(cert: string, key: string): void {
  type Ws = Bun.ServerWebSocket<{ agent: boolean }>;
  let agent: Ws | undefined;
  let client: Ws | undefined;
  const server = Bun.serve<{ agent: boolean }>({
    hostname: "127.0.0.1",
    port: 0,
    tls: { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") },
    fetch: (request, self) =>
      self.upgrade(request, { data: { agent: request.url.endsWith("/agent") } }) ? undefined : new Response("no"),
    websocket: {
      ...LIMITS,
      open(ws) {
        if (ws.data.agent) agent = ws;
        else {
          client = ws;
          agent?.sendText("open");
        }
      },
      message(ws, message) {
        const other = ws.data.agent ? client : agent;
        if (typeof message !== "string") other?.sendBinary(message);
      },
      close(ws) {
        if (ws !== client) return;
        client = undefined;
        agent?.sendText("close");
      },
    },
  });
  console.log(server.port);
}

async function dial(url: string, ca: string): Promise<WebSocket> {
  const options = { perMessageDeflate: false, tls: { ca: readFileSync(ca, "utf8") } } as Bun.WebSocketOptions;
  const socket = new WebSocket(url, options);
  socket.binaryType = "nodebuffer";
  await new Promise<void>((resolve, reject) => {
    socket.onopen = () => resolve();
    socket.onerror = () => reject(new Error("no connection"));
  });
  return socket;
}

async function pour(from: AsyncIterable<Uint8Array>, into: WebSocket): Promise<void> {
  for await (const chunk of from) {
    for (let at = 0; at < chunk.length; at += FRAME) into.send(chunk.subarray(at, at + FRAME));
  }
}

async function runAgent(url: string, ca: string, argv: string[]): Promise<void> {
  const socket = await dial(`${url}/agent`, ca);
  let server: Bun.Subprocess<"pipe", "pipe", "inherit"> | undefined;
  socket.onclose = () => process.exit(0);
  socket.onmessage = ({ data }: MessageEvent<string | Buffer>) => {
    if (typeof data !== "string") {
      server?.stdin.write(data);
      server?.stdin.flush();
      return;
    }
    server?.kill();
    server = data === "open" ? Bun.spawn(argv, { stdin: "pipe", stdout: "pipe", stderr: "inherit" }) : undefined;
    if (server !== undefined) void pour(server.stdout, socket);
  };
  console.log("ready");
}

async function runClient(url: string, ca: string): Promise<void> {
  const socket = await dial(`${url}/client`, ca);
  const out = Bun.stdout.writer();
  socket.onclose = () => process.exit(0);
  socket.onmessage = ({ data }: MessageEvent<Buffer>) => {
    out.write(data);
    out.flush();
  };
  await pour(Bun.stdin.stream(), socket);
  process.exit(0);
}
