/** Sessions that are opened and killed at random moments of their start: counted afterwards, nothing of them is left. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { AuditEvent } from "../../src/event.ts";
import { TcpRelay } from "../chaos/tcp-relay.ts";
import type { Attempt } from "./churn-clients.ts";
import { type AppDocument, Cluster, OTHER, type Place } from "./harness.ts";
import { argvOf, descendants, eventually, processesWith } from "./processes.ts";

/** `MCPGATE_SESSIONS=1000` for the full number. */
const SESSIONS = Number(process.env.MCPGATE_SESSIONS ?? 150);
/** Of them, those whose client process is killed; so many sessions in each. */
const [KILLED, AT_A_TIME] = [0.2, 8];
/** What processes load and open for good, they have after the first ones. */
const WARM_UP = 32;
/** Memory is looked at after each. */
const PARTS = Math.max(1, Math.floor(SESSIONS / 500));
/** MiB that a process may have grown by in the last part, the collector's moods included. */
const FLAT_MIB = SESSIONS < 500 ? 64 : 32;
/** Between two connections that are cut, milliseconds. */
const CUT_MS = 150;
const SLOW_MS = 60_000 + SESSIONS * 200;

/** A server that takes its time for each call. */
const ANSWERS = `
  while read -r line; do
    id=\${line#*'"id":'}; id=\${id%%,*}
    case $line in
      *'"initialize"'*) echo '{"jsonrpc":"2.0","id":'$id',"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"brief","version":"1"}}}';;
      *tools/call*) sleep 0.03; echo '{"jsonrpc":"2.0","id":'$id',"result":{"content":[]}}';;
    esac
  done`;

let cluster: Cluster;
let relay: TcpRelay;

beforeAll(async () => {
  relay = new TcpRelay();
  const app =
    (name: string, script: string, more: object = {}) =>
    (place: Place) => {
      const mcp = {
        command: "sh",
        args: ["-c", script],
        env: { MCPGATE_TEST: place.dir },
        run_as_host_user: OTHER.name,
      };
      return { name, mcp: { ...mcp, ...more } } satisfies AppDocument;
    };
  cluster = await Cluster.start({
    apps: [
      app("plain", ANSWERS),
      app("fleeing", `(setsid sleep 1000 &); sleep 1000 & trap '' TERM; ${ANSWERS}`, {
        stop_grace: { stdin: "0s", term: "0s" },
      }),
      app("shared", ANSWERS, { share: "user", linger: "0s" }),
    ],
    users: { alice: ["mcp-user"] },
    appService: { resume_window: "1s" },
    publicAddr: `127.0.0.1:${relay.port}`,
    onListening: (address) => {
      relay.target = Number(address.split(":")[1]);
    },
  });
}, 30_000);

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
  relay.close();
});

const clients = (count: number, how: "live" | "die") => {
  const argv = [process.execPath, join(import.meta.dir, "churn-clients.ts")];
  return Bun.spawn([...argv, cluster.home("alice"), cluster.place.path("proxy.yaml"), String(count), how], {
    stdio: ["ignore", "pipe", "inherit"],
  });
};

/** The oldest is the agent's control connection: without it sessions are refused, so it is seldom that one. */
function cutOne(): void {
  const first = Math.random() < 0.02 ? 0 : 1;
  const { connections } = relay;
  if (connections > first) relay.cut((first + Math.random() * (connections - first)) / connections);
}

