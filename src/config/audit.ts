/** The `audit` sections of a file → configuration. */
import type { AuditConfig, SecretReference, SinkConfig, SpoolConfig } from "./config.ts";
import { parseHostPort } from "./host-port.ts";
import type { ConfigFile, FileSink } from "./schema.ts";

type ProxyAudit = NonNullable<NonNullable<ConfigFile["proxy_service"]>["audit"]>;
type AgentAudit = NonNullable<NonNullable<ConfigFile["app_service"]>["audit"]>;
type Absolute = (path: string) => string;

/** The key that each type needs; the others are not its own. */
const NEEDS = { file: "path", syslog: "address", http: "url", stdout: undefined } as const;
const OWN = ["path", "address", "url", "token"] as const;

export interface SinkFault {
  index: number;
  key: string;
  at: "key" | "value";
  message: string;
}

/** What no single key can tell. */
export function sinkFaults(sinks: readonly FileSink[]): SinkFault[] {
  const faults: SinkFault[] = [];
  const names = new Set<string>();
  for (const [index, sink] of sinks.entries()) {
    const needed = NEEDS[sink.type];
    if (needed !== undefined && !sink[needed]) {
      faults.push({ index, key: needed, at: "value", message: `is required for type ${sink.type}` });
    }
    for (const key of OWN) {
      if (!sink[key] || key === needed || (key === "token" && sink.type === "http")) continue;
      faults.push({ index, key, at: "key", message: `is not for type ${sink.type}` });
    }
    if (sink.address && typeof splitAddress(sink.address).address === "string") {
      faults.push({ index, key: "address", at: "value", message: "has no host and port" });
    }
    const name = sink.name ?? sink.type;
    if (names.has(name)) {
      faults.push({ index, key: "type", at: "value", message: `a second sink called ${name}: give it a name` });
    }
    names.add(name);
  }
  return faults;
}

export function toProxyAudit({ retention, sinks }: ProxyAudit, absolute: Absolute): AuditConfig {
  return {
    retention: {
      ...(retention?.max_age ? { maxAge: retention.max_age } : {}),
      ...(retention?.max_size ? { maxSize: retention.max_size } : {}),
    },
    sinks: (sinks ?? []).map((sink) => toSink(sink, absolute)),
  };
}

export function toSpool({ spool_limit, on_full, sync }: AgentAudit): SpoolConfig {
  return {
    ...(spool_limit ? { limit: spool_limit } : {}),
    ...(on_full ? { onFull: on_full } : {}),
    ...(sync ? { sync } : {}),
  };
}

function toSink(sink: FileSink, absolute: Absolute): SinkConfig {
  const name = sink.name ?? sink.type;
  switch (sink.type) {
    case "stdout":
      return { name, type: "stdout" };
    case "file":
      return { name, type: "file", path: absolute(sink.path ?? "") };
    case "http": {
      const token = sink.token ? { token: toReference(sink.token, absolute) } : {};
      return { name, type: "http", url: sink.url ?? "", ...token };
    }
    case "syslog": {
      const { transport, address } = splitAddress(sink.address ?? "");
      if (typeof address === "string") throw new Error(address); // `sinkFaults` has seen it
      return { name, type: "syslog", transport, address };
    }
  }
}

function splitAddress(text: string) {
  const transport = text.startsWith("udp:") ? ("udp" as const) : ("tcp" as const);
  return { transport, address: parseHostPort(text.slice("tcp://".length), { defaultPort: 514 }) };
}

function toReference(text: string, absolute: Absolute): SecretReference {
  const value = text.slice(text.indexOf(":") + 1);
  return text.startsWith("env:") ? { env: value } : { file: absolute(value) };
}
