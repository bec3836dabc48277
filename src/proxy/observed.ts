/** What can be seen of a proxy from outside: metrics, whether it can do its work, and its part of traces. */
import { X509Certificate } from "node:crypto";
import { sql } from "kysely";
import type { HostPort } from "../config/host-port.ts";
import type { Log } from "../log.ts";
import { type Diagnostics, openDiagnostics } from "../observe/diagnostics.ts";
import { Metrics } from "../observe/metrics.ts";
import { addProcessMetrics } from "../observe/process-metrics.ts";
import { LAST_SPANS_MS, openTracer } from "../observe/tracing.ts";
import { CallSpans } from "./call-spans.ts";
import { addProxyMetrics, countedAnswers, measuredIngest, type ProxyParts } from "./metrics.ts";
import type { StoreThread } from "./store-thread.ts";

export interface Observed {
  readonly spans: CallSpans;
  /** The store thread's, measured. */
  readonly ingest: StoreThread["ingest"];
  /** The API's `fetch`, with its answers counted. */
  counted<A extends unknown[]>(fetch: (...args: A) => Response | Promise<Response>): (...args: A) => Promise<Response>;
  /** From here on others can look. `at`: undefined where nobody is to. */
  open(at: HostPort | undefined, parts: ObservedParts): void;
  close(): Promise<void>;
}

export interface ObservedParts extends Omit<ProxyParts, "certificateEnd"> {
  /** Whether the proxy takes connections. */
  isListening(): boolean;
  /** PEM; undefined where something else ends TLS. */
  certificate(): string | undefined;
}

export interface ObserveOptions {
  ingest: StoreThread["ingest"];
  log: Log;
  env?: Record<string, string | undefined>;
}

export async function observeProxy({ ingest, log, env = process.env }: ObserveOptions): Promise<Observed> {
  const metrics = new Metrics();
  const stopLooking = addProcessMetrics(metrics, "proxy");
  const tracer = await openTracer("proxy", env, log);
  let diagnostics: Diagnostics | undefined;
  return {
    spans: new CallSpans(tracer),
    ingest: measuredIngest(metrics, ingest),
    counted: (fetch) => countedAnswers(metrics, fetch),
    open(at, { isListening, certificate, ...parts }) {
      addProxyMetrics(metrics, { ...parts, certificateEnd: () => endOf(certificate()) });
      if (at === undefined) return;
      const checks = {
        listener: () => (isListening() ? undefined : "the proxy takes no connections: it stops"),
        store: async () => void (await sql`select 1`.execute(parts.store)),
      };
      diagnostics = openDiagnostics({ at, metrics, checks, log });
    },
    async close() {
      stopLooking();
      await tracer?.close(LAST_SPANS_MS);
      diagnostics?.close();
    },
  };
}

const endOf = (pem: string | undefined): number | undefined =>
  pem === undefined ? undefined : new X509Certificate(pem).validToDate.getTime() / 1000;
