/** What the audit log costs and how fast it is. */
import { openAdminApi } from "../src/client/api.ts";
import { loadConfig } from "../src/config/load.ts";
import { answered } from "./calls.ts";
import type { Cluster } from "./cluster.ts";
import { ours } from "./contenders.ts";
import { eventually } from "./processes.ts";
import { type Fact, type Row, toRow } from "./report.ts";
import { Session } from "./session.ts";
import { median, quantile } from "./statistics.ts";

export interface AuditPlan {
  audit: { calls: number; visible: number; sequential: number; repeats: number };
  turnMs: number;
}

/** A call is recorded twice: before it and after it. */
const EVENTS_A_CALL = 2;
const STORED_MS = 60_000;
const START_MS = 20_000;

interface Page {
  events: unknown[];
  cursor: number;
}

/** Events a second from the agent into the store, and the time from a call until `audit ls` would show it. */
export async function measureStore(cluster: Cluster, { audit, turnMs }: AuditPlan): Promise<Fact[]> {
  const config = loadConfig({ path: cluster.proxyConfig, env: {}, uid: process.getuid?.() ?? 0 });
  const api = await openAdminApi({ config, env: {} });
  const newest = (limit: number) => api.call<Page>("GET", `/v1/api/events?limit=${limit}`);
  const session = new Session(cluster.connect(), START_MS);
  try {
    session.sequential(20, {}, turnMs);
    await Bun.sleep(200);
    const { cursor } = await newest(1);
    const began = performance.now();
    const calls = session.pipelined(audit.calls, 256, Math.max(turnMs, STORED_MS));
    answered.calls += audit.calls;
    const wanted = audit.calls * EVENTS_A_CALL;
    await eventually(
      async () => ((await newest(1)).cursor >= cursor + wanted ? true : undefined),
      STORED_MS,
      "events stored",
    );
    const seconds = (performance.now() - began) / 1000;
    const visible: number[] = [];
    for (let i = 0; i < audit.visible; i++) {
      const marker = `marker-${crypto.randomUUID()}`;
      const called = performance.now();
      session.call({ marker }, turnMs);
      answered.calls += 1;
      while (!JSON.stringify((await newest(3)).events).includes(marker)) {
        if (performance.now() - called > turnMs) throw new Error("a call did not appear in the audit log");
      }
      visible.push(performance.now() - called);
    }
    return [
      {
        id: "audit-rate",
        label: "audit: events from the agent into the store",
        unit: "1/s",
        value: wanted / seconds,
        note: `${wanted} events, synchronous=FULL; the calls took ${number(calls)} s of ${number(seconds * 1000)} s`,
      },
      {
        id: "audit-visible",
        label: "audit: from a call until audit ls shows it, p50",
        unit: "ms",
        value: quantile(visible, 0.5),
        note: `p99 ${quantile(visible, 0.99).toFixed(1)} ms; asked through the admin socket`,
      },
    ];
  } finally {
    await session.end();
    api.close();
  }
}

const number = (ms: number) => (ms / 1000).toFixed(2);

/** Calls one by one, with the spool and without: `quiet` is a cluster of the binary that has none. */
export async function measureCost(
  cluster: Cluster,
  quiet: Cluster,
  { audit, turnMs }: AuditPlan,
): Promise<{ row: Row; fact: Fact }> {
  const sessions = {
    on: new Session(ours(cluster).command(), START_MS),
    off: new Session(ours(quiet).command(), START_MS),
  };
  const values = { on: [] as number[], off: [] as number[] };
  try {
    for (const session of Object.values(sessions)) session.sequential(Math.min(300, audit.sequential), {}, turnMs);
    for (let repeat = 0; repeat < audit.repeats; repeat++) {
      for (const which of repeat % 2 === 0 ? (["on", "off"] as const) : (["off", "on"] as const)) {
        const times = sessions[which].sequential(audit.sequential, {}, turnMs);
        answered.calls += times.length;
        values[which].push(quantile(times, 0.5));
        await Bun.sleep(0);
      }
    }
  } finally {
    await Promise.all(Object.values(sessions).map((session) => session.end()));
  }
  const ratio = median(values.on.map((on, i) => on / (values.off[i] as number)));
  const about = {
    id: "audit-latency",
    label: "audit on (mcpgate) against off (no spool): p50",
    unit: "ms",
    better: "lower",
  } as const;
  return {
    row: toRow(
      about,
      new Map([
        ["mcpgate", values.on],
        ["no spool", values.off],
      ]),
    ),
    fact: {
      id: "audit-latency-ratio",
      label: "audit on against off, p50",
      unit: "×",
      value: ratio,
      note: "off: built from the sources as they are, without the spool",
    },
  };
}
