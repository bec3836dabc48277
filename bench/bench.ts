/** `npm run bench`: measures mcpgate beside a bare pipe, its floor in C and its peers, in one run and in turn. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { measureCost, measureStore } from "./audit.ts";
import * as calls from "./calls.ts";
import { Cluster } from "./cluster.ts";
import { type Contender, direct, floor, ours } from "./contenders.ts";
import { compileNative, type Native } from "./native.ts";
import { PEER_VERSIONS, PEERS, startPeer } from "./peers.ts";
import { type Options, type Part, parseOptions, USAGE } from "./plan.ts";
import { argvOf, descendants, end, run } from "./processes.ts";
import { buildBinary } from "./quiet.ts";
import { measureRelay } from "./relay.ts";
import { type Fact, type Report, type Row, show } from "./report.ts";
import { measureSessions } from "./sessions.ts";
import { Standing } from "./turns.ts";

class Bench {
  readonly #options: Options;
  readonly #dir: string;
  readonly #binary: string;
  readonly #native: Native;
  readonly #stops: (() => Promise<void>)[] = [];
  readonly rows: Row[] = [];
  readonly facts: Fact[] = [];
  readonly skipped: string[] = [];

  constructor(o: { options: Options; dir: string; binary: string; native: Native }) {
    this.#options = o.options;
    this.#dir = o.dir;
    this.#binary = o.binary;
    this.#native = o.native;
  }

  async measure(): Promise<void> {
    await this.#calls();
    if (this.#wants("node")) await this.#part("node", () => this.#node());
    if (this.#wants("sessions")) await this.#part("sessions", () => this.#sessions());
    if (this.#wants("relay")) await this.#part("relay", () => this.#relay());
    if (this.#wants("audit")) await this.#part("audit", () => this.#audit());
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.splice(0).reverse()) await stop();
  }

  #wants(...parts: Part[]): boolean {
    return parts.some((part) => this.#options.plan.parts.has(part));
  }

  #folder(name: string): string {
    const dir = join(this.#dir, name);
    mkdirSync(dir, { recursive: true });
    return dir;
  }

  async #cluster(name: string, more: { binary?: string; agent?: boolean; server?: string[] } = {}): Promise<Cluster> {
    const { binary = this.#binary, agent = true, server = [this.#native.echo] } = more;
    const cluster = await Cluster.start({ binary, dir: this.#folder(name), server }, { agent });
    this.#stops.push(() => cluster.stop());
    return cluster;
  }

  /** One that fails says so, and the others are measured. */
  async #part(name: Part, measure: () => Promise<void>): Promise<void> {
    try {
      await measure();
    } catch (error) {
      this.skipped.push(`${name}: ${error instanceof Error ? error.message : error}`);
    }
    await this.stop();
  }

  /** With a server as most are: what a person would notice. The native one shows what is ours. */
  async #node(): Promise<void> {
    const { plan } = this.#options;
    const node = Bun.which("node");
    if (node === null) throw new Error("no node here");
    const server = [node, join(import.meta.dir, "node-server.mjs")];
    const dir = this.#folder("node");
    const contenders: Contender[] = [];
    if (plan.contenders.has("direct")) contenders.push(direct(server, dir));
    if (plan.contenders.has("floor")) contenders.push(floor(this.#native.floor, server, dir));
    this.#stops.push(async () => {
      for (const contender of contenders) await contender.stop();
    });
    if (plan.contenders.has("mcpgate")) contenders.push(ours(await this.#cluster("node-mcpgate", { server })));
    const standing = new Standing(contenders);
    try {
      const rows = await calls.measureSequential(standing, plan);
      for (const depth of [16, 256]) rows.push(await calls.measurePipelined(standing, depth, plan));
      for (const [size, count] of plan.sizes.filter(([bytes]) => bytes <= 4e6)) {
        rows.push(await calls.measureSize(standing, size, count, plan));
      }
      for (const row of rows) this.rows.push({ ...row, id: `node-${row.id}`, label: `Node.js server: ${row.label}` });
    } finally {
      await standing.close();
    }
  }

  async #sessions(): Promise<void> {
    const { plan } = this.#options;
    const cluster = await this.#cluster("sessions");
    const bare = plan.contenders.has("direct") ? direct([this.#native.echo], this.#folder("calls")) : undefined;
    const { rows, facts } = await measureSessions(bare, ours(cluster), cluster, plan);
    this.rows.push(...rows);
    this.facts.push(...facts);
  }

  async #relay(): Promise<void> {
    const cluster = await this.#cluster("relay", { agent: false });
    this.facts.push(...(await measureRelay(cluster, this.#options.plan)));
  }

  async #audit(): Promise<void> {
    const { plan, binary } = this.#options;
    const dir = this.#folder("binaries");
    // A binary that was given may be of other sources than these.
    const recording = binary === undefined ? this.#binary : await buildBinary(join(dir, "with"), { audit: true });
    const without = await buildBinary(join(dir, "without"), { audit: false });
    const cluster = await this.#cluster("audit", { binary: recording });
    const quiet = await this.#cluster("quiet", { binary: without });
    this.facts.push(...(await measureStore(cluster, plan)));
    const { row, fact } = await measureCost(cluster, quiet, plan);
    this.rows.push(row);
    this.facts.push(fact);
  }

  /** One session of each, side by side. */
  async #calls(): Promise<void> {
    const { plan } = this.#options;
    if (!this.#wants("start", "sequential", "pipelined", "sizes", "progress", "cpu")) return;
    const contenders: Contender[] = [];
    const add = (contender: Contender) => {
      contenders.push(contender);
      this.#stops.push(() => contender.stop());
    };
    const dir = this.#folder("calls");
    if (plan.contenders.has("direct")) add(direct([this.#native.echo], dir));
    if (plan.contenders.has("floor")) add(floor(this.#native.floor, [this.#native.echo], dir));
    const cluster = plan.contenders.has("mcpgate") ? await this.#cluster("mcpgate") : undefined;
    if (cluster !== undefined) add(ours(cluster));
    for (const name of plan.contenders.has("peers") ? PEERS : []) {
      await startPeer(name, this.#native, dir).then(add, (error) => this.skipped.push(`${name}: ${error.message}`));
    }
    if (this.#wants("start")) {
      this.rows.push(await calls.measureStart(contenders, plan));
      if (cluster !== undefined) {
        const value = await calls.measureFirstByte(cluster, plan.starts);
        const note = "not logged in: answers by itself, reaches nobody";
        this.facts.push({
          id: "first-byte",
          label: "client connect by itself, to its first byte",
          unit: "ms",
          value,
          note,
        });
      }
    }
    const standing = new Standing(contenders);
    try {
      if (this.#wants("sequential")) this.rows.push(...(await calls.measureSequential(standing, plan)));
      if (this.#wants("pipelined")) {
        for (const depth of [16, 256]) this.rows.push(await calls.measurePipelined(standing, depth, plan));
      }
      for (const [size, count] of this.#wants("sizes") ? plan.sizes : []) {
        this.rows.push(
          await calls.measureSize(
            standing,
            size,
            count,
            size >= 64e6 ? { ...plan, repeats: Math.min(3, plan.repeats) } : plan,
          ),
        );
      }
      if (this.#wants("progress")) this.rows.push(await calls.measureProgress(standing, plan));
      if (this.#wants("cpu")) this.rows.push(...(await calls.measureCpu(standing, plan)));
    } finally {
      await standing.close();
    }
    await this.stop();
  }
}

async function compiled(given: string | undefined): Promise<string> {
  const binary = given ?? join(import.meta.dir, "../dist/mcpgate");
  if (!existsSync(binary)) throw new Error(`no binary: ${binary}; npm run build`);
  return binary;
}

function machine(load: number[]): Report["machine"] {
  const all = cpus();
  return { cpu: all[0]?.model.trim() ?? "", cpus: all.length, kernel: release(), memory: totalmem(), load };
}

/** What this process has started and is still there. */
function leftovers(): string[] {
  return descendants(process.pid).map((pid) => {
    const left = `${pid} ${argvOf(pid).join(" ").trim()}`;
    end(pid);
    return left;
  });
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2), process.env);
  if (process.platform !== "linux")
    throw new Error("the benchmark runs on Linux only: it reads /proc and waits in epoll(7)");
  const began = performance.now();
  const load = loadavg();
  const dir = mkdtempSync(join(tmpdir(), "mcpgate-bench-"));
  let bench: Bench | undefined;
  const abort = () => {
    leftovers();
    rmSync(dir, { recursive: true, force: true });
    process.exit(130);
  };
  process.once("SIGINT", abort);
  process.once("SIGTERM", abort);
  try {
    const binary = await compiled(options.binary);
    const native = await compileNative(dir);
    if (native === undefined) throw new Error("no C compiler (cc): the server that is measured is written in C");
    const bytes = readFileSync(binary);
    const version = (await run([binary, "version"], { env: {}, cwd: dir })).trim();
    bench = new Bench({ options, dir, binary, native });
    await bench.measure();
    await bench.stop();
    const { rows, facts, skipped } = bench;
    const report: Report = {
      schema: 1,
      at: new Date().toISOString(),
      options: {
        speed: options.speed,
        ...options.plan,
        parts: [...options.plan.parts],
        contenders: [...options.plan.contenders],
        peers: PEER_VERSIONS,
      },
      machine: machine(load),
      binary: { version, sha256: createHash("sha256").update(bytes).digest("hex") },
      bun: Bun.version,
      rows,
      facts,
      calls: calls.answered.calls,
      left: leftovers(),
      skipped,
      seconds: (performance.now() - began) / 1000,
    };
    const file = options.results ?? join(import.meta.dir, "results", `${report.at.replaceAll(":", "-")}.json`);
    mkdirSync(join(file, ".."), { recursive: true });
    writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
    console.log(show(report));
    return report.left.length === 0 ? 0 : 1;
  } finally {
    await bench?.stop().catch(() => {});
    leftovers();
    rmSync(dir, { recursive: true, force: true });
  }
}

main().then(
  (code) => process.exit(code),
  (error) => {
    console.error(`bench: ${error instanceof Error ? error.message : error}\n${USAGE}`);
    process.exit(1);
  },
);
