/** Whether a proxy can do its work, seen from outside. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createLog } from "../../src/log.ts";
import type { Agents } from "../../src/proxy/agents.ts";
import { type Observed, observeProxy } from "../../src/proxy/observed.ts";
import type { Relay } from "../../src/proxy/relay.ts";
import { Tally } from "../../src/proxy/tally.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";

let store: Store;
let observed: Observed;
let address: string;
let listening = true;
const endpoint = { tally: new Tally() };

beforeAll(async () => {
  const lines: string[] = [];
  const log = createLog({ format: "json", write: (line) => void lines.push(line) });
  store = await openStore(":memory:");
  const ingest = async (_: string, lines: Uint8Array) => ({
    stored: lines.toString().split("\n").length - 1,
    invalid: 1,
  });
  observed = await observeProxy({ ingest, log, env: {} });
  const relay = {
    clients: endpoint,
    agentSessions: endpoint,
    joinedSessions: new Set(),
    counts: { opened: 5, resumed: 2 },
  };
  const agents = { tally: new Tally(), online: () => new Set(["a"]) };
  observed.open(
    { host: "127.0.0.1", port: 0 },
    {
      store,
      file: "/nowhere/mcpgate.db",
      relay: relay as unknown as Relay,
      agents: agents as unknown as Agents,
      sinks: () => [
        { name: "siem", after: 0, sent: 3, failures: 1 },
        { name: "new", after: undefined, sent: 0, failures: 0 },
      ],
      isListening: () => listening,
      certificate: () => undefined,
    },
  );
  address = String(lines.map((line) => JSON.parse(line)).find(({ event }) => event === "diag.listening").address);
});

afterAll(() => observed.close());

const lines = async () => (await (await fetch(`http://${address}/metrics`)).text()).split("\n");
const readyz = async () => {
  const response = await fetch(`http://${address}/readyz`);
  return [response.status, ((await response.json()) as { checks: object }).checks];
};

test("batches of audit events are timed, and their events counted", async () => {
  expect(await observed.ingest("agent", Buffer.from("a\nb\nc"), 0)).toEqual({ stored: 2, invalid: 1 });
  expect(await lines()).toEqual(
    expect.arrayContaining([
      "mcpgate_proxy_store_batch_seconds_count 1",
      "mcpgate_proxy_audit_events_total 2",
      "mcpgate_proxy_audit_events_invalid_total 1",
    ]),
  );
});

test("answers are counted by status, and pass as they are", async () => {
  const answer = observed.counted((status: number) => new Response("x", { status }));
  expect(await (await answer(200)).text()).toBe("x");
  await answer(404);
  await answer(404);
  expect(await lines()).toEqual(
    expect.arrayContaining([
      'mcpgate_proxy_http_responses_total{status="200"} 1',
      'mcpgate_proxy_http_responses_total{status="404"} 2',
    ]),
  );
});

test("a sink that was not looked at yet has no lag, and no certificate no end", async () => {
  const all = await lines();
  expect(all).toContain('mcpgate_proxy_sink_lag_events{sink="siem"} 0');
  expect(all.filter((line) => line.includes('lag_events{sink="new"}'))).toEqual([]);
  expect(all.filter((line) => line.startsWith("mcpgate_proxy_certificate_end"))).toEqual([]);
  expect(all).toContain("mcpgate_proxy_sessions_resumed_total 2");
});

test("it is ready while it takes connections and its store answers", async () => {
  expect(await readyz()).toEqual([200, { listener: "ok", store: "ok" }]);
  listening = false;
  expect(await readyz()).toEqual([503, { listener: "the proxy takes no connections: it stops", store: "ok" }]);
  listening = true;
  await store.destroy();
  const [status, checks] = await readyz();
  expect(status).toBe(503);
  expect(checks).toEqual({ listener: "ok", store: expect.not.stringMatching(/^ok$/) });
});

test("where the store does not answer, what needs no store is still told", async () => {
  const all = await lines();
  expect(all).toContain("mcpgate_proxy_agents_online 1");
  expect(all.filter((line) => line.startsWith("mcpgate_proxy_agents "))).toEqual([]);
});