/** Opens and ends so many sessions, while connections are cut. */
async function churn(count: number): Promise<Attempt[]> {
  const doomed = Math.round(count * KILLED);
  const cutting = setInterval(cutOne, CUT_MS);
  const dying = async () => {
    for (let left = doomed; left > 0; left -= AT_A_TIME) await clients(Math.min(left, AT_A_TIME), "die").exited;
  };
  const live = clients(count - doomed, "live");
  const [text] = await Promise.all([live.stdout.text(), dying()]);
  clearInterval(cutting);
  expect(await live.exited).toBe(0);
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

interface Status {
  servers: { spawned: number; exited: number; running: number };
  sessions: unknown[];
  pending_events: number;
}
const status = async (): Promise<Status> =>
  JSON.parse(await cluster.place.ok(["agent", "status", "--format=json", "-c", cluster.place.path("agent.yaml")]));

/** Until every session has ended by itself, and all that it told is stored. */
async function quiet(): Promise<Status> {
  await eventually(async () => (await cluster.sessions()).length === 0, { ms: 30_000, every: 100 });
  return eventually(async () => {
    const now = await status();
    return now.sessions.length + now.servers.running + now.pending_events === 0 && now;
  });
}

const NAMES = ["proxy", "guard", "agent"] as const;
function pids(): Record<(typeof NAMES)[number], number> {
  const guard = cluster.agent.pid;
  return { proxy: cluster.proxy.pid, guard, agent: descendants(guard, 1)[0] ?? 0 };
}
const ofEach = (read: (pid: number) => number): number[] => NAMES.map((name) => read(pids()[name]));
const descriptors = (): number[] => ofEach((pid) => readdirSync(`/proc/${pid}/fd`).length);
const residentMiB = (): number[] =>
  ofEach((pid) =>
    Math.round(Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024),
  );

/** Sessions that did begin, and how often each began and ended, by the audit log. */
async function recorded(): Promise<Map<string, { starts: number; ends: number }>> {
  const text = await cluster.place.ok(["audit", "export", "--event=mcp.session.start,mcp.session.end"]);
  const found = new Map<string, { starts: number; ends: number }>();
  for (const line of text.trimEnd().split("\n")) {
    const { event, sid = "", success }: AuditEvent = JSON.parse(line);
    if (event === "mcp.session.start" && success !== true) continue;
    const counts = found.get(sid) ?? { starts: 0, ends: 0 };
    counts[event === "mcp.session.start" ? "starts" : "ends"] += 1;
    found.set(sid, counts);
  }
  return found;
}

test.skipIf(process.platform !== "linux")(
  `${SESSIONS} sessions, ended at random moments of their start: the ledger is exact, and nothing has leaked`,
  async () => {
    const attempts = await churn(WARM_UP);
    await quiet();
    const [open, memory] = [descriptors(), [residentMiB()]];
    for (let part = 0; part < PARTS; part++) {
      attempts.push(...(await churn(Math.round((SESSIONS - WARM_UP) / PARTS))));
      await quiet();
      memory.push(residentMiB());
    }

    const { servers } = await status();
    expect(servers).toEqual({ spawned: servers.exited, exited: servers.spawned, running: 0 });
    expect(servers.spawned).toBeGreaterThan(SESSIONS / 4);
    const sessions = await recorded();
    expect([...sessions].filter(([, { starts, ends }]) => starts !== 1 || ends !== 1)).toEqual([]);
    expect(await cluster.place.ok(["audit", "verify"])).toStartWith("ok: ");
    // The last sockets close a moment after their connections.
    await eventually(() => descriptors().every((count, i) => count <= (open[i] ?? 0)));
    const [before = [], after = []] = memory.slice(-2);
    for (const [i, name] of NAMES.entries())
      expect(`${name} ${(after[i] ?? 0) - (before[i] ?? 0) < FLAT_MIB}`).toBe(`${name} true`);
    const ours = processesWith(cluster.place.dir).map(({ pid }) => pid);
    expect(ours.sort()).toEqual(Object.values(pids()).sort());
    // The exec helper of the next server may stand ready.
    const below = descendants(pids().agent).map((pid) => argvOf(pid)[1]);
    expect(below.filter((argument) => argument !== "__exec")).toEqual([]);
    expect(below.length).toBeLessThan(2);

    if (SESSIONS < 500) return;
    const reached: Record<string, number> = {};
    for (const { got } of attempts) reached[got] = (reached[got] ?? 0) + 1;
    console.log({ begun: sessions.size, servers, descriptors: [open, descriptors()], memory, reached });
  },
  SLOW_MS,
);
