/**
 * Traces, where the environment asks for them by OpenTelemetry's own variables. What is here is the question whether; the
 * libraries are loaded only then (`otel.ts`), so a program that traces nothing pays nothing.
 */
import type { Log } from "../log.ts";
import type { Tracer } from "./span.ts";

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
  return openOtel({ service, env, endpoint: tracesEndpoint(env) ?? "", log });
}

/** By the specification's variables. A program that has none of them is not to look for a collector on its own. */
export function isTracingWanted(env: Env): boolean {
  if (env.OTEL_SDK_DISABLED?.trim().toLowerCase() === "true") return false;
  const exporter = env.OTEL_TRACES_EXPORTER?.trim() || "otlp";
  return exporter === "otlp" && tracesEndpoint(env) !== undefined;
}

/** The variable that names the endpoint. */
function tracesEndpoint(env: Env): string | undefined {
  return env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT?.trim() || env.OTEL_EXPORTER_OTLP_ENDPOINT?.trim() || undefined;
}
