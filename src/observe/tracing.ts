/**
 * Traces, where the environment asks for them by OpenTelemetry's own variables. What is here is types and the question
 * whether; the libraries are loaded only then (`otel.ts`), so a program that traces nothing pays nothing.
 */
import type { Log } from "../log.ts";

/** A place in a trace, as it travels (W3C Trace Context). */
export interface TraceContext {
  traceparent: string;
  tracestate?: string | undefined;
}

export type Attributes = Record<string, string | number | boolean>;

export interface NewSpan {
  name: string;
  kind: "client" | "server" | "internal";
  /** Undefined: it begins a trace. What is no trace context counts as none. */
  parent: TraceContext | undefined;
  attributes: Attributes;
  /** When it began, milliseconds since the epoch; now unless told. */
  at?: number;
}

export interface Span {
  /** For whoever goes on with it. Also one that is not sampled has a context, which says so. */
  readonly context: TraceContext;
  readonly sampled: boolean;
  set(attributes: Attributes): void;
  /** Something that happened within it. */
  note(event: string): void;
  /** `error`: what `error.type` is to be. */
  end(error?: string): void;
}

export interface Tracer {
  start(span: NewSpan): Span;
  /** Sends what is left, for so many milliseconds at the most. */
  close(ms: number): Promise<void>;
}

/** What a collector that can't be reached may cost at the end of a program, milliseconds. */
export const LAST_SPANS_MS = 1_000;

type Env = Record<string, string | undefined>;

/** Undefined unless an OTLP endpoint is named and nothing says otherwise. */
export async function openTracer(
  service: "client" | "proxy" | "agent",
  env: Env,
  log: Log,
): Promise<Tracer | undefined> {
  if (!isTracingWanted(env)) return undefined;
  const { openOtel } = await import("./otel.ts");
  return openOtel(service, env, log);
}

/** By the specification's variables. A program that has none of them is not to look for a collector on its own. */
export function isTracingWanted(env: Env): boolean {
  if (env.OTEL_SDK_DISABLED?.trim().toLowerCase() === "true") return false;
  const exporter = env.OTEL_TRACES_EXPORTER?.trim() || "otlp";
  return exporter === "otlp" && tracesEndpoint(env) !== undefined;
}

/** The variable that names the endpoint. */
export function tracesEndpoint(env: Env): string | undefined {
  return env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT?.trim() || env.OTEL_EXPORTER_OTLP_ENDPOINT?.trim() || undefined;
}
