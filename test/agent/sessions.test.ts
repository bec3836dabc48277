/** The agent's sessions: what the proxy hears of their ends, and that an ended one starts no server. */
import { expect, test } from "bun:test";
import { AppHealth } from "../../src/agent/health.ts";
import { Sessions } from "../../src/agent/sessions.ts";
import { type Grant, signGrant } from "../../src/identity/grant.ts";
import { generateKeyPair } from "../../src/identity/keys.ts";
import type { FromAgent } from "../../src/link/from-agent.ts";
import { eventually, recordingLog, startedFake } from "./scene.ts";

const key = await generateKeyPair();

async function open() {
  const { log, entries } = recordingLog();
  const sent: FromAgent[] = [];
  const control = { up: false, held: undefined, send: (message: FromAgent) => void sent.push(message) };
  const health = new AppHealth(["db"], () => {});
  let starts = 0;
  const sessions = new Sessions({
    identity: {
      ...{ agent: "agent-1", name: "host", cluster: "c", key, signingKeys: [key.publicJwk] },
      // Nobody listens there: a session's connection is of no interest here.
      trust: { proxy: { host: "127.0.0.1", port: 1 }, caPem: undefined },
    },
    spool: { append: () => {} },
    log,
    pool: {
      open: async () => {
        starts++;
        return startedFake();
      },
    },
    health,
    control: () => control,
    app: (name) => ({ name, labels: {}, description: "", shared: false, mcp: { command: "x", args: [] } }),
    pins: () => undefined,
    resumeWindow: () => 600,
  });
  const begin = async (sid: string): Promise<void> => {
    const now = Math.floor(Date.now() / 1000);
    const grant: Grant = {
      ...{ v: 1, sid, attach: `attach-${sid}`, user: "alice", traits: {}, app: "db", agent: "agent-1" },
      ...{ client_jkt: key.jkt, rules: { v: 1, roles: [] }, revision: 1, start_by: now + 60 },
    };
    const text = await signGrant(grant, key, "cluster", now);
    sessions.open({ t: "session.open", attach: grant.attach, resume: false, link: [1], grant: text });
    await sessions.settled;
  };
  return { sessions, control, sent, health, entries, begin, starts: () => starts };
}

const ends = (sent: FromAgent[]): string[] => sent.flatMap((each) => (each.t === "session.ended" ? each.sid : []));

test("a session that ends between the hello, which called it live, and the proxy's answer is told about", async () => {
  const { sessions, control, sent, begin } = await open();
  await begin("before");
  await begin("between");
  await begin("after");
  sessions.end("before", "over");
  await eventually(() => sessions.all.length === 2);
  const hello = sessions.report;
  expect(hello.sessions).toEqual(["between", "after"]);
  expect(hello.ended.map(({ sid }) => sid)).toEqual(["before"]);
  sessions.end("between", "over");
  await eventually(() => sessions.all.length === 1);
  sessions.reported();
  expect(ends(sent)).toEqual(["between"]);
  control.up = true;
  sessions.end("after", "over");
  await eventually(() => sessions.all.length === 0);
  expect(ends(sent)).toEqual(["between", "after"]);
  expect(sessions.report).toEqual({ sessions: [], ended: [] });
});

test("a session that ends while its app's next start has to wait ends at once, starts nothing, and is no failure", async () => {
  const { sessions, health, entries, begin, starts } = await open();
  for (let i = 0; i < 8; i++) health.failed("db", "it broke");
  const wait = health.waitMs("db");
  expect(wait).toBeGreaterThan(5_000);
  await begin("waiting");
  sessions.end("waiting", "over");
  await eventually(() => sessions.all.length === 0, 1_000);
  expect(starts()).toBe(0);
  expect(health.waitMs("db")).toBeLessThanOrEqual(wait);
  expect(entries.map(({ event }) => event)).toContain("server.backoff");
});
