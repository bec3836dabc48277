/** One trace a call, through client, proxy and agent, as a collector gets it. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { Cluster, READER, SLOWEST_MS } from "./harness.ts";
import { RawClient } from "./mcp.ts";
import { type ReceivedSpan, type Receiver, startReceiver } from "./otlp-receiver.ts";
import { eventually } from "./processes.ts";

setDefaultTimeout(SLOWEST_MS);

const [INTERNAL, SERVER, CLIENT] = [1, 2, 3];
const OFF = { OTEL_SDK_DISABLED: "true" };
const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "00f067aa0ba902b7";

let receiver: Receiver;
let cluster: Cluster;

beforeAll(async () => {
  receiver = startReceiver();
  cluster = await Cluster.start({
    apps: ["echo"],
    roles: [READER],
    users: { alice: ["mcp-user"], bob: ["reader"] },
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20otlp-secret",
      OTEL_BSP_SCHEDULE_DELAY: "50",
    },
  });
});

afterAll(async () => {
  const { stderr } = cluster.agent;
  const said = stderr() + cluster.proxy.stderr();
  expect(await cluster.stop()).toEqual([]);
  receiver.stop();
  expect(said).toContain("trace.enabled");
  expect(said).not.toContain("otlp-secret");
  expect(receiver.bodies.every(({ authorization }) => authorization === "Bearer otlp-secret")).toBe(true);
});

/** The spans of a trace, once these services have sent theirs. */
async function traceOf(id: string, ...services: string[]): Promise<Record<string, ReceivedSpan>> {
  await eventually(() => services.every((name) => receiver.trace(id).some(({ service }) => service === name)));
  const spans = receiver.trace(id);
  expect(spans).toHaveLength(services.length);
  return Object.fromEntries(spans.map((span) => [span.service.replace("mcpgate-", ""), span]));
}

const ALL = ["mcpgate-client", "mcpgate-proxy", "mcpgate-agent"];

test("a call goes on in the trace that its MCP client began, and reaches the server as it was", async () => {
  await using client = new RawClient(cluster, "alice", "echo");
  await client.initialize();
  const traceparent = `00-${TRACE}-${SPAN}-01`;
  const line = `{"jsonrpc":"2.0","id":"call-1","method":"tools/call","params":{"name":"echo","arguments":{"text":"do-not-tell"},"_meta":{"traceparent":"${traceparent}","tracestate":"vendor=1"}}}`;
  const answered = client.answerTo("call-1");
  client.send(line);
  await answered;

  const { client: first, proxy, agent } = await traceOf(TRACE, ...ALL);
  expect(first).toMatchObject({ name: "tools/call echo", kind: CLIENT, parentSpanId: SPAN, status: 0 });
  expect(proxy).toMatchObject({ name: "relay", kind: INTERNAL, parentSpanId: first?.spanId });
  expect(agent).toMatchObject({ name: "tools/call echo", kind: SERVER, parentSpanId: proxy?.spanId, status: 0 });
  const sid = agent?.attributes["mcp.session.id"];
  expect(String(sid)).toMatch(/^[0-9a-f-]{36}$/);
  expect(agent?.attributes).toEqual({
    "mcp.method.name": "tools/call",
    "jsonrpc.request.id": "call-1",
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "echo",
    "mcp.protocol.version": "2025-11-25",
    "mcp.session.id": sid,
    "network.transport": "pipe",
    "mcpgate.app": "echo",
    "mcpgate.outcome": "ok",
  });
  expect(first?.attributes).toMatchObject({ "mcp.session.id": sid, "gen_ai.tool.name": "echo", "mcpgate.app": "echo" });
  expect(proxy?.attributes).toMatchObject({ "mcp.session.id": sid, "mcpgate.app": "echo" });
  expect(agent?.events).toEqual(["mcpgate.allowed"]);
  // each lies within the one before it, as far as clocks of processes agree
  const [a, b, c] = [first, proxy, agent].map((span) => Number((span?.start ?? 0n) / 1_000_000n));
  expect([a, b, c].toSorted((x, y) => Number(x) - Number(y))).toEqual([a, b, c]);
  expect(Number((first?.end ?? 0n) - (agent?.end ?? 0n))).toBeGreaterThan(-2_000_000);

  expect(cluster.seen()).toContain(line);
  expect(receiver.bodies.some(({ text }) => text.includes("do-not-tell"))).toBe(false);
});

test("without one, mcpgate begins a trace for each call, the handshake among them", async () => {
  await using client = new RawClient(cluster, "alice", "echo");
  await client.initialize();
  await client.request("tools/list");
  const list = await eventually(() =>
    receiver.spans.findLast(({ name, service }) => name === "tools/list" && service === "mcpgate-client"),
  );
  const { client: first, proxy, agent } = await traceOf(list.traceId, ...ALL);
  expect(first).toMatchObject({ parentSpanId: "", kind: CLIENT });
  expect(agent).toMatchObject({ name: "tools/list", parentSpanId: proxy?.spanId });
  const sid = agent?.attributes["mcp.session.id"];
  const hello = await eventually(() =>
    receiver.spans.find(
      (span) => span.name === "initialize" && span.attributes["mcp.session.id"] === sid && span.kind === SERVER,
    ),
  );
  expect(hello.traceId).not.toBe(list.traceId);
  expect((await traceOf(hello.traceId, ...ALL)).client?.name).toBe("initialize");
});

