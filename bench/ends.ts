/**
 * Many client ends in one process, through the client's own code (`src/client/session.ts`): a process each does not fit into
 * one machine. `bun ends.ts HOME`; orders come as lines on stdin (`EndsOrder`), answers go as lines to stdout.
 */
import { ClientSession } from "../src/client/session.ts";
import { loadProfile } from "../src/client/state.ts";
import { createLog } from "../src/log.ts";
import { callLine, INITIALIZE, INITIALIZED } from "./requests.ts";
import { quantile } from "./statistics.ts";

export type EndsOrder =
  /** Opens so many more, eight at a time. */
  | { t: "open"; count: number }
  /** One call in flight on each of them. */
  | { t: "load"; ms: number }
  /** Opens and closes so many, so many at a time. */
  | { t: "churn"; count: number; parallel: number }
  | { t: "close" };

export interface EndsAnswer {
  seconds: number;
  calls: number;
  p50: number;
  p99: number;
}

const ANSWER_MS = 30_000;
const OPENING = 8;

const home = process.argv[2] ?? "";
const loaded = await loadProfile(home);
if (loaded === undefined) throw new Error("nobody is logged in");
const profile = loaded;
const log = createLog({ severity: "ERROR" });
const encoder = new TextEncoder();

class End {
  readonly #session: ClientSession;
  #id = 0;
  #want = Buffer.alloc(0);
  #answered: PromiseWithResolvers<void> | undefined;

  constructor() {
    this.#session = new ClientSession({
      app: "bench",
      log,
      profile: async () => profile,
      onData: (bytes) => this.#onData(bytes),
      onEnd: () => this.#answered?.reject(new Error("the server ended")),
      onPause: () => {},
      onClose: ({ message }) => this.#answered?.reject(new Error(`closed: ${message}`)),
    });
  }

  async open(): Promise<void> {
    await this.#session.open();
    await this.#ask(0, INITIALIZE);
    this.#session.write(encoder.encode(INITIALIZED));
  }

  call(): Promise<void> {
    const id = ++this.#id;
    return this.#ask(id, callLine(id));
  }

  close(): Promise<void> {
    this.#answered = undefined;
    return this.#session.close("the benchmark is done");
  }

  #ask(id: number, line: string): Promise<void> {
    this.#want = Buffer.from(`"id":${id},`);
    const answered = Promise.withResolvers<void>();
    this.#answered = answered;
    this.#session.write(encoder.encode(line));
    return answered.promise;
  }

  #onData(bytes: Uint8Array): void {
    // Answers are small here: one comes in one piece.
    if (Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes(this.#want)) this.#answered?.resolve();
  }
}

const ends: End[] = [];

async function inParallel(count: number, parallel: number, work: () => Promise<void>): Promise<void> {
  let left = count;
  const worker = async () => {
    while (left-- > 0) await work();
  };
  await Promise.all(Array.from({ length: Math.min(parallel, count) }, worker));
}

/** Times of the calls, milliseconds. */
async function obey(order: EndsOrder): Promise<number[]> {
  switch (order.t) {
    case "open":
      await inParallel(order.count, OPENING, async () => {
        const end = new End();
        await end.open();
        ends.push(end);
      });
      return [];
    case "load": {
      const until = performance.now() + order.ms;
      const times: number[] = [];
      const one = async (end: End) => {
        for (let began = performance.now(); began < until; ) {
          await end.call();
          const now = performance.now();
          times.push(now - began);
          began = now;
        }
      };
      await Promise.all(ends.map(one));
      return times;
    }
    case "churn": {
      const times: number[] = [];
      await inParallel(order.count, order.parallel, async () => {
        const began = performance.now();
        const end = new End();
        await end.open();
        times.push(performance.now() - began);
        await end.close();
      });
      return times;
    }
    case "close":
      await Promise.all(ends.splice(0).map((end) => end.close()));
      return [];
  }
}

for await (const line of console) {
  const order: EndsOrder = JSON.parse(line);
  const began = performance.now();
  const patience = (order.t === "load" ? order.ms : 0) + (order.t === "open" ? order.count * 500 : 0) + ANSWER_MS;
  const timer = setTimeout(() => {
    console.error(`no answer to ${order.t} in time`);
    process.exit(1);
  }, patience);
  const times = await obey(order);
  clearTimeout(timer);
  const answer: EndsAnswer = {
    seconds: (performance.now() - began) / 1000,
    calls: times.length,
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99),
  };
  console.log(JSON.stringify(answer));
}
process.exit(0);
