/** The proxy alone: what it relays for each second of CPU, with TLS and without. */
import { join } from "node:path";
import type { Cluster } from "./cluster.ts";
import { run } from "./processes.ts";
import type { RelayOrder, RelayResult } from "./relay-ends.ts";
import type { Fact } from "./report.ts";

const SESSIONS = 4;

/** The cluster has no agent: the benchmark's own takes its place, on its token. */
export async function measureRelay(
  cluster: Cluster,
  { relayMs, relaySizes }: { relayMs: number; relaySizes: number[] },
): Promise<Fact[]> {
  const facts: Fact[] = [];
  // With TLS first: that is how one joins.
  for (const tls of [true, false]) {
    if (!tls) await cluster.startProxy({ tls: false });
    const order: RelayOrder = {
      agentConfig: cluster.agentConfig,
      agentDir: join(cluster.dir, "agent-identity"),
      clientHome: cluster.home,
      tls,
      proxyPid: cluster.proxyPids[0] ?? 0,
      sessions: SESSIONS,
      sizes: relaySizes,
      ms: relayMs,
    };
    const out = await run([process.execPath, join(import.meta.dir, "relay-ends.ts"), JSON.stringify(order)], {
      env: { PATH: process.env.PATH ?? "", HOME: cluster.dir },
      cwd: cluster.dir,
      ms: 20_000 + relaySizes.length * (relayMs * 2 + 3_000),
    });
    for (const line of out.trim().split("\n")) facts.push(...factsOf(JSON.parse(line), tls));
  }
  return facts;
}

function factsOf({ size, messages, seconds, proxyCpuSeconds: cpu }: RelayResult, tls: boolean): Fact[] {
  const id = `relay-${tls ? "tls" : "plain"}-${size}`;
  const label = `proxy alone, ${size} bytes, TLS ${tls ? "on" : "off"}: a core relays`;
  const note = `${Math.round(messages / seconds)}/s at ${Math.round((cpu / seconds) * 100)}% of a core`;
  return [
    { id: `${id}-messages`, label, unit: "messages/s", value: messages / cpu, note },
    { id: `${id}-bytes`, label, unit: "MB/s", value: (messages * size) / cpu / 1e6, note: "" },
  ];
}