test("what is refused says so, under a name that no client chose", async () => {
  await using client = new RawClient(cluster, "bob", "echo");
  await client.initialize();
  const traceId = TRACE.replace("4bf9", "aaaa");
  await client.request("tools/call", { name: "write_thing", _meta: { traceparent: `00-${traceId}-${SPAN}-01` } });
  const { client: first, agent } = await traceOf(traceId, ...ALL);
  expect(agent).toMatchObject({ name: "tools/call", status: 2, events: [] });
  expect(agent?.attributes).toMatchObject({ "error.type": "denied", "mcpgate.outcome": "denied" });
  expect(first?.attributes).toMatchObject({ "error.type": "-32602", "rpc.response.status_code": "-32602" });
});

test("an error of the server is its code", async () => {
  await using client = new RawClient(cluster, "alice", "echo");
  await client.initialize();
  const traceId = TRACE.replace("4bf9", "bbbb");
  await client.request("prompts/get", { name: "none", _meta: { traceparent: `00-${traceId}-${SPAN}-01` } });
  const { client: first, agent } = await traceOf(traceId, ...ALL);
  for (const span of [first, agent]) {
    expect(span).toMatchObject({ name: "prompts/get none", status: 2 });
    expect(span?.attributes).toMatchObject({ "error.type": "-32601", "gen_ai.prompt.name": "none" });
  }
});

test("a trace that its MCP client does not sample is sampled nowhere", async () => {
  await using client = new RawClient(cluster, "alice", "echo");
  await client.initialize();
  const [unsampled, sampled] = [TRACE.replace("4bf9", "cccc"), TRACE.replace("4bf9", "dddd")];
  await client.request("tools/list", { _meta: { traceparent: `00-${unsampled}-${SPAN}-00` } });
  await client.request("tools/list", { _meta: { traceparent: `00-${sampled}-${SPAN}-01` } });
  await traceOf(sampled, ...ALL);
  expect(receiver.trace(unsampled)).toEqual([]);
});

test("where the client does not trace, the agent follows the MCP client", async () => {
  await using client = new RawClient(cluster, "alice", "echo", { env: OFF });
  await client.initialize();
  const traceId = TRACE.replace("4bf9", "eeee");
  await client.request("tools/list", { _meta: { traceparent: `00-${traceId}-${SPAN}-01` } });
  const { agent } = await traceOf(traceId, "mcpgate-agent");
  expect(agent).toMatchObject({ name: "tools/list", parentSpanId: SPAN });
});

test("after a connection was lost, calls are traced over the next one; those made meanwhile too", async () => {
  await using client = new RawClient(cluster, "alice", "echo");
  await client.initialize();
  await cluster.proxy.stop();
  const [meanwhile, later] = [TRACE.replace("4bf9", "1111"), TRACE.replace("4bf9", "2222")];
  const ask = (id: string) => client.request("tools/list", { _meta: { traceparent: `00-${id}-${SPAN}-01` } });
  const waiting = ask(meanwhile);
  await cluster.startProxy();
  expect((await waiting).result).toBeDefined();
  await ask(later);
  for (const id of [meanwhile, later]) {
    const { client: first, proxy, agent } = await traceOf(id, ...ALL);
    expect([proxy?.parentSpanId, agent?.parentSpanId]).toEqual([first?.spanId, proxy?.spanId]);
    expect([first?.status, proxy?.status, agent?.status]).toEqual([0, 0, 0]);
  }
});

test("protobuf is what is sent unless told, and what is left goes out at the end", async () => {
  const client = new RawClient(cluster, "alice", "echo", {
    env: { OTEL_EXPORTER_OTLP_PROTOCOL: "", OTEL_BSP_SCHEDULE_DELAY: "60000", OTEL_SERVICE_NAME: "laptop" },
  });
  await client.initialize();
  await client.request("tools/list");
  await client[Symbol.asyncDispose]();
  const body = await eventually(() => receiver.bodies.find(({ type }) => type === "application/x-protobuf"));
  for (const word of ["laptop", "tools/list", "initialize"]) expect(body.text).toContain(word);
});

test("a collector that is away costs no call, and a second at the end", async () => {
  const client = new RawClient(cluster, "alice", "echo", {
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9" },
  });
  await client.initialize();
  expect((await client.request("tools/list")).result).toBeDefined();
  const began = performance.now();
  await client[Symbol.asyncDispose]();
  expect(performance.now() - began).toBeLessThan(5_000);
});
