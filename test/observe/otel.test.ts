/** When and how traces are sent, by OpenTelemetry's variables. */
import { afterAll, expect, test } from "bun:test";
import { createLog } from "../../src/log.ts";
import type { Tracer } from "../../src/observe/span.ts";
import { isTracingWanted, openTracer } from "../../src/observe/tracing.ts";
import { type Receiver, startReceiver } from "../e2e/otlp-receiver.ts";
import { TRACEPARENT } from "./fake-tracer.ts";

const receiver: Receiver = startReceiver();
afterAll(() => receiver.stop());

const lines: string[] = [];
const log = createLog({ format: "json", write: (line) => void lines.push(line) });
const logged = () => lines.splice(0).map((line) => JSON.parse(line));

// The exporter itself reads the process's environment.
process.env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT = `${receiver.url}/v1/traces`;
afterAll(() => {
  delete process.env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT;
});
const ENV = {
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: process.env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
  OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
};

async function open(env: Record<string, string>): Promise<Tracer> {
  const tracer = await openTracer("agent", { ...ENV, ...env }, log);
  if (tracer === undefined) throw new Error("no tracer");
  return tracer;
}

const span = { name: "x", kind: "server", parent: undefined, attributes: {} } as const;

test("only where an endpoint is named, and nothing says otherwise", () => {
  expect(isTracingWanted({})).toBe(false);
  expect(isTracingWanted({ OTEL_SERVICE_NAME: "x", OTEL_TRACES_EXPORTER: "otlp" })).toBe(false);
  const named = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector:4318" };
  expect(isTracingWanted(named)).toBe(true);
  expect(isTracingWanted({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://collector:4318/v1/traces" })).toBe(true);
  expect(isTracingWanted({ OTEL_EXPORTER_OTLP_ENDPOINT: " " })).toBe(false);
  expect(isTracingWanted({ ...named, OTEL_SDK_DISABLED: "True" })).toBe(false);
  expect(isTracingWanted({ ...named, OTEL_TRACES_EXPORTER: "none" })).toBe(false);
});

test("what can't be used is said without the address, which may hold a password", async () => {
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: "collector.example.com:secret" };
  expect(await openTracer("agent", endpoint, log)).toBeUndefined();
  expect(await openTracer("agent", { ...ENV, OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" }, log)).toBeUndefined();
  const said = logged();
  expect(said).toMatchObject([{ event: "trace.unavailable" }, { event: "trace.unavailable" }]);
  expect(JSON.stringify(said)).not.toContain("secret");
});

test("spans follow their parent, and long values are cut", async () => {
  const tracer = await open({});
  const parent = { traceparent: TRACEPARENT, tracestate: "vendor=1" };
  const made = tracer.start({ ...span, parent, attributes: { "gen_ai.tool.name": "x".repeat(4096) } });
  expect(made.context.traceparent).toMatch(/^00-4bf92f3577b34da6a3ce929d0e0e4736-[0-9a-f]{16}-01$/);
  expect(made.context.tracestate).toBe("vendor=1");
  made.note("seen");
  made.end("tool_error");
  const root = tracer.start({
    ...span,
    parent: { traceparent: "00-00000000000000000000000000000000-0000000000000000-01" },
  });
  root.end();
  await tracer.close(2_000);
  const [child, other] = receiver.spans.splice(0);
  expect(child).toMatchObject({
    parentSpanId: "00f067aa0ba902b7",
    kind: 2,
    status: 2,
    events: ["seen"],
    service: "mcpgate-agent",
  });
  expect(child?.attributes["gen_ai.tool.name"]).toBe("x".repeat(256));
  expect(child?.attributes["error.type"]).toBe("tool_error");
  expect(other).toMatchObject({ parentSpanId: "", status: 0 });
});

const SAMPLED = { traceparent: TRACEPARENT };
const UNSAMPLED = { traceparent: TRACEPARENT.replace(/01$/, "00") };

test.each([
  ["", "", true, true, false],
  ["always_on", "", true, true, true],
  ["always_off", "", false, false, false],
  ["parentbased_always_off", "", false, true, false],
  ["traceidratio", "0", false, false, false],
  ["parentbased_traceidratio", "0", false, true, false],
  ["parentbased_traceidratio", "1", true, true, false],
  ["parentbased_traceidratio", "nonsense", true, true, false],
  ["nonsense", "", true, true, false],
])("sampler %p %p", async (sampler, arg, root, sampled, unsampled) => {
  const tracer = await open({ OTEL_TRACES_SAMPLER: sampler, OTEL_TRACES_SAMPLER_ARG: arg });
  const decisions = [undefined, SAMPLED, UNSAMPLED].map((parent) => tracer.start({ ...span, parent }).sampled);
  expect(decisions).toEqual([root, sampled, unsampled]);
  await tracer.close(1_000);
  expect(logged().some(({ event }) => event === "trace.unknown_sampler")).toBe(sampler === "nonsense");
});

test("an unsampled span has a context that says so, for whoever comes next", async () => {
  const tracer = await open({});
  expect(tracer.start({ ...span, parent: UNSAMPLED }).context.traceparent).toEndWith("-00");
  await tracer.close(1_000);
});

test("batches as the variables say", async () => {
  const tracer = await open({
    OTEL_BSP_SCHEDULE_DELAY: "10",
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "2",
    OTEL_BSP_MAX_QUEUE_SIZE: "0",
  });
  receiver.bodies.splice(0);
  for (let i = 0; i < 4; i++) tracer.start(span).end();
  await tracer.close(2_000);
  expect(receiver.bodies.length).toBe(2);
});

test("what can't be sent is said once, without headers", async () => {
  const { url } = receiver;
  process.env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT = `${url}/elsewhere`;
  process.env.OTEL_EXPORTER_OTLP_HEADERS = "authorization=Bearer%20secret";
  const tracer = await open({});
  for (let i = 0; i < 3; i++) tracer.start(span).end();
  await tracer.close(2_000);
  delete process.env.OTEL_EXPORTER_OTLP_HEADERS;
  process.env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT = `${url}/v1/traces`;
  const failures = logged().filter(({ event }) => event === "trace.export_failed");
  expect(failures).toMatchObject([{ code: "404", count: 1 }]);
  expect(JSON.stringify(failures)).not.toContain("secret");
});
