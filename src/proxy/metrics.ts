/** What the proxy tells of itself in numbers. Labels are apps, agents' and sinks' names as configured, and fixed words. */
import { statSync } from "node:fs";
import type { Ingested } from "../audit/ingest.ts";
import { sessionEnds } from "../audit/sessions.ts";
import { newestCursor } from "../audit/store.ts";
import type { Metrics } from "../observe/metrics.ts";
import { countAgents } from "../store/agents.ts";
import { countSessions } from "../store/sessions.ts";
import type { Store } from "../store/store.ts";
import type { Agents } from "./agents.ts";
import type { Relay } from "./relay.ts";
import type { SinkState } from "./sinks.ts";
import type { StoreThread } from "./store-thread.ts";

export interface ProxyParts {
  store: Store;
  /** The database's file. */
  file: string;
  relay: Relay;
  agents: Agents;
  sinks(): readonly SinkState[];
  /** When the certificate ends, seconds since the epoch; undefined where something else ends TLS. */
  certificateEnd(): number | undefined;
}

const STORE_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

export function addProxyMetrics(metrics: Metrics, parts: ProxyParts): void {
  addSessions(metrics, parts);
  addConnections(metrics, parts);
  const { store, file, sinks, certificateEnd } = parts;
  metrics.gauge("mcpgate_proxy_store_bytes", "The database on the disk, with its log.", () => sizeOf(file));
  metrics.gauge(
    "mcpgate_proxy_sink_lag_events",
    "Audit events that a sink does not have yet.",
    async () => {
      const newest = await newestCursor(store);
      return sinks().flatMap(({ name, after }) => (after === undefined ? [] : [[[name], newest - after] as const]));
    },
    ["sink"],
  );
  const bySink = (value: (state: SinkState) => number) => () =>
    sinks().map((state) => [[state.name], value(state)] as const);
  metrics.count(
    "mcpgate_proxy_sink_events_total",
    "Audit events sent.",
    bySink(({ sent }) => sent),
    ["sink"],
  );
  metrics.count(
    "mcpgate_proxy_sink_failures_total",
    "Batches that were not taken.",
    bySink(({ failures }) => failures),
    ["sink"],
  );
  metrics.gauge("mcpgate_proxy_certificate_end_seconds", "When the certificate ends, Unix time.", certificateEnd);
}

function addSessions(metrics: Metrics, { store, relay }: ProxyParts): void {
  metrics.gauge(
    "mcpgate_proxy_sessions",
    "Sessions that have not ended.",
    async () => (await countSessions(store)).map(([app, count]) => [[app], count] as const),
    ["app"],
  );
  metrics.gauge("mcpgate_proxy_sessions_joined", "Sessions whose two ends are connected through this proxy.", () => {
    return relay.joinedSessions.size;
  });
  metrics.count("mcpgate_proxy_sessions_opened_total", "Sessions opened.", () => relay.counts.opened);
  metrics.count("mcpgate_proxy_sessions_resumed_total", "Times that a session went on over a new connection.", () => {
    return relay.counts.resumed;
  });
  metrics.count(
    "mcpgate_proxy_sessions_ended_total",
    "Sessions ended, by cause: client, server, agent_lost, not_started, logout, revoked.",
    () => [...sessionEnds].map(([cause, count]) => [[cause], count] as const),
    ["cause"],
  );
}

function addConnections(metrics: Metrics, { store, relay, agents }: ProxyParts): void {
  metrics.gauge("mcpgate_proxy_agents_online", "Agents that are connected.", () => agents.online().size);
  metrics.gauge("mcpgate_proxy_agents", "Agents that have joined.", () => countAgents(store));
  const kinds = [
    ["client", relay.clients.tally],
    ["agent_session", relay.agentSessions.tally],
    ["agent_control", agents.tally],
  ] as const;
  metrics.gauge(
    "mcpgate_proxy_connections",
    "WebSockets that are open.",
    () => kinds.map(([kind, { open }]) => [[kind], open] as const),
    ["kind"],
  );
  metrics.count(
    "mcpgate_proxy_refused_total",
    "WebSockets that were refused, by why.",
    () => kinds.flatMap(([kind, { refused }]) => [...refused].map(([code, count]) => [[kind, code], count] as const)),
    ["kind", "code"],
  );
  const relayed = (value: (tally: (typeof kinds)[number][1]) => number) => () => [
    [["to_agent"], value(relay.clients.tally)] as const,
    [["to_client"], value(relay.agentSessions.tally)] as const,
  ];
  metrics.count(
    "mcpgate_proxy_relayed_bytes_total",
    "Bytes of frames relayed.",
    relayed(({ bytes }) => bytes),
    ["direction"],
  );
  metrics.count(
    "mcpgate_proxy_relayed_frames_total",
    "Frames relayed.",
    relayed(({ frames }) => frames),
    ["direction"],
  );
}

/** The same `ingest`, measured. */
export function measuredIngest(metrics: Metrics, ingest: StoreThread["ingest"]): StoreThread["ingest"] {
  const seconds = metrics.histogram(
    "mcpgate_proxy_store_batch_seconds",
    "From the arrival of a batch of agents' audit events until it is on the disk.",
    STORE_SECONDS,
  );
  const stored = metrics.counter(
    "mcpgate_proxy_audit_events_total",
    "Audit events of agents that are new in the store.",
  );
  const refused = metrics.counter(
    "mcpgate_proxy_audit_events_invalid_total",
    "Audit events of agents that were not taken at their word.",
  );
  return async (...batch): Promise<Ingested> => {
    const began = performance.now();
    const done = await ingest(...batch);
    seconds.observe((performance.now() - began) / 1000);
    stored.of().value += done.stored;
    refused.of().value += done.invalid;
    return done;
  };
}

/** The API's `fetch`, with its answers counted by status. */
export function countedAnswers<A extends unknown[]>(
  metrics: Metrics,
  fetch: (...args: A) => Response | Promise<Response>,
): (...args: A) => Promise<Response> {
  const answers = metrics.counter("mcpgate_proxy_http_responses_total", "Answers of the API over HTTPS, by status.", [
    "status",
  ]);
  return async (...args) => {
    const response = await fetch(...args);
    answers.of(String(response.status)).value += 1;
    return response;
  };
}

function sizeOf(file: string): number | undefined {
  const sizes = [file, `${file}-wal`].map((path) => statSync(path, { throwIfNoEntry: false })?.size ?? 0);
  return sizes.reduce((sum, size) => sum + size, 0);
}
