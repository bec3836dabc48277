/**
 * Sink `syslog`: RFC 5424 messages, over TCP with their length in front (RFC 6587, 3.4.1), or one a datagram. Syslog has no
 * acknowledgement: what the network stack took counts as sent.
 */
import { createSocket } from "node:dgram";
import { connect, type Socket } from "node:net";
import { hostname } from "node:os";
import type { SinkConfig } from "../config/config.ts";
import type { Sink } from "./sink.ts";

/** Facility 13 (log audit), severity 6 (informational). */
const PRIORITY = 13 * 8 + 6;
const CONNECT_MS = 10_000;

type Syslog = Extract<SinkConfig, { type: "syslog" }>;

/** `<PRI>1 TIME HOST mcpgate PID EVENT - JSON` */
export function syslogMessage(event: { time: string; event: string; text: string }, host = hostname()): string {
  return `<${PRIORITY}>1 ${event.time} ${host} mcpgate ${process.pid} ${event.event} - ${event.text.trimEnd()}`;
}

export const syslogSink = (config: Syslog): Sink => (config.transport === "udp" ? overUdp(config) : overTcp(config));

function overUdp({ address: { host, port } }: Syslog): Sink {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  socket.unref();
  socket.on("error", () => {}); // each send says so itself
  return {
    async send(events) {
      for (const event of events) {
        await new Promise<void>((resolve, reject) =>
          socket.send(syslogMessage(event), port, host, (error) => (error ? reject(error) : resolve())),
        );
      }
    },
    close: () => socket.close(),
  };
}

function overTcp({ address: { host, port } }: Syslog): Sink {
  let connection: Socket | undefined;
  const dropped = (socket: Socket) => {
    if (connection === socket) connection = undefined;
  };
  const open = async (): Promise<Socket> => {
    if (connection !== undefined) return connection;
    const socket = connect({ host, port });
    await new Promise<void>((resolve, reject) => {
      socket.setTimeout(CONNECT_MS, () => socket.destroy(new Error("no connection within 10 s")));
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    socket.setTimeout(0);
    socket.on("error", () => dropped(socket));
    socket.on("close", () => dropped(socket));
    socket.resume(); // nobody answers, but an end is to be noticed
    connection = socket;
    return socket;
  };
  return {
    async send(events) {
      const socket = await open();
      const messages = events.map((event) => Buffer.from(syslogMessage(event)));
      const bytes = Buffer.concat(messages.flatMap((each) => [Buffer.from(`${each.byteLength} `), each]));
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const closed = () => reject(new Error("the connection was closed"));
      socket.once("close", closed);
      socket.write(bytes, (error) => (error ? reject(error) : resolve()));
      await promise.finally(() => socket.off("close", closed));
    },
    close: () => connection?.destroy(),
  };
}
