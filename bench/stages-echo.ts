/** A WebSocket that sends back what it gets: `bun stages-echo.ts [CERT KEY]`; the port on stdout. Ends with its stdin. */
import { readFileSync } from "node:fs";

const [cert, key] = process.argv.slice(2);
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  ...(cert === undefined || key === undefined ? {} : { tls: { cert: readFileSync(cert), key: readFileSync(key) } }),
  fetch: (request, own) => (own.upgrade(request) ? undefined : new Response("no", { status: 400 })),
  websocket: { message: (socket, message) => void socket.send(message), perMessageDeflate: false },
});
console.log(server.port);
await Bun.stdin.text();
process.exit(0);
