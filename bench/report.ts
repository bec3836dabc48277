/** What was measured, and how it is shown. */
import { median, spread } from "./statistics.ts";

export interface Cell {
  /** One number a repeat. */
  values: number[];
  median: number;
  /** Half the distance between the quartiles, as a part of the median. */
  spread: number;
  /** Against `direct` and `floor` of the same repeat; their median. */
  toDirect?: number;
  toFloor?: number;
  /** Ours, against the floor in Bun. */
  toRuntime?: number;
}

export interface Row {
  id: string;
  label: string;
  unit: string;
  /** Which of two numbers is the better one. */
  better: "lower" | "higher";
  cells: Record<string, Cell | { failed: string }>;
}

/** A figure that has no counterpart elsewhere. */
export interface Fact {
  id: string;
  label: string;
  unit: string;
  value: number;
  note?: string;
}

export interface Report {
  schema: 1;
  at: string;
  options: object;
  machine: { cpu: string; cpus: number; kernel: string; memory: number; load: number[] };
  binary: { version: string; sha256: string };
  bun: string;
  rows: Row[];
  facts: Fact[];
  /** Calls that were sent and answered. */
  calls: number;
  /** Processes that were left running at the end, and were ended then. */
  left: string[];
  /** What was asked for and could not be measured. */
  skipped: string[];
  seconds: number;
}

/** Repeats by contender → a row; a repeat of one contender is held against the same repeat of the others. */
export function toRow(
  about: Omit<Row, "cells">,
  values: ReadonlyMap<string, readonly number[]>,
  failures: ReadonlyMap<string, string> = new Map(),
): Row {
  const cells: Row["cells"] = {};
  const against = (mine: readonly number[], name: string): number | undefined => {
    const theirs = values.get(name) ?? [];
    const ratios = mine.slice(0, theirs.length).map((value, i) => value / (theirs[i] as number));
    return ratios.length === 0 ? undefined : median(ratios);
  };
  for (const [name, mine] of values) {
    const [toDirect, toFloor, toRuntime] = [
      against(mine, "direct"),
      against(mine, "floor"),
      against(mine, "floor in Bun"),
    ];
    cells[name] = {
      values: [...mine],
      median: median(mine),
      spread: spread(mine),
      ...(name === "direct" || toDirect === undefined ? {} : { toDirect }),
      ...(name === "direct" || name === "floor" || toFloor === undefined ? {} : { toFloor }),
      ...(name !== "mcpgate" || toRuntime === undefined ? {} : { toRuntime }),
    };
  }
  for (const [name, failed] of failures) cells[name] = { failed };
  return { ...about, cells };
}

export function number(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 1000) return String(Math.round(value)).replace(/\B(?=(\d{3})+(?!\d))/g, " ");
  return value === 0 ? "0" : String(Number(value.toPrecision(3)));
}

function cellText(cell: Row["cells"][string] | undefined): string {
  if (cell === undefined) return "";
  if ("failed" in cell) return `failed: ${cell.failed}`;
  const ratio = cell.toDirect === undefined ? "" : ` (×${number(cell.toDirect)})`;
  return `${number(cell.median)}${cell.spread === 0 ? "" : ` ±${Math.round(cell.spread * 100)}%`}${ratio}`;
}

