/** A collector for traces: OTLP over HTTP, on this host, which keeps what it is sent. */

export interface ReceivedSpan {
  service: string;
  name: string;
  kind: number;
  traceId: string;
  spanId: string;
  parentSpanId: string;
  attributes: Record<string, unknown>;
  /** 2 is an error. */
  status: number;
  events: string[];
  start: bigint;
  end: bigint;
}

interface KeyValue {
  key: string;
  value: Record<string, unknown>;
}

interface OtlpSpan {
  name: string;
  kind: number;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  attributes: KeyValue[];
  status: { code: number };
  events: { name: string }[];
  startTimeUnixNano: string;
  endTimeUnixNano: string;
}

interface OtlpRequest {
  resourceSpans: { resource: { attributes: KeyValue[] }; scopeSpans: { spans: OtlpSpan[] }[] }[];
}

export interface Receiver {
  url: string;
  spans: ReceivedSpan[];
  /** Bodies as they came, and their content types. */
  bodies: { type: string; text: string; authorization: string }[];
  /** Spans of that trace. */
  trace(id: string): ReceivedSpan[];
  stop(): void;
}

export function startReceiver(): Receiver {
  const spans: ReceivedSpan[] = [];
  const bodies: Receiver["bodies"] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      if (new URL(request.url).pathname !== "/v1/traces") return new Response("no\n", { status: 404 });
      const text = await request.text();
      const type = request.headers.get("content-type") ?? "";
      bodies.push({ type, text, authorization: request.headers.get("authorization") ?? "" });
      if (type === "application/json") spans.push(...spansOf(JSON.parse(text)));
      return Response.json({});
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    spans,
    bodies,
    trace: (id) => spans.filter(({ traceId }) => traceId === id),
    stop: () => void server.stop(true),
  };
}

function spansOf({ resourceSpans }: OtlpRequest): ReceivedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map(({ attributes, status, events, parentSpanId, startTimeUnixNano, endTimeUnixNano, ...span }) => ({
        ...span,
        service: String(record(resource.attributes)["service.name"]),
        parentSpanId: parentSpanId ?? "",
        attributes: record(attributes),
        status: status.code,
        events: events.map(({ name }) => name),
        start: BigInt(startTimeUnixNano),
        end: BigInt(endTimeUnixNano),
      })),
    ),
  );
}

const record = (pairs: KeyValue[]): Record<string, unknown> =>
  Object.fromEntries(pairs.map(({ key, value }) => [key, Object.values(value)[0]]));
