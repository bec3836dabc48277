/**
 * Faults at random moments under load, from a seed: what was called, what the server saw, and what the audit log says
 * must agree in the end, and every call must have been answered exactly once.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { Cluster } from "../e2e/harness.ts";
import { descendants, eventually, isAlive } from "../e2e/processes.ts";
import { Load, type Pattern } from "./load.ts";
import { TcpRelay } from "./tcp-relay.ts";

export interface ChaosOptions {
  seed: number;
  faults: number;
  /** Whether the agent is killed too. Its open calls then end as "unknown". */
  killAgent: boolean;
}

export interface ChaosReport {
  faults: Record<string, number>;
  calls: number;
  answered: number;
  unknown: number;
  /** While no agent was there. */
  refused: number;
  wrong: string[];
  longestPauseMs: number;
  /** Calls that the server saw and that are not in the audit log exactly once. */
  notAuditedOnce: string[];
  /** What `mcpgate audit verify` says of the log. */
  verified: string;
  /** Processes, sockets and half-written files left behind. */
  left: string[];
  /** MiB that proxy and agent grew by, from after the first faults to the end. */
  grownMb: { proxy: number; agent: number };
}

const PATTERNS: Pattern[] = ["sequential", "pipelined", "large", "progress"];

export async function chaos({ seed, faults, killAgent }: ChaosOptions): Promise<ChaosReport> {
  const random = mulberry32(seed);
  const relay = new TcpRelay();
  const cluster = await Cluster.start({
    apps: ["echo"],
    users: { alice: ["mcp-user"] },
    publicAddr: `127.0.0.1:${relay.port}`,
    onListening: (address) => {
      relay.target = Number(address.split(":")[1]);
    },
  });
  let number = 0;
  const loads = PATTERNS.map((pattern) => new Load(cluster, "alice", pattern, () => ++number));
  const total = () => loads.reduce((sum, { tally }) => sum + tally.answered + tally.unknown + tally.refused.size, 0);
  /** Every client got another answer: the cluster works again. */
  const recovered = async () => {
    const before = loads.map(({ tally }) => tally.answered);
    await eventually(() => loads.every(({ tally }, i) => tally.answered > (before[i] ?? 0)), { ms: 60_000, every: 5 });
  };

  const counted: Record<string, number> = {};
  let memory = { proxy: 0, agent: 0 };
  await recovered();
  for (let i = 0; i < faults; i++) {
    const fault = choose(random, killAgent);
    counted[fault] = (counted[fault] ?? 0) + 1;
    if (process.env.CHAOS_VERBOSE) console.error(new Date().toISOString(), i, fault, total());
    await inflict(fault, random, cluster, relay);
    // Sometimes the next fault comes while the last one is still being dealt with.
    if (random() < 0.7) await recovered();
    if (i === 20) memory = residentMb(cluster);
  }
  await recovered();
  const grown = residentMb(cluster);
  const ends = await Promise.all(loads.map((load) => load.finish()));

  const wrong = loads.flatMap(({ tally }) => tally.wrong);
  if (process.env.CHAOS_VERBOSE)
    for (const { stderr } of [...ends, { stderr: cluster.agent.stderr() }, { stderr: cluster.proxy.stderr() }])
      console.error("=====\n", stderr);
  for (const { code, stderr } of ends) if (code !== 0) wrong.push(`client ended with ${code}: ${stderr.slice(-500)}`);
  const notAuditedOnce = await audited(cluster);
  const seen = seenCalls(cluster);
  for (const { tally } of loads) {
    for (const number of tally.refused)
      if (seen.has(number)) wrong.push(`call ${number} was refused, and the server saw it`);
    for (const number of tally.done)
      if (!seen.has(number)) wrong.push(`call ${number} was answered, and the server never saw it`);
  }
  const calls = loads.reduce((sum, { tally }) => sum + tally.calls, 0);
  const report: ChaosReport = {
    faults: counted,
    calls,
    answered: loads.reduce((sum, { tally }) => sum + tally.answered, 0),
    unknown: loads.reduce((sum, { tally }) => sum + tally.unknown, 0),
    refused: loads.reduce((sum, { tally }) => sum + tally.refused.size, 0),
    wrong: total() === calls ? wrong : [...wrong, `${calls} calls, ${total()} answers`],
    longestPauseMs: Math.round(Math.max(...loads.map(({ tally }) => tally.longestPauseMs))),
    notAuditedOnce,
    verified: await verified(cluster),
    left: await stopped(cluster),
    grownMb: { proxy: grown.proxy - memory.proxy, agent: grown.agent - memory.agent },
  };
  relay.close();
  return report;
}

type Fault =
  | "cut one"
  | "cut all"
  | "half-close"
  | "stall"
  | "fragment"
  | "delay"
  | "kill proxy"
  | "restart proxy"
  | "reload agent"
  | "kill agent"
  | "kill guard"
  | "restart agent";

function choose(random: () => number, killAgent: boolean): Fault {
  const table: [Fault, number][] = [
    ["cut one", 8],
    ["cut all", 3],
    ["half-close", 3],
    ["stall", 2],
    ["fragment", 2],
    ["delay", 1],
    ["kill proxy", 3],
    ["restart proxy", 1],
    ["reload agent", 1],
    ["kill agent", killAgent ? 1 : 0],
    ["kill guard", killAgent ? 1 : 0],
    ["restart agent", killAgent ? 1 : 0],
  ];
  let pick = random() * table.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [fault, weight] of table) {
    pick -= weight;
    if (pick < 0) return fault;
  }
  return "cut one";
}