function markdown(header: string[], body: string[][]): string {
  const rows = [header, ...body];
  const widths = header.map((_, i) => Math.max(3, ...rows.map((row) => (row[i] ?? "").length)));
  const line = (row: string[]) =>
    `| ${widths.map((width, i) => (i === 0 ? (row[i] ?? "").padEnd(width) : (row[i] ?? "").padStart(width))).join(" | ")} |`;
  return [
    line(header),
    `| ${widths.map((width, i) => (i === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`)).join(" | ")} |`,
    ...body.map(line),
  ].join("\n");
}

/** All of it, in Markdown. */
export function show({ rows, facts, ...report }: Report): string {
  const names = [...new Set(rows.flatMap(({ cells }) => Object.keys(cells)))];
  const parts = [
    `${report.machine.cpus} × ${report.machine.cpu}, ${report.machine.kernel}, load ${report.machine.load.map((each) => each.toFixed(1)).join(" ")}; mcpgate ${report.binary.version}, Bun ${report.bun}`,
  ];
  if (rows.length > 0) {
    parts.push(
      "Medians ± half the distance between the quartiles; (×…): against direct in the same repeat.",
      markdown(
        ["", "unit", ...names],
        rows.map(({ label, unit, cells }) => [label, unit, ...names.map((name) => cellText(cells[name]))]),
      ),
    );
  }
  if (facts.length > 0) {
    parts.push(
      markdown(
        ["", "unit", "value", "note"],
        facts.map(({ label, unit, value, note }) => [label, unit, number(value), note ?? ""]),
      ),
    );
  }
  const targets = targetsOf(rows, facts);
  if (targets.length > 0)
    parts.push(markdown(["target", "goal", "measured", "met", "a relay in Bun that does nothing"], targets));
  for (const each of report.skipped) parts.push(`skipped: ${each}`);
  for (const each of report.left) parts.push(`LEFT RUNNING: ${each}`);
  parts.push(`${report.calls} calls, all answered; ${report.seconds.toFixed(0)} s`);
  return `${parts.join("\n\n")}\n`;
}

/** The issue's targets, as far as this run has measured them. */
function targetsOf(rows: Row[], facts: Fact[]): string[][] {
  const cell = (id: string, name: string): Cell | undefined => {
    const found = rows.find((row) => row.id === id)?.cells[name];
    return found === undefined || "failed" in found ? undefined : found;
  };
  const us = (id: string) => cell(id, "mcpgate");
  const bare = (id: string) => cell(id, "floor in Bun");
  const fact = (id: string) => facts.find((each) => each.id === id)?.value;
  // The more sessions, the less of what was allocated once counts for one.
  const idle = (side: string) =>
    facts.findLast(({ id }) => /^memory-\d{3,}-idle-/.test(id) && id.endsWith(side))?.value;
  const targets: string[][] = [];
  const add = (
    name: string,
    goal: number,
    sign: "≤" | "≥",
    value: number | undefined,
    unit = "×",
    runtime: number | undefined = undefined,
  ) => {
    if (value === undefined || Number.isNaN(value)) return;
    const shown = (each: number) => (unit === "×" ? `×${number(each)}` : `${number(each)} ${unit}`);
    targets.push([
      name,
      `${sign} ${shown(goal)}`,
      shown(value),
      (sign === "≤" ? value <= goal : value >= goal) ? "yes" : "no",
      runtime === undefined ? "" : shown(runtime),
    ]);
  };
  const more = (id: string, name = "mcpgate"): number | undefined => {
    const [mine, theirs] = [cell(id, name), cell(id, "direct")];
    return mine === undefined || theirs === undefined ? undefined : mine.median - theirs.median;
  };
  const times = (a: Cell | undefined, b: Cell | undefined) =>
    a === undefined || b === undefined ? undefined : a.median / b.median;
  const ratio = (name: string, goal: number, sign: "≤" | "≥", id: string, to: "toFloor" | "toDirect") =>
    add(name, goal, sign, us(id)?.[to], "×", bare(id)?.[to]);
  for (const [server, prefix] of [
    ["", ""],
    ["Node.js server: ", "node-"],
  ]) {
    ratio(`${server}sequential p50, against the floor`, 1.25, "≤", `${prefix}sequential-p50`, "toFloor");
    ratio(`${server}sequential p50, against direct`, 2.5, "≤", `${prefix}sequential-p50`, "toDirect");
    ratio(`${server}256 in flight, calls/s, against direct`, 0.85, "≥", `${prefix}pipelined-256`, "toDirect");
    ratio(`${server}4 MB result, against direct`, 1.3, "≤", `${prefix}result-4MB`, "toDirect");
  }
  add("session start, over direct", 40, "≤", more("start"), "ms", more("start", "floor in Bun"));
  for (const name of ["supergateway + mcp-remote", "mcp-proxy + mcp-remote"]) {
    add(`${name}: p50 against ours`, 8, "≥", times(cell("sequential-p50", name), us("sequential-p50")));
    add(
      `our calls/s, 256 in flight, against ${name}`,
      20,
      "≥",
      times(us("pipelined-256"), cell("pipelined-256", name)),
    );
  }
  add("client, resident", 55, "≤", fact("client-rss"), "MB");
  add("an idle session in the proxy", 50, "≤", idle("proxy"), "kB");
  add("an idle session in the agent", 150, "≤", idle("agent"), "kB");
  add("proxy alone, 4 kB messages a core, TLS off", 150_000, "≥", fact("relay-plain-4096-messages"), "1/s");
  add("proxy alone, 4 kB, a core, TLS off", 1000, "≥", fact("relay-plain-4096-bytes"), "MB/s");
  add("proxy alone, 256 kB, a core, TLS off", 1000, "≥", fact("relay-plain-262144-bytes"), "MB/s");
  add("sequential p50, audit on against off", 1.08, "≤", fact("audit-latency-ratio"));
  add("calls/s, most sessions against 10", 0.9, "≥", fact("growth"));
  return targets;
}
