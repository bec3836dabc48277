/** Many sessions at once over one proxy and one agent: calls, memory, descriptors; and how fast they open and close. */
import { openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { answered } from "./calls.ts";
import type { Cluster } from "./cluster.ts";
import type { Contender } from "./contenders.ts";
import { open } from "./contenders.ts";
import type { EndsAnswer, EndsOrder } from "./ends.ts";
import { Poller } from "./libc.ts";
import { type Footprint, footprint } from "./processes.ts";
import { say } from "./progress.ts";
import { type Fact, type Row, toRow } from "./report.ts";
import type { Session } from "./session.ts";
import { quantile } from "./statistics.ts";

/** Client processes at the most; beyond that the client ends share one process. */
const MOST_PROCESSES = 10;
/** For what was allocated while the sessions opened to be returned. */
const SETTLE_MS = 400;

export interface Load {
  rate: number;
  p99: number;
}

/** One call in flight on each session, for `ms`. */
function load(sessions: readonly Session[], ms: number): Load {
  const poller = new Poller();
  const began = performance.now();
  const sent = new Float64Array(sessions.length);
  const times: number[] = [];
  for (const [i, session] of sessions.entries()) {
    poller.add(session.fd, i);
    sent[i] = performance.now();
    session.send();
  }
  let waiting = sessions.length;
  let last = began;
  while (waiting > 0) {
    const ready = poller.wait(5_000);
    if (ready.length === 0) throw new Error("no answer in time");
    for (const i of ready) {
      const session = sessions[i] as Session;
      if (!session.receive()) continue;
      last = performance.now();
      times.push(last - (sent[i] as number));
      if (last - began >= ms) waiting--;
      else {
        sent[i] = performance.now();
        session.send();
      }
    }
  }
  poller.close();
  answered.calls += times.length;
  return { rate: (times.length * 1000) / (last - began), p99: quantile(times, 0.99) };
}

/** The process that holds many client ends. */
class Ends {
  readonly #child: Bun.Subprocess<"pipe", "pipe", number>;
  readonly #output: AsyncIterator<Uint8Array>;
  readonly #log: string;
  #rest = "";

  constructor(cluster: Cluster) {
    this.#log = join(cluster.dir, "ends.log");
    this.#child = Bun.spawn([process.execPath, join(import.meta.dir, "ends.ts"), cluster.home], {
      env: { PATH: process.env.PATH ?? "", HOME: cluster.dir },
      cwd: cluster.dir,
      stdin: "pipe",
      stdout: "pipe",
      stderr: openSync(this.#log, "a", 0o600),
    });
    this.#output = this.#child.stdout[Symbol.asyncIterator]();
  }

  get pid(): number {
    return this.#child.pid;
  }

  async order(order: EndsOrder): Promise<EndsAnswer> {
    this.#child.stdin.write(`${JSON.stringify(order)}\n`);
    this.#child.stdin.flush();
    while (!this.#rest.includes("\n")) {
      const { value, done } = await this.#output.next();
      if (done) throw new Error(`the client ends failed: ${readFileSync(this.#log, "utf8").trim().slice(-500)}`);
      this.#rest += new TextDecoder().decode(value);
    }
    const [line = "", ...rest] = this.#rest.split("\n");
    this.#rest = rest.join("\n");
    const answer: EndsAnswer = JSON.parse(line);
    answered.calls += answer.calls;
    return answer;
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    await Promise.race([this.#child.exited, Bun.sleep(3_000)]);
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

export interface SessionsPlan {
  sessions: number[];
  loadMs: number;
  churn: number;
}

interface Measured {
  rows: Row[];
  facts: Fact[];
}

/** `cluster`: one that nobody else uses meanwhile. */
export async function measureSessions(
  direct: Contender | undefined,
  mine: Contender,
  cluster: Cluster,
  plan: SessionsPlan,
): Promise<Measured> {
  const rows: Row[] = [];
  const facts: Fact[] = [];
  const rates = new Map<number, number>();
  const directRates = new Map<number, number>();
  for (const count of plan.sessions) {
    say(`${count} sessions`);
    const loads = new Map<string, Load>();
    if (direct !== undefined) {
      const theirs = await withSessions(direct, count, async (all) => load(all, plan.loadMs));
      loads.set(direct.name, theirs);
      directRates.set(count, theirs.rate);
    }
    const { load: ours, facts: found } = await measureOurs(mine, cluster, count, plan.loadMs);
    loads.set(mine.name, ours);
    rates.set(count, ours.rate);
    facts.push(...found);
    const how = count > MOST_PROCESSES ? ", client ends in one process" : "";
    const row = (what: keyof Load, unit: string, better: Row["better"]) =>
      toRow(
        {
          id: `sessions-${count}-${what}`,
          label: `${count} sessions${how}: ${what === "rate" ? "calls" : "p99"}`,
          unit,
          better,
        },
        new Map([...loads].map(([name, each]) => [name, [each[what]]])),
      );
    rows.push(row("rate", "1/s", "higher"), row("p99", "ms", "lower"));
  }
  const most = Math.max(...rates.keys());
  if (most > MOST_PROCESSES) {
    say(`${MOST_PROCESSES} sessions, client ends in one process`);
    // Like with like: the ten of above have a process each.
    const ten = await measureTogether(cluster, MOST_PROCESSES, plan.loadMs);
    const value = (rates.get(most) as number) / ten.load.rate;
    const [few, many] = [directRates.get(MOST_PROCESSES), directRates.get(most)];
    const direct = few === undefined || many === undefined ? "" : `; direct ×${(many / few).toPrecision(2)}`;
    const note = `client ends in one process; 10: ${Math.round(ten.load.rate)}/s${direct}`;
    facts.push({ id: "growth", label: `calls/s of ${most} sessions against 10`, unit: "×", value, note });
  }
  say("sessions opened and closed");
  facts.push(...(await churn(cluster, plan.churn)));
  return { rows, facts };
}

async function withSessions<T>(contender: Contender, count: number, work: (all: Session[]) => Promise<T>): Promise<T> {
  const all: Session[] = [];
  try {
    for (let i = 0; i < count; i++) all.push(open(contender));
    for (const session of all) session.sequential(5, {}, 10_000);
    return await work(all);
  } finally {
    await Promise.all(all.map((session) => session.end()));
  }
}

interface Sides {
  proxy: Footprint;
  agent: Footprint;
}

const sides = (cluster: Cluster): Sides => ({
  proxy: footprint(cluster.proxyPids),
  agent: footprint(cluster.agentPids),
});

/** What is there once sessions are there, by how many they are. */
class Growth {
  readonly facts: Fact[] = [];
  readonly #cluster: Cluster;
  readonly #count: number;
  readonly #before: Sides;

  constructor(cluster: Cluster, count: number) {
    this.#cluster = cluster;
    this.#count = count;
    this.#before = sides(cluster);
  }

  add(when: "idle" | "busy"): void {
    const now = sides(this.#cluster);
    const count = this.#count;
    for (const side of ["proxy", "agent"] as const) {
      const each = (what: keyof Footprint) => (now[side][what] - this.#before[side][what]) / count;
      this.facts.push({
        id: `memory-${count}-${when}-${side}`,
        label: `${count} sessions, ${when}: ${side}, a session`,
        unit: "kB",
        value: each("rss") / 1000,
        note: `resident; PSS ${Math.round(each("pss") / 1000)} kB; ${each("descriptors").toFixed(1)} descriptors; ${Math.round(now[side].rss / 1e6)} MB in all`,
      });
    }
  }
}

function measureOurs(
  mine: Contender,
  cluster: Cluster,
  count: number,
  ms: number,
): Promise<{ load: Load; facts: Fact[] }> {
  if (count > MOST_PROCESSES) return measureTogether(cluster, count, ms);
  const growth = new Growth(cluster, count);
  return withSessions(mine, count, async (all) => {
    await Bun.sleep(SETTLE_MS);
    growth.add("idle");
    const client = footprint(all.map(({ pid }) => pid));
    growth.facts.push({
      id: count === 1 ? "client-rss" : `client-rss-${count}`,
      label: `${count} sessions, idle: a client process`,
      unit: "MB",
      value: client.rss / count / 1e6,
      note: `resident; PSS ${Math.round(client.pss / count / 1e6)} MB; ${Math.round(client.descriptors / count)} descriptors`,
    });
    const found = load(all, ms);
    growth.add("busy");
    return { load: found, facts: growth.facts };
  });
}

/** The client ends in one process. */
async function measureTogether(cluster: Cluster, count: number, ms: number): Promise<{ load: Load; facts: Fact[] }> {
  const growth = new Growth(cluster, count);
  const ends = new Ends(cluster);
  try {
    const { seconds } = await ends.order({ t: "open", count });
    const label = `${count} sessions open, eight at a time`;
    growth.facts.push({ id: `open-${count}`, label, unit: "1/s", value: count / seconds });
    await Bun.sleep(SETTLE_MS);
    growth.add("idle");
    const busy = ends.order({ t: "load", ms });
    await Bun.sleep(ms * 0.8);
    growth.add("busy");
    const { calls, seconds: took, p99 } = await busy;
    await ends.order({ t: "close" });
    return { load: { rate: calls / took, p99 }, facts: growth.facts };
  } finally {
    await ends.end();
  }
}

async function churn(cluster: Cluster, count: number): Promise<Fact[]> {
  const ends = new Ends(cluster);
  try {
    await ends.order({ t: "churn", count: 2, parallel: 1 });
    const facts: Fact[] = [];
    for (const parallel of [1, 8]) {
      const { seconds, p50 } = await ends.order({ t: "churn", count, parallel });
      const label = `sessions opened to the answer, and closed, ${parallel === 1 ? "one by one" : "eight at a time"}`;
      facts.push({
        id: `churn-${parallel}`,
        label,
        unit: "1/s",
        value: count / seconds,
        note: `to the answer: p50 ${Math.round(p50)} ms`,
      });
    }
    return facts;
  } finally {
    await ends.end();
  }
}
