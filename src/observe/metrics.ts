/**
 * Metrics in Prometheus' text format (version 0.0.4). Numbers that change with each call are plain fields, changed in place;
 * everything else is read when somebody asks. Nothing here has a label whose values a client could choose.
 */
import { inTime } from "./in-time.ts";

/** One series of a counter. */
export interface Cell {
  value: number;
}

/** What a metric reads as: one number, or one for each combination of its labels' values. Undefined: not known just now. */
export type Reading = number | undefined | Iterable<readonly [labels: readonly string[], value: number]>;

interface Family {
  name: string;
  help: string;
  type: "counter" | "gauge" | "histogram";
  lines(): string[] | Promise<string[]>;
}

/** How long one metric may take to be read, milliseconds. */
const READ_MS = 2_000;

export class Metrics {
  readonly #families: Family[] = [];

  /** Counts up in place. */
  counter(name: string, help: string, labels: readonly string[] = []): Counter {
    const counter = new Counter(name, labels);
    this.#add({ name, help, type: "counter", lines: () => counter.lines() });
    return counter;
  }

  /** `bounds`: upper ends of the buckets, rising, without infinity. */
  histogram(name: string, help: string, bounds: readonly number[], labels: readonly string[] = []): Histogram {
    const histogram = new Histogram(name, labels, bounds);
    this.#add({ name, help, type: "histogram", lines: () => histogram.lines() });
    return histogram;
  }

  /** A counter that is kept elsewhere. */
  count(name: string, help: string, read: () => Reading | Promise<Reading>, labels: readonly string[] = []): void {
    this.#add({ name, help, type: "counter", lines: async () => linesOf(name, labels, await known(read)) });
  }

  gauge(name: string, help: string, read: () => Reading | Promise<Reading>, labels: readonly string[] = []): void {
    this.#add({ name, help, type: "gauge", lines: async () => linesOf(name, labels, await known(read)) });
  }

  get names(): string[] {
    return this.#families.map(({ name }) => name);
  }

  /** All of them. One that can't be read just now is left out: the others are worth having. */
  async text(): Promise<string> {
    const parts = await Promise.all(
      this.#families.map(async ({ name, help, type, lines }) => {
        const found = await lines();
        return found.length === 0 ? [] : [`# HELP ${name} ${escaped(help)}`, `# TYPE ${name} ${type}`, ...found];
      }),
    );
    return parts
      .flat()
      .map((line) => `${line}\n`)
      .join("");
  }

  #add(family: Family): void {
    if (this.#families.some(({ name }) => name === family.name))
      throw new Error(`metric ${family.name} is there twice`);
    this.#families.push(family);
  }
}

export class Counter {
  readonly #name: string;
  readonly #labels: readonly string[];
  readonly #series = new Map<string, Cell & { of: readonly string[] }>();

  constructor(name: string, labels: readonly string[]) {
    this.#name = name;
    this.#labels = labels;
    if (labels.length === 0) this.of(); // one that never counted is 0, and not absent
  }

  /** The series with these labels' values, to be counted up. */
  of(...values: string[]): Cell {
    const key = values.join("\0");
    let cell = this.#series.get(key);
    if (cell === undefined) {
      cell = { value: 0, of: values };
      this.#series.set(key, cell);
    }
    return cell;
  }

  lines(): string[] {
    return [...this.#series.values()].map(({ of, value }) => line(this.#name, this.#labels, of, value));
  }
}

export class Histogram {
  readonly #name: string;
  readonly #labels: readonly string[];
  readonly #bounds: readonly number[];
  readonly #series = new Map<string, Buckets>();

  constructor(name: string, labels: readonly string[], bounds: readonly number[]) {
    this.#name = name;
    this.#labels = labels;
    this.#bounds = bounds;
  }

  observe(value: number, ...values: string[]): void {
    this.of(...values).observe(value);
  }

  /** The series with these labels' values. */
  of(...values: string[]): Buckets {
    const key = values.join("\0");
    let series = this.#series.get(key);
    if (series === undefined) {
      series = new Buckets(this.#bounds, values);
      this.#series.set(key, series);
    }
    return series;
  }

  lines(): string[] {
    const labels = [...this.#labels, "le"];
    return [...this.#series.values()].flatMap(({ counts, above, sum, of }) => {
      let total = 0;
      const bucket = (le: string) => line(`${this.#name}_bucket`, labels, [...of, le], total);
      const buckets = this.#bounds.map((bound, at) => {
        total += counts[at] ?? 0;
        return bucket(String(bound));
      });
      total += above;
      return [
        ...buckets,
        bucket("+Inf"),
        line(`${this.#name}_sum`, this.#labels, of, sum),
        line(`${this.#name}_count`, this.#labels, of, total),
      ];
    });
  }
}

/** One series of a histogram. */
export class Buckets {
  readonly of: readonly string[];
  /** Of each bucket alone, not of those below it too. */
  readonly counts: number[];
  above = 0;
  sum = 0;
  readonly #bounds: readonly number[];

  constructor(bounds: readonly number[], of: readonly string[]) {
    this.#bounds = bounds;
    this.counts = bounds.map(() => 0);
    this.of = of;
  }

  observe(value: number): void {
    this.sum += value;
    const at = this.#bounds.findIndex((bound) => value <= bound);
    if (at === -1) this.above += 1;
    else this.counts[at] = (this.counts[at] ?? 0) + 1;
  }
}

/** A metric that can't be read just now is not known. */
const known = (read: () => Reading | Promise<Reading>): Promise<Reading> =>
  inTime(read, READ_MS, undefined).catch(() => undefined);

function linesOf(name: string, labels: readonly string[], reading: Reading): string[] {
  if (reading === undefined) return [];
  if (typeof reading === "number") return [line(name, [], [], reading)];
  return [...reading].map(([of, value]) => line(name, labels, of, value));
}

function line(name: string, labels: readonly string[], of: readonly string[], value: number): string {
  const pairs = labels.map((label, at) => `${label}="${escaped(of[at] ?? "").replaceAll('"', '\\"')}"`);
  return `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${shown(value)}`;
}

const escaped = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");

function shown(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  return String(value);
}
