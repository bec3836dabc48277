/** A network that misbehaves on demand: a TCP relay on loopback that cuts, stalls, half-closes, delays and fragments. */
import type { Socket } from "bun";

interface Side {
  socket: Socket<Side> | undefined;
  other: Side;
  pair: Pair;
  /** Bytes that wait, because of a fault or because the other socket is full. */
  waiting: Uint8Array[];
  ended: boolean;
}

interface Pair {
  stalled: boolean;
  /** Bytes at a time; single bytes are what no protocol above may notice. */
  fragment: number;
  delayMs: number;
  client: Side;
  server: Side;
}

export class TcpRelay {
  readonly port: number;
  /** Where connections go; 0 refuses them. */
  target = 0;
  /** What new connections begin with. */
  fragment = Number.POSITIVE_INFINITY;
  delayMs = 0;
  readonly #pairs = new Set<Pair>();
  readonly #listener: Bun.TCPSocketListener<Side>;

  constructor() {
    const handlers = this.#handlers();
    this.#listener = Bun.listen<Side>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        ...handlers,
        open: (socket) => {
          const pair = { stalled: false, fragment: this.fragment, delayMs: this.delayMs } as Pair;
          const client: Side = { socket, pair, waiting: [], ended: false, other: undefined as unknown as Side };
          const server: Side = { socket: undefined, pair, waiting: [], ended: false, other: client };
          client.other = server;
          Object.assign(pair, { client, server });
          socket.data = client;
          this.#pairs.add(pair);
          Bun.connect<Side>({ hostname: "127.0.0.1", port: this.target, data: server, socket: handlers }).then(
            (connected) => {
              server.socket = connected;
              if (!this.#pairs.has(pair)) connected.terminate();
              else void this.#flush(server);
            },
            () => this.#drop(pair),
          );
        },
      },
    });
    this.port = this.#listener.port;
  }

  get connections(): number {
    return this.#pairs.size;
  }

  /** Resets connections: all of them, or one that `pick` (0 to 1) chooses. */
  cut(pick?: number): void {
    for (const pair of this.#chosen(pick)) this.#drop(pair);
  }

  /** Nothing passes, and TCP says nothing. */
  stall(pick?: number): () => void {
    const chosen = this.#chosen(pick);
    for (const pair of chosen) pair.stalled = true;
    return () => {
      for (const pair of chosen) {
        pair.stalled = false;
        void this.#flush(pair.client);
        void this.#flush(pair.server);
      }
    };
  }

  /** Ends one direction only. */
  halfClose(pick?: number): void {
    for (const pair of this.#chosen(pick)) pair.server.socket?.shutdown();
  }

  fragmentInto(bytes: number, delayMs: number, pick?: number): void {
    for (const pair of this.#chosen(pick)) Object.assign(pair, { fragment: bytes, delayMs });
  }

  close(): void {
    this.cut();
    this.#listener.stop(true);
  }

  #chosen(pick: number | undefined): Pair[] {
    const all = [...this.#pairs];
    if (pick === undefined) return all;
    const one = all[Math.floor(pick * all.length)];
    return one === undefined ? [] : [one];
  }

  #handlers() {
    return {
      data: (socket: Socket<Side>, chunk: Buffer) => {
        const to = socket.data.other;
        to.waiting.push(new Uint8Array(chunk));
        void this.#flush(to);
      },
      drain: (socket: Socket<Side>) => void this.#flush(socket.data),
      end: (socket: Socket<Side>) => {
        socket.data.other.ended = true;
        void this.#flush(socket.data.other);
      },
      close: (socket: Socket<Side>) => this.#drop(socket.data.pair),
      error: (socket: Socket<Side>) => this.#drop(socket.data.pair),
    };
  }

  readonly #flushing = new WeakSet<Side>();

  async #flush(side: Side): Promise<void> {
    if (this.#flushing.has(side)) return;
    this.#flushing.add(side);
    try {
      const { pair } = side;
      while (side.waiting.length > 0 && side.socket !== undefined && !pair.stalled && this.#pairs.has(pair)) {
        const chunk = side.waiting[0] as Uint8Array;
        const part = chunk.subarray(0, Math.min(chunk.length, pair.fragment));
        const written = side.socket.write(part);
        if (written <= 0) return; // `drain` goes on
        if (written === chunk.length) side.waiting.shift();
        else side.waiting[0] = chunk.subarray(written);
        if (written < part.length) return;
        if (pair.delayMs > 0) await Bun.sleep(pair.delayMs);
        else if (pair.fragment < chunk.length) await new Promise<void>((resolve) => setImmediate(resolve));
      }
      if (side.ended && side.waiting.length === 0) side.socket?.end();
    } finally {
      this.#flushing.delete(side);
    }
  }

  #drop(pair: Pair): void {
    if (!this.#pairs.delete(pair)) return;
    pair.client.socket?.terminate();
    pair.server.socket?.terminate();
  }
}
