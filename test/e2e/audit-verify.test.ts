/** `mcpgate audit verify` and the sinks, over whole processes that are killed and databases that are edited. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { parse } from "yaml";
import type { AuditEvent } from "../../src/event.ts";
import { Cluster, SLOWEST_MS } from "./harness.ts";
import { RawClient } from "./mcp.ts";
import { descendants, eventually, isAlive } from "./processes.ts";

setDefaultTimeout(SLOWEST_MS);

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start({
    apps: ["echo"],
    users: { alice: ["mcp-user"], carol: ["auditor"], dan: ["mcp-user"] },
  });
});
afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

const verify = (...args: string[]) => cluster.place.cli(["audit", "verify", ...args]);
const database = () => new Database(cluster.place.path("proxy", "mcpgate.db"), { readwrite: true });
interface Row {
  seq: number;
  uid: string;
  chain: string;
  n: number;
  body: string;
}

async function someCalls(count: number): Promise<void> {
  await using client = new RawClient(cluster, "alice", "echo");
  await client.initialize();
  await Promise.all(Array.from({ length: count }, (_, i) => client.call("echo", { i })));
  await client.end();
}

test("a log that nobody touched verifies: through the admin socket, and for a user who may read events", async () => {
  await someCalls(30);
  // The end of the session is the proxy's own event: the agent's may come after it.
  const events = await cluster.eventsOnce(
    (found) =>
      found.some(({ event }) => event === "mcp.session.end") &&
      found.filter(({ event, method }) => event === "mcp.session.response" && method === "tools/call").length >= 30,
  );
  expect(events.every(({ chain, n, prev }) => chain !== undefined && n !== undefined && prev !== undefined)).toBe(true);
  const own = await verify();
  expect(own).toMatchObject({ code: 0, stderr: "" });
  expect(own.stdout).toMatch(/^ok: \d+ events in 2 chains/);
  const env = { MCPGATE_CONFIG: "" }; // so that the proxy's own host looks like any other
  expect(await cluster.as("carol", ["audit", "verify"], { env })).toMatchObject({ code: 0, stderr: "" });
  expect(await cluster.as("dan", ["audit", "verify"], { env })).toMatchObject({ code: 1, stdout: "" });
  expect((await verify("--since=1h")).code).toBe(0);
});

describe("an editor of the database is found out", () => {
  const edits: [string, RegExp, (db: Database, row: Row) => void][] = [
    [
      "removes an event",
      /^removed: .*: an event is missing/,
      (db, { seq }) => db.run("DELETE FROM events WHERE seq = ?", [seq]),
    ],
    [
      "changes an event",
      /^changed: /,
      (db, { seq, body }) =>
        db.run("UPDATE events SET body = ? WHERE seq = ?", [body.replace('"tool":"echo"', '"tool":"ECHO"'), seq]),
    ],
    [
      "gives an event to somebody else",
      /^misattributed: .*another user/,
      (db, { seq }) => db.run("UPDATE events SET user = 'dan' WHERE seq = ?", [seq]),
    ],
    [
      "cuts the end off",
      /^cut_off: .* events are missing/,
      (db, { chain, n }) => db.run("DELETE FROM events WHERE chain = ? AND n >= ?", [chain, n]),
    ],
  ];

  for (const [what, told, edit] of edits) {
    test(what, async () => {
      const db = database();
      const { chain } = db.query<Row, []>("SELECT * FROM events WHERE event = 'mcp.session.request'").get() as Row;
      const row = db
        .query<Row, [string]>(
          "SELECT * FROM events WHERE chain = ? AND event = 'mcp.session.request' AND body LIKE '%tools/call%' ORDER BY n LIMIT 1 OFFSET 5",
        )
        .get(chain) as Row;
      db.run("CREATE TABLE kept AS SELECT * FROM events");
      try {
        edit(db, row);
        const { code, stdout } = await verify();
        expect(code).toBe(1);
        const [problem = ""] = stdout.split("\n");
        expect(problem).toMatch(told);
        expect(problem).toContain(`chain ${chain}, place`);
        expect(problem).toContain(String(row.n));
        const report = JSON.parse((await verify("--format=json")).stdout);
        expect(report).toMatchObject({ ok: false, problem_count: 1, problems: [{ chain, n: row.n }] });
      } finally {
        // Not all of it: events that have come meanwhile stay.
        db.run("INSERT OR REPLACE INTO events SELECT * FROM kept");
        db.run("DROP TABLE kept");
        db.close();
      }
      expect((await verify()).code).toBe(0);
    });
  }

  test("puts the whole log back to yesterday's: what an earlier run printed tells", async () => {
    const { place } = cluster;
    const db = database();
    const tables = ["events", "chains"];
    const keep = (as: string) => {
      for (const table of tables) db.run(`CREATE TABLE ${as}_${table} AS SELECT * FROM ${table}`);
    };
    const restore = (from: string) => {
      for (const table of tables) {
        db.run(`DELETE FROM ${table}`);
        db.run(`INSERT INTO ${table} SELECT * FROM ${from}_${table}`);
        db.run(`DROP TABLE ${from}_${table}`);
      }
    };
    keep("old");
    await someCalls(3);
    await cluster.eventsOnce((found) => found.filter(({ event }) => event === "mcp.session.end").length > 1);
    place.file("verified.json", (await verify("--format=json")).stdout);
    await cluster.agent.stop(); // it would tell again
    await cluster.proxy.stop();
    keep("new");
    restore("old");
    await cluster.startProxy();
    const { code, stdout } = await verify(`--compare=${place.path("verified.json")}`);
    expect(code).toBe(1);
    expect(stdout).toContain("cut_off: ");
    await cluster.proxy.stop();
    restore("new");
    db.close();
    await cluster.startProxy();
    await cluster.startAgent();
  });
});

test("kill -9 of proxy and agent between a call and its event's arrival: what the server saw is in the log, once", async () => {
  for (let round = 0; round < 2; round++) {
    const before = cluster.seen().length;
    const client = new RawClient(cluster, "alice", "echo");
    await client.initialize();
    for (let i = 0; i < 40; i++) client.call("echo", { round, i }).catch(() => {});
    await eventually(() => cluster.seen().length > before + 2 + 5 * round);
    // the agent is two processes, each of which would tell if the other alone were killed
    const [guard, ...below] = [cluster.agent.pid, ...descendants(cluster.agent.pid, 1)];
    process.kill(cluster.proxy.pid, "SIGKILL");
    for (const pid of [guard, ...below]) process.kill(pid as number, "SIGKILL");
    await eventually(() => ![cluster.proxy.pid, guard, ...below].some((pid) => isAlive(pid as number)));
    process.kill(client.pid, "SIGKILL");
    await client.exited;
    await cluster.startProxy();
    await cluster.startAgent();
    const calls = cluster.seen().filter((line) => line.includes(`"round":${round}`));
    const counted = (events: AuditEvent[]) => {
      const mine = events.filter(({ arguments: given }) => given?.round === round);
      return new Map(
        mine.map(({ arguments: given }) => [given?.i, mine.filter((e) => e.arguments?.i === given?.i).length]),
      );
    };
    const events = await cluster.eventsOnce(
      (found) => counted(found).size >= calls.length,
      "--event=mcp.session.request",
    );
    const counts = counted(events);
    for (const line of calls) expect(counts.get(JSON.parse(line).params.arguments.i)).toBe(1);
  }
  const { code, stdout } = await verify();
  expect({ code, stdout }).toMatchObject({ code: 0 });
});

test("sinks get every event: a file, and an endpoint that is down at first and then fails now and then", async () => {
  const { place } = cluster;
  const taken = new Map<string, AuditEvent[]>();
  let requests = 0;
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      if (request.headers.get("authorization") !== "Bearer s3cret") return new Response("no", { status: 401 });
      const events = (await request.text()).trimEnd().split("\n");
      const key = request.headers.get("idempotency-key") ?? "";
      requests += 1;
      if (requests % 3 !== 0) return new Response("busy", { status: requests % 3 === 1 ? 503 : 429 });
      taken.set(
        key,
        events.map((line) => JSON.parse(line)),
      );
      return new Response();
    },
  });
  try {
    const config = parse(readFileSync(place.path("proxy.yaml"), "utf8"));
    config.proxy_service.audit = {
      sinks: [
        { type: "file", path: "audit.jsonl" },
        { type: "http", url: `http://127.0.0.1:${server.port}/in`, token: "env:SIEM_TOKEN" },
      ],
    };
    place.file("proxy.yaml", config);
    await cluster.proxy.stop();
    cluster.proxy = place.start(["proxy", "start"], { env: { SIEM_TOKEN: "s3cret" } });
    await cluster.proxy.ready;
    await someCalls(20);
    const kept = (): AuditEvent[] =>
      readFileSync(place.path("audit.jsonl"), "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line));
    const all = async () => (await place.ok(["audit", "export"])).trimEnd().split("\n");
    await eventually(
      async () => {
        const uids = new Set((await all()).map((line) => JSON.parse(line).uid));
        const sent = [...taken.values()].flat();
        return kept().length >= uids.size && sent.length >= uids.size;
      },
      { ms: 15_000 },
    );
    const exported = await all();
    const sent = [...taken.values()].flat();
    const uids = (events: AuditEvent[]) => events.map(({ uid }) => uid);
    const wanted = uids(exported.map((line) => JSON.parse(line)));
    expect(uids(kept()).slice(0, wanted.length)).toEqual(wanted);
    expect(uids(sent).slice(0, wanted.length)).toEqual(wanted);
    // byte for byte what was signed, so that it can be verified elsewhere
    expect(readFileSync(place.path("audit.jsonl"), "utf8").startsWith(exported.slice(0, 20).join("\n"))).toBe(true);
  } finally {
    await server.stop(true);
  }
});