async function inflict(fault: Fault, random: () => number, cluster: Cluster, relay: TcpRelay): Promise<void> {
  switch (fault) {
    case "cut one":
      relay.cut(random());
      break;
    case "cut all":
      relay.cut();
      break;
    case "half-close":
      relay.halfClose(random());
      break;
    case "stall": {
      const release = relay.stall(random() < 0.5 ? undefined : random());
      await Bun.sleep(20 + random() * 200);
      release();
      break;
    }
    case "fragment":
      relay.fragmentInto(1 + Math.floor(random() * 3), 0);
      await Bun.sleep(50 + random() * 100);
      relay.fragmentInto(Number.POSITIVE_INFINITY, 0);
      break;
    case "delay":
      relay.fragmentInto(16_384, 1 + random() * 10);
      await Bun.sleep(50 + random() * 100);
      relay.fragmentInto(Number.POSITIVE_INFINITY, 0);
      break;
    case "restart proxy":
      await cluster.restartProxy(); // SIGTERM: it drains
      break;
    case "reload agent":
      process.kill(cluster.agent.pid, "SIGHUP");
      break;
    case "restart agent":
      await cluster.agent.stop(); // SIGTERM: it answers what is open, and takes nothing new
      await cluster.startAgent();
      break;
    case "kill proxy":
      await cluster.proxy.stop("SIGKILL");
      await Bun.sleep(random() * 100);
      await cluster.startProxy();
      break;
    case "kill agent":
      process.kill(agentProper(cluster), "SIGKILL"); // its guard starts another
      break;
    case "kill guard": {
      const agent = agentProper(cluster);
      await cluster.agent.stop("SIGKILL"); // the agent ends by itself, and its servers with it
      await eventually(() => !isAlive(agent), { ms: 20_000 });
      await cluster.startAgent();
      break;
    }
  }
}

/** The service that we started is the guard; the agent is its child, if it has one that is not a server. */
function agentProper(cluster: Cluster): number {
  return descendants(cluster.agent.pid, 1)[0] ?? cluster.agent.pid;
}

function seenCalls(cluster: Cluster): Set<number> {
  const seen = new Set<number>();
  for (const line of cluster.seen()) {
    const { method, params } = JSON.parse(line) as { method?: string; params?: { arguments: { number: number } } };
    if (method === "tools/call" && params !== undefined) seen.add(params.arguments.number);
  }
  return seen;
}

/** What the server saw against what the log has, call by call. */
async function audited(cluster: Cluster): Promise<string[]> {
  const seen = seenCalls(cluster);
  const count = async () => {
    const times = new Map<number, number>();
    const exported = await cluster.place.ok(["audit", "export", "--format=jsonl", "--event=mcp.session.request"]);
    for (const line of exported.split("\n")) {
      if (line === "") continue;
      const { tool, arguments: args } = JSON.parse(line) as { tool?: string; arguments?: Record<string, unknown> };
      if (tool === undefined || args === undefined) continue;
      // Large arguments are cut in the log: their preview is JSON within a string.
      const found = Number(/"number\\*":\s*(\d+)/.exec(JSON.stringify(args))?.[1] ?? 0);
      times.set(found, (times.get(found) ?? 0) + 1);
    }
    return [...seen]
      .filter((number) => times.get(number) !== 1)
      .map((number) => `call ${number}: ${times.get(number) ?? 0} times`);
  };
  // The last events are durable on the agent, and reach the proxy a moment later.
  return await eventually(async () => ((await count()).length === 0 ? [] : undefined), {
    ms: 15_000,
    every: 200,
  }).catch(count);
}

async function verified(cluster: Cluster): Promise<string> {
  const { code, stdout, stderr } = await cluster.place.cli(["audit", "verify"]);
  return `${code === 0 ? "" : `exit code ${code}: `}${stdout}${stderr}`.trim();
}

/** Stops everything; what is left of it. */
async function stopped(cluster: Cluster): Promise<string[]> {
  const { place } = cluster;
  await cluster.agent.stop();
  await cluster.proxy.stop();
  const files = readdirSync(place.dir, { recursive: true, encoding: "utf8" });
  const litter = files.filter((name) => /\.sock$|tmp|\.new$|-wal$|-shm$/.test(name) && existsSync(place.path(name)));
  return [...litter, ...(await place.close())];
}

function residentMb(cluster: Cluster): { proxy: number; agent: number } {
  const of = (pid: number) =>
    Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024);
  return { proxy: of(cluster.proxy.pid), agent: of(agentProper(cluster)) };
}

/** A small generator with a seed: a failure can be run again. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

if (import.meta.main) {
  const [faults = "1000", seed = String(Date.now() % 1_000_000)] = process.argv.slice(2);
  console.log(`seed ${seed}`);
  const report = await chaos({
    seed: Number(seed),
    faults: Number(faults),
    killAgent: process.env.CHAOS_AGENT !== "no",
  });
  console.log(report);
  const { wrong, notAuditedOnce, left, verified } = report;
  process.exit(wrong.length + notAuditedOnce.length + left.length === 0 && verified.startsWith("ok") ? 0 : 1);
}
