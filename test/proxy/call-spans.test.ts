/** The proxy's part of traces: what it is told beside the frames, by people who may say anything. */
import { expect, test } from "bun:test";
import { CallSpans } from "../../src/proxy/call-spans.ts";
import type { Socket } from "../../src/proxy/socket.ts";
import { fakeTracer, TRACEPARENT } from "../observe/fake-tracer.ts";

interface End {
  peer: End | undefined;
  said: object[];
  sendText(message: object): void;
}

function scene(traces = true) {
  const { tracer, spans } = fakeTracer();
  const clock = { now: 0 };
  const calls = new CallSpans(traces ? tracer : undefined, () => clock.now);
  const end = (): End => {
    const said: object[] = [];
    return { peer: undefined, said, sendText: (message) => void said.push(message) };
  };
  const [client, agent] = [end(), end()];
  client.peer = agent;
  agent.peer = client;
  const [clientSocket, agentSocket] = [client as unknown as Socket, agent as unknown as Socket];
  calls.joined(clientSocket, { sid: "s", app: "db", agent: "host" });
  return {
    ...{ calls, clock, spans, agent, client, clientSocket, agentSocket },
    client_: (message: object | string) =>
      calls.fromClient(clientSocket, typeof message === "string" ? message : JSON.stringify(message)),
    agent_: (message: object) => calls.fromAgent(agentSocket, JSON.stringify(message)),
  };
}

const hint = (id: string | number, more: object = {}) => ({ t: "trace", id, traceparent: TRACEPARENT, ...more });

test("a span lies between what the client said and what the agent hears, until the agent has answered", () => {
  const { spans, agent, client_, agent_ } = scene();
  client_(hint(1, { tracestate: "vendor=1" }));
  expect(spans).toMatchObject([
    {
      name: "relay",
      kind: "internal",
      parent: { traceparent: TRACEPARENT, tracestate: "vendor=1" },
      attributes: { "mcp.session.id": "s", "mcpgate.app": "db", "mcpgate.agent": "host" },
      ended: undefined,
    },
  ]);
  expect(agent.said).toEqual([{ t: "trace", id: 1, traceparent: spans[0]?.traceparent }]);
  agent_({ t: "traced", id: "1" }); // another id
  expect(spans[0]?.ended).toBeUndefined();
  agent_({ t: "traced", id: 1 });
  expect(spans[0]?.ended).toBe("ok");
});

test("where the agent does not trace, the client's word ends it", () => {
  const { spans, client_ } = scene();
  client_(hint("a"));
  client_({ t: "traced", id: "a" });
  expect(spans[0]?.ended).toBe("ok");
});

test("a proxy that does not trace passes on what it was told", () => {
  const { agent, client_ } = scene(false);
  client_(hint(1));
  expect(agent.said).toEqual([{ t: "trace", id: 1, traceparent: TRACEPARENT }]);
});

test("what is no such message, or too much of it, goes nowhere", () => {
  const { clock, spans, agent, client_ } = scene();
  client_("{");
  client_("x".repeat(5000));
  client_({ t: "other", id: 1 });
  client_(hint(1, { traceparent: "00-zz-00-01" }));
  client_(hint(1.5));
  client_(hint("x".repeat(257)));
  client_(hint(1, { tracestate: "two\nlines" }));
  client_(hint(1, { tracestate: "x".repeat(513) }));
  expect(agent.said).toEqual([]);
  client_(hint(1, { more: "x" }));
  client_(hint(1)); // once for a call
  expect(agent.said).toHaveLength(1);
  expect(Object.keys(agent.said[0] ?? {})).toEqual(["t", "id", "traceparent"]);
  for (let i = 0; i < 5000; i++) {
    clock.now += 1;
    client_(hint(`many-${i}`));
  }
  expect(agent.said).toHaveLength(1024);
  expect(spans).toHaveLength(1024);
});

test("an agent hears of so many calls in a second, however fast they are said to be answered", () => {
  const { clock, agent, client_ } = scene(false);
  const flood = () => {
    for (let i = 0; i < 3000; i++) {
      client_(hint(1));
      client_({ t: "traced", id: 1 });
    }
  };
  flood();
  expect(agent.said).toHaveLength(1000);
  clock.now += 1000;
  flood();
  expect(agent.said).toHaveLength(2000);
});

test("with the connection its spans end; before it is joined there are none", () => {
  const { calls, spans, agent, client_, agent_, clientSocket } = scene();
  client_(hint(1));
  calls.lost(clientSocket);
  expect(spans[0]?.ended).toBe("connection_lost");
  client_(hint(2));
  agent_({ t: "traced", id: 1 });
  expect(agent.said).toHaveLength(1);
});
