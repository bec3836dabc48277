/**
 * For whoever watches the service: /metrics, /healthz and /readyz on a listener of their own, so that nothing of it can be
 * reached through the service's port. It tells no user's name, no tool's and no session's id, and takes no input.
 */
import { formatHostPort, type HostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";
import { inTime } from "./in-time.ts";
import type { Metrics } from "./metrics.ts";
import { unhurried } from "./unhurried.ts";

/** Why the service is not ready in this respect, lower case and without a full stop; undefined: it is. */
export type Check = () => string | undefined | Promise<string | undefined>;

export interface DiagnosticsOptions {
  /** Port 0: any free one. */
  at: HostPort;
  metrics: Metrics;
  /** What has to be so that the service can do its work, by name. */
  checks: Record<string, Check>;
  log: Log;
}

export interface Diagnostics {
  /** Undefined where nothing listens. */
  address: string | undefined;
  close(): void;
}

/** How long one check may take, milliseconds. */
const CHECK_MS = 2_000;
const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** A service that can't have the address runs without, and says so. */
export function openDiagnostics({ at, metrics, checks, log }: DiagnosticsOptions): Diagnostics {
  const address = formatHostPort(at);
  // A URL's host has one spelling: 127.1 is 127.0.0.1 there.
  const route = createRoute(metrics, checks, isLoopback(URL.parse(`http://${address}`)?.hostname ?? at.host));
  try {
    const server = Bun.serve({
      ...{ hostname: at.host, port: at.port, maxRequestBodySize: 1024, fetch: route },
      // The runtime's own answer to a failure shows whoever asks our source. Without it, ports are shared unless told.
      development: false,
      reusePort: false,
      error: (error) => {
        log.error("diag.failed", { error: Failure.from(error).message });
        return new Response("this failed; the log says why\n", { status: 500 });
      },
    });
    const open = formatHostPort({ host: at.host, port: server.port ?? at.port });
    log.info("diag.listening", { address: open });
    return { address: open, close: () => void server.stop(true) };
  } catch (error) {
    const busy = (error as { code?: string }).code === "EADDRINUSE";
    log.warn("diag.unavailable", {
      address,
      reason: busy ? "the address is in use by another process" : Failure.from(error).message,
      hint: "give mcpgate.diag_addr another address, or turn it off",
    });
    return { address: undefined, close() {} };
  }
}

function createRoute(metrics: Metrics, checks: DiagnosticsOptions["checks"], ownHostOnly: boolean) {
  // Whoever asks a thousand times at once has the store asked once; and anybody on this host may ask, all the time.
  const measured = unhurried(shared(() => metrics.text()));
  const checked = shared(() => runChecks(checks));
  return async (request: Request): Promise<Response> => {
    const url = URL.parse(request.url);
    // Without a Host, or with one that is none (RFC 9112, 3.2).
    if (url === null) return new Response("no valid Host header\n", { status: 400 });
    const { hostname, pathname } = url;
    // A web page whose name was made to point here would be asking under that name.
    if (ownHostOnly && !isLoopback(hostname)) return new Response("not under this name\n", { status: 403 });
    if (request.method !== "GET" && request.method !== "HEAD") {
      return new Response("GET only\n", { status: 405, headers: { allow: "GET, HEAD" } });
    }
    switch (pathname) {
      case "/metrics":
        return new Response(await measured(), { headers: { "content-type": METRICS_TYPE } });
      case "/healthz":
        return Response.json({ status: "ok" });
      case "/readyz": {
        const found = await checked();
        const ready = Object.values(found).every((state) => state === "ok");
        return Response.json({ status: ready ? "ok" : "not ready", checks: found }, { status: ready ? 200 : 503 });
      }
      default:
        return new Response("there are /metrics, /healthz and /readyz\n", { status: 404 });
    }
  };
}

/** By name: `ok`, or why not. */
async function runChecks(checks: DiagnosticsOptions["checks"]): Promise<Record<string, string>> {
  const found = Object.entries(checks).map(async ([name, check]) => {
    const state = await inTime(check, CHECK_MS, `no answer within ${CHECK_MS / 1000} s`).catch(
      (error: unknown) => Failure.from(error).message,
    );
    return [name, state ?? "ok"];
  });
  return Object.fromEntries(await Promise.all(found));
}

/** Those who ask while the answer is being made get the same one. */
function shared<T>(make: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  return () => {
    running ??= make().finally(() => {
      running = undefined;
    });
    return running;
  };
}

const isLoopback = (host: string): boolean =>
  host === "localhost" || /^\[::(1|ffff:7f[0-9a-f]{2}:[0-9a-f]{1,4})\]$/.test(host) || /^127\.[\d.]+$/.test(host);
