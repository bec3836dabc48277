/** What a run does: how much of it, and which parts. */
import { parseArgs } from "node:util";
import type { Amount } from "./calls.ts";

export const PARTS = [
  "start",
  "sequential",
  "pipelined",
  "sizes",
  "progress",
  "cpu",
  "node",
  "sessions",
  "relay",
  "audit",
] as const;
export type Part = (typeof PARTS)[number];
export const CONTENDERS = ["direct", "floor", "runtime", "mcpgate", "peers"] as const;

export interface Plan extends Amount {
  parts: Set<Part>;
  contenders: Set<(typeof CONTENDERS)[number]>;
  /** Numbers of concurrent sessions, and milliseconds of load on each. */
  sessions: number[];
  loadMs: number;
  /** Sessions opened and closed, one after the other, and eight at once. */
  churn: number;
  /** Milliseconds for each size of message through the proxy alone. */
  relayMs: number;
  relaySizes: number[];
  audit: { calls: number; visible: number; sequential: number; repeats: number };
}

export interface Options {
  plan: Plan;
  binary: string | undefined;
  results: string | undefined;
  speed: "full" | "quick" | "tiny";
}

const SIZES = [4e3, 256e3, 4e6, 64e6] as const;
const sizes = (...counts: number[]): [number, number][] => SIZES.map((size, i) => [size, counts[i] ?? 1]);

type Amounts = Omit<Plan, "parts" | "contenders">;

const AMOUNTS: Record<Options["speed"], Amounts> = {
  full: {
    ...{ starts: 15, repeats: 9, sequential: 2000, pipelined: 10_000, progress: 10_000, sizes: sizes(400, 40, 6, 1) },
    ...{
      sessions: [1, 10, 100, 1000],
      loadMs: 4_000,
      turnMs: 30_000,
      churn: 64,
      relayMs: 3_000,
      relaySizes: [128, 4096, 262_144],
    },
    audit: { calls: 20_000, visible: 40, sequential: 2000, repeats: 9 },
  },
  quick: {
    // without the largest, on which the peers wait for an answer that never comes
    ...{
      starts: 5,
      repeats: 3,
      sequential: 500,
      pipelined: 2000,
      progress: 10_000,
      sizes: sizes(60, 10, 2).slice(0, 3),
    },
    ...{ sessions: [1, 10, 100], loadMs: 700, turnMs: 5_000, churn: 16, relayMs: 700, relaySizes: [4096, 262_144] },
    audit: { calls: 2_000, visible: 10, sequential: 400, repeats: 3 },
  },
  // for the test: whether it works, and no figure worth reading
  tiny: {
    ...{ starts: 1, repeats: 1, sequential: 20, pipelined: 300, progress: 100, sizes: sizes(2, 1, 1, 1).slice(0, 3) },
    ...{ sessions: [1, 4], loadMs: 100, turnMs: 4_000, churn: 2, relayMs: 100, relaySizes: [4096] },
    audit: { calls: 100, visible: 2, sequential: 20, repeats: 1 },
  },
};

export const USAGE = `npm run bench -- [--quick] [--only=${PARTS.join(",")}]
  [--contenders=${CONTENDERS.join(",")}] [--repeats=N] [--sessions=1,10,…] [--binary=FILE] [--results=FILE]
  --binary: a compiled mcpgate (BENCH_BINARY; dist/mcpgate otherwise). --results: where the JSON goes (bench/results/TIME.json).`;

/** Throws with what is wrong. */
export function parseOptions(argv: string[], env: Record<string, string | undefined>): Options {
  const { values } = parseArgs({
    args: argv,
    options: {
      quick: { type: "boolean" },
      tiny: { type: "boolean" },
      only: { type: "string" },
      contenders: { type: "string" },
      repeats: { type: "string" },
      sessions: { type: "string" },
      binary: { type: "string" },
      results: { type: "string" },
    },
  });
  const speed = values.tiny ? "tiny" : values.quick ? "quick" : "full";
  const amounts = { ...AMOUNTS[speed] };
  if (values.repeats !== undefined) amounts.repeats = count(values.repeats);
  if (values.sessions !== undefined) amounts.sessions = values.sessions.split(",").map(count);
  return {
    plan: { ...amounts, parts: chosen(PARTS, values.only), contenders: chosen(CONTENDERS, values.contenders) },
    binary: values.binary ?? env.BENCH_BINARY,
    results: values.results,
    speed,
  };
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1 || value > 100_000) throw new Error(`no such number: ${text}`);
  return value;
}

function chosen<T extends string>(all: readonly T[], text: string | undefined): Set<T> {
  if (text === undefined) return new Set(all);
  const names = text.split(",");
  const unknown = names.find((name) => !all.some((each) => each === name));
  if (unknown !== undefined) throw new Error(`${unknown} is none of ${all.join(", ")}`);
  return new Set(all.filter((each) => names.includes(each)));
}
