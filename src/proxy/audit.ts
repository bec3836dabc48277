/** What the proxy does about its audit log while it runs: signs it, retires what is due, and feeds the sinks. */
import { Notary } from "../audit/heads.ts";
import { Retention } from "../audit/retention.ts";
import type { AuditConfig } from "../config/config.ts";
import type { KeyPair } from "../identity/keys.ts";
import type { Log } from "../log.ts";
import type { Store } from "../store/store.ts";
import { type SinkState, Sinks } from "./sinks.ts";

export interface AuditOptions {
  store: Store;
  /** The cluster's signing key. */
  key: KeyPair;
  config: AuditConfig | undefined;
  log: Log;
  now(): number;
  /** For a sink of type `stdout`. */
  print(text: string): Promise<void>;
}

export interface KeptAudit {
  readonly sinks: readonly SinkState[];
  /** Goes on by another configuration. Throws where that does not work; then it goes on by the old one. */
  replace(config: AuditConfig | undefined): Promise<void>;
  /** After the last event was recorded and before the store is closed. */
  stop(): Promise<void>;
}

export function keepAudit(options: AuditOptions): KeptAudit {
  let { config } = options;
  let running = start(options, config);
  return {
    get sinks() {
      return running.sinks.states;
    },
    async replace(next) {
      if (Bun.deepEquals(config, next)) return;
      await running.stop();
      try {
        running = start(options, next);
        config = next;
      } catch (error) {
        running = start(options, config);
        throw error;
      }
    },
    stop: () => running.stop(),
  };
}

function start({ store, key, log, now, print }: AuditOptions, config: AuditConfig | undefined) {
  const { maxAge, maxSize } = config?.retention ?? {};
  const maxAgeMs = maxAge === undefined ? undefined : maxAge * 1000;
  const notary = new Notary({ store, key, log, now });
  const retention = new Retention({ store, log, now, limits: { maxAgeMs, maxBytes: maxSize } });
  const sinks = new Sinks({ store, log, configs: config?.sinks ?? [], print, env: process.env });
  return {
    sinks,
    async stop() {
      await retention.stop();
      await sinks.stop();
      await notary.stop();
    },
  };
}
