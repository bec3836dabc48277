/** The agent's part of traces, behind a real gate. */
import { expect, test } from "bun:test";
import { CallSpans } from "../../src/agent/call-spans.ts";
import { Gate } from "../../src/gate/gate.ts";
import type { Step } from "../../src/gate/step.ts";
import type { Connection } from "../../src/link/dial.ts";
import { rulesOf } from "../gate/session.ts";
import { fakeTracer, TRACEPARENT } from "../observe/fake-tracer.ts";

const bytes = (message: object) => Buffer.from(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);

function scene() {
  const { tracer, spans } = fakeTracer();
  const calls = new CallSpans({ tracer, sid: "s", app: "db" });
  const gate = new Gate({
    app: "db",
    rules: rulesOf({ tools: ["read_*"] }),
    newUid: () => crypto.randomUUID(),
    now: () => 0,
    redact: () => ({}),
    observer: calls,
  });
  const said: object[] = [];
  const connection = { sendText: (message: object) => void said.push(message) } as unknown as Connection;
  const record = (step: Step) => {
    calls.onEvents(step.events);
    return step;
  };
  return {
    ...{ calls, gate, spans, said, record },
    tell: (message: object | string) =>
      calls.onText(connection, typeof message === "string" ? message : JSON.stringify(message)),
    ask: (message: object) => record(gate.fromClient(bytes(message))),
    answer: (message: object) => record(gate.fromServer(bytes(message))),
  };
}

const OTHER = TRACEPARENT.replace("4bf9", "aaaa");
const hint = (id: string | number) => ({ t: "trace", id, traceparent: TRACEPARENT });
const call = (id: number | string, name = "read_it", more: object = {}) => ({
  id,
  method: "tools/call",
  params: { name, arguments: { secret: "x" }, ...more },
});

test("what was said beside the frames goes before _meta, and the proxy hears of the answer", () => {
  const { spans, said, tell, ask, answer } = scene();
  const before = Date.now();
  tell(hint(1));
  ask(call(1, "read_it", { _meta: { traceparent: OTHER } }));
  const [span] = spans;
  expect(span).toMatchObject({ name: "tools/call read_it", kind: "server", parent: { traceparent: TRACEPARENT } });
  expect(span?.at).toBeGreaterThanOrEqual(before);
  expect(span?.notes).toEqual(["mcpgate.allowed"]);
  expect(JSON.stringify(span?.attributes)).not.toContain("secret");
  expect(said).toEqual([]);
  answer({ id: 1, result: {} });
  expect(span).toMatchObject({ ended: "ok", set: { "mcpgate.outcome": "ok" } });
  expect(said).toEqual([{ t: "traced", id: 1 }]);
  ask(call(1)); // the id is free again, and the word was for the other call
  expect(spans[1]?.parent).toBeUndefined();
});

test("without it, _meta; without that, a trace of its own", () => {
  const { spans, said, ask, answer } = scene();
  ask(call("a", "read_it", { _meta: { traceparent: OTHER } }));
  ask(call("b"));
  expect(spans.map(({ parent }) => parent?.traceparent)).toEqual([OTHER, undefined]);
  answer({ id: "b", error: { code: -32000, message: "no" } });
  expect(spans[1]).toMatchObject({
    ended: "-32000",
    set: { "rpc.response.status_code": "-32000", "mcpgate.outcome": "error" },
  });
  answer({ id: "a", result: { isError: true, content: [] } });
  expect(spans[0]).toMatchObject({ ended: "tool_error", set: { "mcpgate.outcome": "error" } });
  expect(said).toEqual([]);
});

test("what is refused is named by no client", () => {
  const { spans, ask } = scene();
  ask(call(1, "write_it"));
  ask({ id: 2, method: "made/up" });
  expect(spans.map(({ name, ended, notes }) => [name, ended, notes])).toEqual([
    ["tools/call", "denied", []],
    ["other", "denied", []],
  ]);
});

test("cancelled, and abandoned", () => {
  const { gate, spans, record, ask } = scene();
  ask(call(1));
  ask(call(2));
  ask({ method: "notifications/cancelled", params: { requestId: 1 } });
  record(gate.abandon("the server died", "unknown"));
  expect(spans.map(({ ended }) => ended)).toEqual(["cancelled", "unknown"]);
});

test("what nobody ended ends with the session", () => {
  const { calls, spans, ask } = scene();
  ask(call(1));
  calls.close();
  expect(spans[0]?.ended).toBe("unknown");
});

test("what is no such message, or too much of it, is not believed", () => {
  const { spans, tell, ask } = scene();
  tell("{");
  tell({ ...hint(1), traceparent: "x" });
  tell("x".repeat(5000));
  ask(call(1));
  expect(spans[0]?.parent).toBeUndefined();
  for (let i = 0; i < 3000; i++) tell(hint(`many-${i}`));
  ask(call("many-1023"));
  ask(call("many-1024"));
  expect(spans.slice(1).map(({ parent }) => parent?.traceparent)).toEqual([TRACEPARENT, undefined]);
});
