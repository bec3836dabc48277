/**
 * A load balancer that ends TLS: passes what comes on to a plain port with `X-Forwarded-For`, and cuts what is silent, as
 * they do.
 */
import type { Socket } from "bun";

interface Side {
  socket: Socket<Side> | undefined;
  other: Side;
  waiting: Uint8Array[];
}

export interface LoadBalancerOptions {
  cert: string;
  key: string;
  /** Silence after which a connection is cut, milliseconds. */
  idleMs: number;
  /** What it says of where its clients are. */
  client: string;
}

export class LoadBalancer {
  readonly port: number;
  /** The plain port. */
  target = 0;
  /** Connections cut so far. */
  cuts = 0;
  readonly #listener: Bun.TCPSocketListener<Side>;
  readonly #timers = new Map<Side, ReturnType<typeof setTimeout>>();

  constructor({ cert, key, idleMs, client }: LoadBalancerOptions) {
    const touch = (side: Side) => {
      const near = this.#timers.has(side.other) ? side.other : side;
      clearTimeout(this.#timers.get(near));
      const cut = () => {
        this.cuts++;
        near.socket?.terminate();
        near.other.socket?.terminate();
      };
      this.#timers.set(near, setTimeout(cut, idleMs));
    };
    const flush = (side: Side) => {
      while (side.socket !== undefined && side.waiting[0] !== undefined) {
        const written = side.socket.write(side.waiting[0]);
        if (written < side.waiting[0].length) {
          side.waiting[0] = side.waiting[0].subarray(Math.max(0, written));
          return;
        }
        side.waiting.shift();
      }
    };
    const end = (side: Side) => {
      for (const each of [side, side.other]) {
        clearTimeout(this.#timers.get(each));
        this.#timers.delete(each);
        each.socket?.end();
      }
    };
    const handlers = {
      data: (socket: Socket<Side>, chunk: Buffer) => {
        const side = socket.data;
        touch(side);
        side.other.waiting.push(
          HEAD.test(chunk.toString("latin1", 0, 16)) ? forwarded(chunk, client) : new Uint8Array(chunk),
        );
        flush(side.other);
      },
      drain: (socket: Socket<Side>) => flush(socket.data),
      close: (socket: Socket<Side>) => end(socket.data),
      error: (socket: Socket<Side>) => end(socket.data),
    };
    this.#listener = Bun.listen<Side>({
      hostname: "127.0.0.1",
      port: 0,
      tls: { cert, key },
      socket: {
        ...handlers,
        open: (socket) => {
          const near = { socket, waiting: [] } as unknown as Side;
          const far: Side = { socket: undefined, waiting: [], other: near };
          near.other = far;
          socket.data = near;
          touch(near);
          Bun.connect<Side>({ hostname: "127.0.0.1", port: this.target, data: far, socket: handlers }).then(
            (connected) => {
              far.socket = connected;
              flush(far);
            },
            () => end(near),
          );
        },
      },
    });
    this.port = this.#listener.port;
  }

  close(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#listener.stop(true);
  }
}

/** A request begins here. No frame of a WebSocket's client does so: its payload is masked. */
const HEAD = /^(GET|POST|PUT|PATCH|DELETE) \//;

/** With the header, after the request's first line. */
function forwarded(chunk: Uint8Array, client: string): Uint8Array {
  const at = chunk.indexOf(10) + 1;
  return Buffer.concat([chunk.subarray(0, at), Buffer.from(`X-Forwarded-For: ${client}\r\n`), chunk.subarray(at)]);
}
