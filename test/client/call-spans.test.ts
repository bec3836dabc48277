/** The client's part of traces: from a request's line to its answer's, over however many sessions. */
import { expect, test } from "bun:test";
import { CallSpans } from "../../src/client/call-spans.ts";
import { fakeTracer, TRACEPARENT } from "../observe/fake-tracer.ts";

const bytes = (...messages: object[]) =>
  Buffer.from(messages.map((message) => `${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`).join(""));

function scene() {
  const { tracer, spans } = fakeTracer();
  const calls = new CallSpans(tracer, "db");
  const session = (sid: string) => {
    const told: object[] = [];
    calls.begin({ sid, tell: (message) => void told.push(message) });
    return told;
  };
  const ask = (message: object) => calls.fromClient({ bytes: bytes(message) });
  return { calls, spans, session, ask, answer: (...messages: object[]) => calls.toClient(bytes(...messages)) };
}

const call = (id: number | string, more: object = {}) => ({
  id,
  method: "tools/call",
  params: { name: "read", ...more },
});

test("a call is told to the session before it goes there, and its answer ends it", () => {
  const { spans, session, ask, answer } = scene();
  const told = session("s1");
  ask(call(1, { arguments: { secret: "x" }, _meta: { traceparent: TRACEPARENT, tracestate: "v=1" } }));
  const [span] = spans;
  expect(span).toMatchObject({
    name: "tools/call read",
    kind: "client",
    parent: { traceparent: TRACEPARENT, tracestate: "v=1" },
  });
  expect(span?.attributes).toEqual({
    "mcp.method.name": "tools/call",
    "jsonrpc.request.id": "1",
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "read",
    "mcpgate.app": "db",
  });
  expect(told).toEqual([{ t: "trace", id: 1, traceparent: span?.traceparent ?? "" }]);
  answer({ method: "notifications/progress", params: {} }, { id: "1", result: {} });
  expect(span?.ended).toBeUndefined(); // another id
  answer({ id: 1, result: {} });
  expect(span).toMatchObject({ ended: "ok", set: { "mcp.session.id": "s1" } });
  expect(told[1]).toEqual({ t: "traced", id: 1 });
});

test("errors: JSON-RPC's by their code, a tool's as such, ours too", () => {
  const { spans, session, ask, answer } = scene();
  session("s1");
  for (const id of [1, 2, 3]) ask(call(id));
  answer({ id: 1, error: { code: -32602, message: "no" } }, { id: 2, result: { isError: true, content: [] } });
  answer({ id: 3, error: { code: -31001, message: "mcpgate: the session ended" } });
  expect(spans.map(({ ended }) => ended)).toEqual(["-32602", "tool_error", "-31001"]);
  expect(spans[0]?.set["rpc.response.status_code"]).toBe("-32602");
  expect(spans[1]?.set["rpc.response.status_code"]).toBeUndefined();
});

test("what was not answered is told to the next session", () => {
  const { spans, session, ask, answer } = scene();
  session("s1");
  ask(call(1));
  ask(call("two"));
  answer({ id: 1, result: {} });
  const told = session("s2");
  expect(told).toEqual([{ t: "trace", id: "two", traceparent: spans[1]?.traceparent ?? "" }]);
  answer({ id: "two", result: {} });
  expect(spans[1]?.set["mcp.session.id"]).toBe("s2");
});

test("what is cancelled gets no answer; what the program leaves behind is said to be so", async () => {
  const { calls, spans, session, ask } = scene();
  session("s1");
  ask(call(1));
  ask(call(2));
  ask({ method: "notifications/cancelled", params: { requestId: 1 } });
  expect(spans.map(({ ended }) => ended)).toEqual(["cancelled", undefined]);
  await calls.close();
  expect(spans[1]?.ended).toBe("unanswered");
});

test("the revision of the handshake, or of the request itself", () => {
  const { spans, session, ask, answer } = scene();
  session("s1");
  ask({ id: 0, method: "initialize", params: { protocolVersion: "2025-11-25" } });
  answer({ id: 0, result: { protocolVersion: "2025-06-18", capabilities: {} } });
  ask(call(1));
  ask(call(2, { _meta: { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } }));
  ask(call(3, { _meta: { "io.modelcontextprotocol/protocolVersion": "not a revision" } }));
  expect(spans.map(({ attributes }) => attributes["mcp.protocol.version"])).toEqual([
    ...[undefined, "2025-06-18", "2026-07-28", "2025-06-18"],
  ]);
});

test("no span for what is no call, is there already, or cannot be read", () => {
  const { calls, spans, session, ask } = scene();
  session("s1");
  ask({ id: 1, method: "subscriptions/listen", params: { notifications: {} } });
  ask({ method: "notifications/initialized" });
  ask({ id: 9, result: {} });
  calls.fromClient({ bytes: Buffer.from("{\n") });
  calls.fromClient({ overflow: 100_000_000, head: Buffer.alloc(0), tail: Buffer.alloc(0), crowded: false } as never);
  expect(spans).toEqual([]);
  ask(call(1, { _meta: { traceparent: 7 } }));
  ask(call(1));
  for (let i = 0; i < 3000; i++) ask(call(`many-${i}`));
  expect(spans).toHaveLength(1024);
  expect(spans[0]?.parent).toBeUndefined();
});
