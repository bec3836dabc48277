/** The parts of a run, one after the other: what each needs is started for it, and ended before the next begins. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { measureCost, measureStore } from "./audit.ts";
import * as calls from "./calls.ts";
import { Cluster } from "./cluster.ts";
import { type Contender, direct, floor, ours, runtimeFloor } from "./contenders.ts";
import type { Native } from "./native.ts";
import { PEERS, startPeer } from "./peers.ts";
import type { Part, Plan } from "./plan.ts";
import { say } from "./progress.ts";
import { buildBinary } from "./quiet.ts";
import { measureRelay } from "./relay.ts";
import type { Fact, Row } from "./report.ts";
import { measureSessions } from "./sessions.ts";
import { Standing } from "./turns.ts";

/** What one session of each contender is for, side by side. */
const CALLS: readonly Part[] = ["start", "sequential", "pipelined", "sizes", "progress", "cpu"];

export interface PartsOptions {
  plan: Plan;
  /** Of this run alone. */
  dir: string;
  binary: string;
  native: Native;
}

export class Parts {
  readonly #plan: Plan;
  readonly #dir: string;
  readonly #binary: string;
  readonly #native: Native;
  readonly #stops: (() => Promise<void>)[] = [];
  readonly rows: Row[] = [];
  readonly facts: Fact[] = [];
  /** What was asked for and could not be measured, and why. */
  readonly skipped: string[] = [];

  constructor({ plan, dir, binary, native }: PartsOptions) {
    this.#plan = plan;
    this.#dir = dir;
    this.#binary = binary;
    this.#native = native;
  }

  async measure(): Promise<void> {
    await this.#part("calls", [...CALLS, "node"], () => this.#calls());
    await this.#part("sessions, audit", ["sessions", "audit"], () => this.#sessions());
    await this.#part("relay", ["relay"], () => this.#relay());
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.splice(0).reverse()) await stop();
  }

  /** One that fails says so, and the others are measured. */
  async #part(name: string, parts: readonly Part[], measure: () => Promise<void>): Promise<void> {
    if (!this.#wants(...parts)) return;
    try {
      await measure();
    } catch (error) {
      this.skipped.push(`${name}: ${error instanceof Error ? error.message : error}`);
    }
    await this.stop();
  }

  #wants(...parts: Part[]): boolean {
    return parts.some((part) => this.#plan.parts.has(part));
  }

  #folder(name: string): string {
    const dir = join(this.#dir, name);
    mkdirSync(dir, { recursive: true });
    return dir;
  }

  async #cluster(name: string, more: { binary?: string; agent?: boolean; node?: string[] } = {}): Promise<Cluster> {
    const { binary = this.#binary, agent = true, node } = more;
    const servers = { bench: [this.#native.echo], ...(node === undefined ? {} : { node }) };
    const cluster = await Cluster.start({ binary, dir: this.#folder(name), servers }, { agent });
    this.#stops.push(() => cluster.stop());
    return cluster;
  }

  async #calls(): Promise<void> {
    const path = Bun.which("node");
    const node = path === null || !this.#wants("node") ? undefined : [path, join(import.meta.dir, "node-server.mjs")];
    const mine = this.#plan.contenders.has("mcpgate");
    const cluster = mine ? await this.#cluster("mcpgate", node === undefined ? {} : { node }) : undefined;
    if (this.#wants(...CALLS)) await this.#everything(cluster);
    if (node !== undefined) await this.#node(node, cluster);
  }

  /** Direct, the floors and ours, as far as they are wanted, before that server. */
  async #ownContenders(server: string[], cluster: Cluster | undefined, app: string): Promise<Contender[]> {
    const { contenders } = this.#plan;
    const dir = this.#folder("calls");
    const found: Contender[] = [];
    if (contenders.has("direct")) found.push(direct(server, dir));
    if (contenders.has("floor")) found.push(floor(this.#native.floor, server, dir));
    if (contenders.has("runtime")) found.push(await runtimeFloor(server, this.#folder(`runtime-${app}`)));
    if (cluster !== undefined) found.push(ours(cluster, app));
    for (const contender of found) this.#stops.push(() => contender.stop());
    return found;
  }

  async #everything(cluster: Cluster | undefined): Promise<void> {
    const plan = this.#plan;
    const contenders = await this.#ownContenders([this.#native.echo], cluster, "bench");
    for (const name of plan.contenders.has("peers") ? PEERS : []) {
      try {
        const peer = await startPeer(name, this.#native, this.#folder("calls"));
        this.#stops.push(() => peer.stop());
        contenders.push(peer);
      } catch (error) {
        this.skipped.push(`${name}: ${error instanceof Error ? error.message : error}`);
      }
    }
    if (this.#wants("start")) {
      this.rows.push(await calls.measureStart(contenders, plan));
      if (cluster !== undefined) this.facts.push(await calls.measureFirstByte(cluster, plan));
    }
    const standing = new Standing(contenders);
    try {
      if (this.#wants("sequential")) this.rows.push(...(await calls.measureSequential(standing, plan)));
      for (const depth of this.#wants("pipelined") ? [16, 256] : []) {
        this.rows.push(await calls.measurePipelined(standing, depth, plan));
      }
      if (this.#wants("cpu")) this.rows.push(...(await calls.measureCpu(standing, plan)));
      // The heaviest comes last: a peer may not come back from it.
      const sizes = this.#wants("sizes") ? plan.sizes : [];
      for (const [size, count] of sizes.filter(([bytes]) => bytes <= 4e6)) {
        this.rows.push(await calls.measureSize(standing, size, count, plan));
      }
      if (this.#wants("progress")) this.rows.push(await calls.measureProgress(standing, plan));
      for (const [size, count] of sizes.filter(([bytes]) => bytes > 4e6)) {
        this.rows.push(await calls.measureSize(standing, size, count, plan));
      }
    } finally {
      await standing.close();
    }
  }

  /** With a server as most are: what a person would notice. The native one shows what is ours. */
  async #node(server: string[], cluster: Cluster | undefined): Promise<void> {
    const plan = this.#plan;
    const standing = new Standing(await this.#ownContenders(server, cluster, "node"));
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
    const plan = this.#plan;
    // A fresh one: what others have left in it would count as room that sessions don't need.
    const cluster = await this.#cluster("sessions");
    if (this.#wants("sessions")) {
      const bare = plan.contenders.has("direct") ? direct([this.#native.echo], this.#folder("calls")) : undefined;
      const { rows, facts } = await measureSessions(bare, ours(cluster), cluster, plan);
      this.rows.push(...rows);
      this.facts.push(...facts);
    }
    if (this.#wants("audit")) {
      say("audit: a build without it");
      const binary = await buildBinary(join(this.#folder("binaries"), "mcpgate-without"), { audit: false });
      const quiet = await this.#cluster("quiet", { binary });
      say("audit");
      this.facts.push(...(await measureStore(cluster, plan)));
      const { row, fact } = await measureCost(cluster, quiet, plan);
      this.rows.push(row);
      this.facts.push(fact);
    }
  }

  async #relay(): Promise<void> {
    say("relay");
    const cluster = await this.#cluster("relay", { agent: false });
    this.facts.push(...(await measureRelay(cluster, this.#plan)));
  }
}
