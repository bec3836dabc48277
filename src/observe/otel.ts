/**
 * Traces by the OpenTelemetry libraries, which only this file imports. Endpoint, headers, certificates, timeout and
 * compression are read from the environment by the exporter itself; the rest here.
 */
import { type Context, ROOT_CONTEXT, type Span as SdkSpan, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { setGlobalErrorHandler, W3CTraceContextPropagator } from "@opentelemetry/core";
import { detectResources, envDetector, resourceFromAttributes } from "@opentelemetry/resources";
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import type { Log } from "../log.ts";
import { VERSION } from "../version.ts";
import { inTime } from "./in-time.ts";
import type { NewSpan, Span, TraceContext, Tracer } from "./span.ts";

type Env = Record<string, string | undefined>;

export interface OtelOptions {
  service: "client" | "proxy" | "agent";
  env: Env;
  /** What `env` names, as it stands there. */
  endpoint: string;
  log: Log;
}

/** Characters of an attribute: names come from clients, and a name may be 4096 of them. */
const VALUE_CHARS = 256;
/** A collector that is down for a day is not a log full of it. */
const LOG_EVERY = 100;
const KINDS = { client: SpanKind.CLIENT, server: SpanKind.SERVER, internal: SpanKind.INTERNAL } as const;
const propagator = new W3CTraceContextPropagator();

/** Undefined where the environment asks for what is not there; the log says what. */
export async function openOtel({ service, env, endpoint, log }: OtelOptions): Promise<Tracer | undefined> {
  const fault = endpointFault(endpoint);
  const exporter = fault === undefined ? await openExporter(env) : fault;
  if (typeof exporter === "string") {
    log.warn("trace.unavailable", { reason: exporter });
    return undefined;
  }
  const resource = resourceFromAttributes({
    "service.name": `mcpgate-${service}`,
    "service.version": VERSION,
  }).merge(detectResources({ detectors: [envDetector] }));
  const provider = new TracerProvider({
    resource,
    sampler: samplerOf(env, log),
    spanLimits: { attributeValueLengthLimit: numberOf(env, "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT") ?? VALUE_CHARS },
    spanProcessors: [new BatchSpanProcessor({ exporter, ...batchOptions(env) })],
  });
  const onFailure = failureLog(log);
  setGlobalErrorHandler(onFailure);
  const tracer = provider.getTracer("mcpgate", VERSION);
  log.info("trace.enabled", { service: String(resource.attributes["service.name"]) });
  return {
    start: ({ name, kind, parent, attributes, at }: NewSpan) => {
      const options = { kind: KINDS[kind], attributes, ...(at === undefined ? {} : { startTime: at }) };
      return wrap(tracer.startSpan(name, options, parent === undefined ? ROOT_CONTEXT : within(parent)));
    },
    async close(ms) {
      const late = new Error(`not sent within ${ms / 1000} s`);
      const failed = await inTime(() => provider.shutdown().then(() => undefined), ms, late).catch(
        (error: unknown) => error,
      );
      if (failed !== undefined) onFailure(failed);
    },
  };
}

/** The exporter would fall back to an endpoint of its own, and its message would hold the URL, which may hold a password. */
function endpointFault(endpoint: string): string | undefined {
  return /^https?:$/.test(URL.parse(endpoint)?.protocol ?? "") ? undefined : "the OTLP endpoint is not an http(s) URL";
}

async function openExporter(env: Env): Promise<SpanExporter | string> {
  const named = env.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL?.trim() || env.OTEL_EXPORTER_OTLP_PROTOCOL?.trim();
  switch (named || "http/protobuf") {
    case "http/protobuf":
      return new (await import("@opentelemetry/exporter-trace-otlp-proto")).OTLPTraceExporter();
    case "http/json":
      return new (await import("@opentelemetry/exporter-trace-otlp-http")).OTLPTraceExporter();
    default:
      return "OTEL_EXPORTER_OTLP_PROTOCOL can be http/protobuf or http/json here";
  }
}

function batchOptions(env: Env): Record<string, number> {
  const given = {
    scheduledDelayMillis: numberOf(env, "OTEL_BSP_SCHEDULE_DELAY"),
    exportTimeoutMillis: numberOf(env, "OTEL_BSP_EXPORT_TIMEOUT"),
    maxQueueSize: numberOf(env, "OTEL_BSP_MAX_QUEUE_SIZE"),
    maxExportBatchSize: numberOf(env, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
  };
  return Object.fromEntries(Object.entries(given).filter((entry): entry is [string, number] => entry[1] !== undefined));
}

/** Above zero; what is none counts as not given, as the specification says. */
function numberOf(env: Env, name: string): number | undefined {
  const value = Number(env[name]?.trim() || "0");
  return value > 0 ? value : undefined;
}

function samplerOf(env: Env, log: Log): Sampler {
  const name = env.OTEL_TRACES_SAMPLER?.trim().toLowerCase() || "parentbased_always_on";
  const given = Number(env.OTEL_TRACES_SAMPLER_ARG?.trim() || "1");
  const ratio = given >= 0 && given <= 1 ? given : 1;
  const roots: Record<string, () => Sampler> = {
    always_on: () => new AlwaysOnSampler(),
    always_off: () => new AlwaysOffSampler(),
    traceidratio: () => new TraceIdRatioBasedSampler(ratio),
  };
  const root = roots[name.replace(/^parentbased_/, "")];
  if (root === undefined) log.warn("trace.unknown_sampler", { taken: "parentbased_always_on" });
  const sampler = root?.() ?? new AlwaysOnSampler();
  return root === undefined || name.startsWith("parentbased_") ? new ParentBasedSampler({ root: sampler }) : sampler;
}

/** Of what fails only the message, cut: never the URL, which may hold a password, and never a header. */
function failureLog(log: Log): (failure: unknown) => void {
  let count = 0;
  return (failure) => {
    count += 1;
    if (count % LOG_EVERY !== 1) return;
    const { code, message } = failure as { code?: unknown; message?: unknown };
    log.warn("trace.export_failed", {
      error: String(message ?? failure).slice(0, 200),
      code: String(code ?? ""),
      count,
    });
  };
}

const getter = {
  keys: (carrier: TraceContext) => Object.keys(carrier),
  get: (carrier: TraceContext, key: string) => carrier[key as keyof TraceContext],
};

/** The context that this one is in; the root where it is none. */
const within = (parent: TraceContext): Context => propagator.extract(ROOT_CONTEXT, parent, getter);

function wrap(span: SdkSpan): Span {
  return {
    get context() {
      const context: TraceContext = { traceparent: "" };
      propagator.inject(trace.setSpan(ROOT_CONTEXT, span), context, {
        set: (carrier, key, value) => {
          if (key === "traceparent" || key === "tracestate") carrier[key] = value;
        },
      });
      return context;
    },
    sampled: span.isRecording(),
    set: (attributes) => void span.setAttributes(attributes),
    note: (event) => void span.addEvent(event),
    end: (error) => {
      if (error !== undefined) {
        span.setAttribute("error.type", error);
        span.setStatus({ code: SpanStatusCode.ERROR });
      }
      span.end();
    },
  };
}
