/**
 * Sinks: where the audit log goes besides the store. Each goes through the log at its own pace, from its first event on, and
 * its place is kept in the store: an event is behind it only once the sink has taken it, so a sink that was down for a day
 * gets that day. After a crash the last batch may come twice; `uid` tells. A sink holds one batch in memory.
 */
import { textAfter } from "../audit/store.ts";
import type { SinkConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import { backoff } from "../link/backoff.ts";
import type { Log } from "../log.ts";
import { getMeta, setMeta } from "../store/meta.ts";
import type { Store } from "../store/store.ts";
import type { Sink } from "./sink.ts";
import { fileSink } from "./sink-file.ts";
import { httpSink } from "./sink-http.ts";
import { syslogSink } from "./sink-syslog.ts";

/** How far a sink is. */
export interface SinkState {
  readonly name: string;
  /** The cursor of the last event that it has; undefined until that was read. */
  after: number | undefined;
  /** Since the start. */
  sent: number;
  failures: number;
}

export interface SinksOptions {
  store: Store;
  log: Log;
  configs: readonly SinkConfig[];
  /** For type `stdout`. */
  print(text: string): Promise<void>;
  /** Where tokens are looked up that are `env:NAME`. */
  env: Record<string, string | undefined>;
  /** Milliseconds between looks at the log while it does not grow; 500 unless told. */
  pollMs?: number;
  /** The longest pause between two tries, milliseconds; a minute unless told. */
  retryMs?: number;
}

const BATCH_EVENTS = 100;
/** A shutdown waits so long for a batch under way. */
const LAST_MS = 2_000;

export class Sinks {
  readonly #runs: Run[];

  constructor(options: SinksOptions) {
    this.#runs = options.configs.map((config) => start(config, options));
  }

  get states(): readonly SinkState[] {
    return this.#runs.map(({ state }) => state);
  }

  /** What was not sent is sent after the next start. */
  async stop(): Promise<void> {
    for (const run of this.#runs) run.stop();
    await Promise.race([Promise.all(this.#runs.map(({ done }) => done)), Bun.sleep(LAST_MS)]);
  }
}

function open(config: SinkConfig, { print, env }: SinksOptions): Sink {
  switch (config.type) {
    case "stdout":
      return { send: (events) => print(events.map(({ text }) => text).join("")), close: () => {} };
    case "file":
      return fileSink(config.path);
    case "syslog":
      return syslogSink(config);
    case "http":
      return httpSink(config, env);
  }
}

interface Run {
  state: SinkState;
  stop(): void;
  done: Promise<void>;
}

function start(config: SinkConfig, o: SinksOptions): Run {
  const sink = open(config, o);
  const stopped = Promise.withResolvers<void>();
  let on = true;
  const pause = (ms: number) => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const over = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
    return Promise.race([stopped.promise, over]).finally(() => clearTimeout(timer));
  };
  const key = `sink:${config.name}`;
  const state: SinkState = { name: config.name, after: undefined, sent: 0, failures: 0 };
  const run = async () => {
    for (let attempt = 0; on; ) {
      try {
        state.after ??= Number((await getMeta(o.store, key)) ?? "0");
        const { events, cursor } = await textAfter(o.store, { after: state.after, limit: BATCH_EVENTS });
        if (events.length > 0) {
          await sink.send(events);
          await setMeta(o.store, key, String(cursor));
          state.after = cursor;
          state.sent += events.length;
        }
        if (attempt > 0) o.log.info("sink.recovered", { sink: config.name, attempts: attempt });
        attempt = 0;
        if (events.length < BATCH_EVENTS) await pause(o.pollMs ?? 500);
      } catch (error) {
        if (!on) break;
        attempt += 1;
        state.failures += 1;
        // the first, and then every so often: a sink that is down for a day is not a log full of it
        if (attempt === 1 || attempt % 60 === 0) {
          o.log.error("sink.failed", { sink: config.name, error: Failure.from(error).message, attempts: attempt });
        }
        await pause(backoff(attempt, o.retryMs ?? 60_000));
      }
    }
    sink.close();
  };
  return {
    state,
    stop: () => {
      on = false;
      stopped.resolve();
    },
    done: run(),
  };
}
