/** The work of one session: its start, calls one by one and many at once, results of any size, progress; and its CPU. */

import type { Cluster } from "./cluster.ts";
import { type Contender, open } from "./contenders.ts";
import { cpuSeconds } from "./processes.ts";
import { type Fact, type Row, toRow } from "./report.ts";
import { Session } from "./session.ts";
import { median, quantile } from "./statistics.ts";
import { rowOf, type Standing } from "./turns.ts";

export interface Amount {
  starts: number;
  repeats: number;
  sequential: number;
  pipelined: number;
  /** Bytes of a result → how many of them a turn. */
  sizes: [number, number][];
  progress: number;
  /** Milliseconds that one turn may take. */
  turnMs: number;
}

/** Calls of this process that were answered. */
export const answered = { calls: 0 };

/** From the spawn to the answer to `initialize`, each time a new session. */
export async function measureStart(contenders: readonly Contender[], { starts }: Amount): Promise<Row> {
  const values = new Map<string, number[]>();
  const failures = new Map<string, string>();
  for (let i = 0; i < starts; i++) {
    for (const contender of contenders) {
      const { name, share } = contender;
      if (failures.has(name) || i >= Math.max(2, starts * share)) continue;
      try {
        const session = open(contender);
        values.set(name, [...(values.get(name) ?? []), session.startMs]);
        await session.end();
      } catch (error) {
        failures.set(name, error instanceof Error ? error.message : String(error));
      }
    }
  }
  return toRow({ id: "start", label: "session start", unit: "ms", better: "lower" }, values, failures);
}

/** `client connect` by itself: not logged in, it reaches nobody and answers `initialize` itself. */
export async function measureFirstByte(cluster: Cluster, { starts }: Amount): Promise<Fact> {
  const times: number[] = [];
  for (let i = 0; i < starts; i++) {
    const session = new Session(cluster.connect(`${cluster.dir}/nobody`), 10_000);
    times.push(session.startMs);
    await session.end();
  }
  return {
    id: "first-byte",
    label: "client connect by itself, to its first byte",
    unit: "ms",
    value: median(times),
    note: "not logged in: answers by itself, reaches nobody",
  };
}

const few = (count: number, { share }: Contender) => Math.max(1, Math.round(count * share));

export async function measureSequential(standing: Standing, { sequential, repeats, turnMs }: Amount): Promise<Row[]> {
  const turns = await standing.inTurn({
    name: "sequential",
    repeats,
    run(session, contender) {
      const times = session.sequential(few(sequential, contender), {}, turnMs);
      answered.calls += times.length;
      return {
        p50: quantile(times, 0.5),
        p99: quantile(times, 0.99),
        rate: (times.length * 1000) / times.reduce((a, b) => a + b, 0),
      };
    },
  });
  const row = (
    id: string,
    label: string,
    unit: string,
    better: Row["better"],
    pick: (t: { p50: number; p99: number; rate: number }) => number,
  ) => rowOf({ id, label, unit, better }, turns, pick);
  return [
    row("sequential-p50", "tools/call, one by one: p50", "ms", "lower", ({ p50 }) => p50),
    row("sequential-p99", "p99", "ms", "lower", ({ p99 }) => p99),
    row("sequential-rate", "calls", "1/s", "higher", ({ rate }) => rate),
  ];
}

export async function measurePipelined(
  standing: Standing,
  depth: number,
  { pipelined, repeats, turnMs }: Amount,
): Promise<Row> {
  const turns = await standing.inTurn({
    name: `pipelined ${depth}`,
    repeats,
    run(session, contender) {
      const count = Math.max(depth, few(pipelined, contender));
      const ms = session.pipelined(count, depth, turnMs);
      answered.calls += count;
      return (count * 1000) / ms;
    },
  });
  return rowOf(
    { id: `pipelined-${depth}`, label: `${depth} in flight: calls`, unit: "1/s", better: "higher" },
    turns,
    (rate) => rate,
  );
}

/** What slow contenders have not done by then, they would not have done much later either: it was tried. */
const heavyMs = ({ share }: Contender, turnMs: number): number => (share < 1 ? 3_000 : 4 * turnMs);

export const sizeName = (bytes: number): string => (bytes >= 1e6 ? `${bytes / 1e6}MB` : `${bytes / 1e3}kB`);

export async function measureSize(
  standing: Standing,
  size: number,
  count: number,
  { repeats, turnMs }: Pick<Amount, "repeats" | "turnMs">,
): Promise<Row> {
  const turns = await standing.inTurn({
    name: `result ${size}`,
    repeats: size > 4e6 ? Math.min(3, repeats) : repeats,
    run(session, contender) {
      const times = session.sequential(
        few(count, contender),
        { size },
        size > 4e6 ? heavyMs(contender, turnMs) : turnMs,
      );
      answered.calls += times.length;
      return median(times);
    },
  });
  const label = `result of ${sizeName(size).replace(/(?=[kM]B)/, " ")}`;
  return rowOf({ id: `result-${sizeName(size)}`, label, unit: "ms", better: "lower" }, turns, (ms) => ms);
}

export async function measureProgress(standing: Standing, { progress, repeats, turnMs }: Amount): Promise<Row> {
  const turns = await standing.inTurn({
    name: "progress",
    repeats: Math.min(repeats, 5),
    run(session, contender) {
      const ms = session.call({ progress }, heavyMs(contender, turnMs));
      answered.calls += 1;
      return ms;
    },
  });
  return rowOf(
    { id: "progress", label: `${progress} progress notifications`, unit: "ms", better: "lower" },
    turns,
    (ms) => ms,
  );
}

/** CPU seconds for 10,000 calls, one by one and 256 at once, by process. */
export async function measureCpu(
  standing: Standing,
  { sequential, pipelined, repeats, turnMs }: Amount,
): Promise<Row[]> {
  const rows: Row[] = [];
  const work: [string, string, (session: Session, contender: Contender) => number][] = [
    [
      "cpu-sequential",
      "one by one",
      (session, contender) => {
        const count = few(sequential, contender);
        session.sequential(count, {}, turnMs);
        return count;
      },
    ],
    [
      "cpu-pipelined",
      "256 in flight",
      (session, contender) => {
        const count = Math.max(256, few(pipelined, contender));
        session.pipelined(count, 256, turnMs);
        return count;
      },
    ],
  ];
  for (const [id, how, run] of work) {
    const turns = await standing.inTurn({
      name: `CPU ${how}`,
      repeats: Math.min(repeats, 3),
      run(session, contender) {
        const roles = Object.entries(contender.roles(session));
        const cpu = () => roles.map(([, pids]) => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0));
        const before = cpu();
        const calls = run(session, contender);
        answered.calls += calls;
        const after = cpu();
        return new Map(roles.map(([role], i) => [role, (((after[i] ?? 0) - (before[i] ?? 0)) * 10_000) / calls]));
      },
    });
    const roles = new Set([...turns.values.values()].flatMap((all) => all.flatMap((each) => [...each.keys()])));
    const add = (role: string, pick: (each: Map<string, number>) => number) => {
      const has = [...turns.values].filter(([, all]) => role === "all" || all[0]?.has(role));
      rows.push(
        rowOf(
          { id: `${id}-${role}`, label: `CPU for 10,000 calls, ${how}: ${role}`, unit: "s", better: "lower" },
          { values: new Map(has), failures: role === "all" ? turns.failures : new Map() },
          pick,
        ),
      );
    };
    add("all", (each) => [...each.values()].reduce((a, b) => a + b, 0));
    for (const role of roles) add(role, (each) => each.get(role) ?? 0);
  }
  return rows;
}
