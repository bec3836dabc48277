import { expect, test } from "bun:test";
import fc from "fast-check";
import { Multiplex } from "../../src/agent/multiplex/multiplex.ts";
import type { Port } from "../../src/agent/multiplex/port.ts";
import type { Routed } from "../../src/agent/multiplex/state.ts";
import { decode } from "../../src/mcp/codec.ts";

const line = (text: string): Uint8Array => new TextEncoder().encode(`${text}\n`);
const text = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes).trimEnd();
const SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId";

/** A multiplex, and what came of it. */
function scene(onePerson = true) {
  let minted = 0;
  const multiplex = new Multiplex({ onePerson, random: () => `t${++minted}` });
  const names = new Map<Port, string>();
  const toServer: string[] = [];
  const told: Record<string, string[]> = {};
  const apply = (step: Routed): Routed => {
    toServer.push(...step.toServer.map(text));
    for (const { port, bytes } of step.toPorts) {
      const name = names.get(port);
      if (name === undefined) throw new Error("a line for nobody");
      told[name]?.push(text(bytes));
    }
    return step;
  };
  return {
    toServer,
    told,
    open(name: string): Port {
      const port = multiplex.open();
      names.set(port, name);
      told[name] = [];
      return port;
    },
    close: (port: Port) => apply(multiplex.close(port)),
    say(port: Port, json: string | object) {
      const message = decode(line(typeof json === "string" ? json : JSON.stringify({ jsonrpc: "2.0", ...json })));
      if (message.kind === "invalid") throw new Error(message.reason);
      return apply(multiplex.fromPort(port, message));
    },
    server: (json: string | object) =>
      apply(
        multiplex.fromServer({
          bytes: line(typeof json === "string" ? json : JSON.stringify({ jsonrpc: "2.0", ...json })),
        }),
      ),
    last: () => JSON.parse(toServer.at(-1) ?? "null"),
  };
}

const initialize = (id: string | number) => ({
  id,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: { roots: {}, sampling: {} }, clientInfo: { name: "x" } },
});

function introduced(s: ReturnType<typeof scene>, port: Port): void {
  s.say(port, initialize("hello"));
  const { id, method } = s.last();
  if (method === "initialize") s.server({ id, result: { protocolVersion: "2025-11-25", capabilities: {} } });
  s.say(port, { method: "notifications/initialized" });
}

test("a request keeps every byte but its id, and its answer gets the id back as it was written", () => {
  const s = scene();
  const [a, b] = [s.open("a"), s.open("b")];
  s.say(
    a,
    '{"jsonrpc":"2.0", "method":"tools/call","params":{"name":"x","big":12345678901234567890},"id" : "\\u0061"}',
  );
  s.say(b, '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"y"}}');
  s.say(a, '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"z"}}');
  expect(s.toServer).toEqual([
    '{"jsonrpc":"2.0", "method":"tools/call","params":{"name":"x","big":12345678901234567890},"id" : 1}',
    '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"y"}}',
    '{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"z"}}',
  ]);
  s.server('{"result": {"n":1e400},"id":3,"jsonrpc":"2.0"}');
  s.server('{"jsonrpc":"2.0","id":2,"error":{"code":1,"message":"no"}}');
  s.server('{"jsonrpc":"2.0","id":1,"result":{}}');
  s.server('{"jsonrpc":"2.0","id":1,"result":{"again":true}}');
  s.server('{"jsonrpc":"2.0","id":99,"result":{}}');
  expect(s.told).toEqual({
    a: ['{"result": {"n":1e400},"id":1,"jsonrpc":"2.0"}', '{"jsonrpc":"2.0","id":"\\u0061","result":{}}'],
    b: ['{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}'],
  });
});

test("property: sessions with colliding ids and tokens each get exactly their own answers and progress", () => {
  const step = fc.record({
    who: fc.nat(3),
    id: fc.constantFrom<string | number>(0, 1, 2, "1", "a"),
    token: fc.option(fc.constantFrom<string | number>(0, 1, "1"), { nil: undefined }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.infiniteStream(fc.nat()), fc.nat(3), (steps, random, leaves) => {
      const s = scene();
      const ports = ["p0", "p1", "p2", "p3"].map((name) => s.open(name));
      const expected: Record<string, string[]> = { p0: [], p1: [], p2: [], p3: [] };
      const open = new Set<string>();
      for (const [i, { who, id, token }] of steps.entries()) {
        const key = `${who} ${JSON.stringify(id)}`;
        if (open.has(key)) continue;
        open.add(key);
        const _meta = token === undefined ? {} : { _meta: { progressToken: token } };
        s.say(ports[who] as Port, { id, method: "tools/call", params: { name: `${i}`, ..._meta } });
      }
      const calls = s.toServer.map((sent) => JSON.parse(sent));
      expect(new Set(calls.map(({ id }) => id)).size).toBe(calls.length);
      s.close(ports[leaves] as Port);
      while (calls.length > 0) {
        const [{ id, params }] = calls.splice((random.next().value ?? 0) % calls.length, 1);
        const { who, id: own, token } = steps[Number(params.name)] as (typeof steps)[number];
        const given = params._meta?.progressToken;
        if (given !== undefined) {
          s.server({ method: "notifications/progress", params: { progressToken: given, progress: 1 } });
          const progress = { jsonrpc: "2.0", method: "notifications/progress" };
          if (who !== leaves) {
            expected[`p${who}`]?.push(JSON.stringify({ ...progress, params: { progressToken: token, progress: 1 } }));
          }
        }
        s.server({ id, result: { of: params.name } });
        const answer = { jsonrpc: "2.0", id: own, result: { of: params.name } };
        if (who !== leaves) expected[`p${who}`]?.push(JSON.stringify(answer));
      }
      expect(s.told).toEqual(expected);
    }),
  );
});

test("a session can't name another's progress, request, subscription or task", () => {
  const s = scene();
  const [a, b] = [s.open("a"), s.open("b")];
  s.say(a, { id: 7, method: "tools/call", params: { name: "x", _meta: { progressToken: 1 } } });
  const { id, params } = s.last();
  s.server({ method: "notifications/progress", params: { progressToken: 1, progress: 1 } });
  s.say(b, { method: "notifications/cancelled", params: { requestId: 7 } });
  s.say(b, { method: "notifications/cancelled", params: { requestId: id } });
  expect(s.toServer).toHaveLength(1);
  s.say(a, { method: "notifications/cancelled", params: { requestId: 7, reason: "enough" } });
  expect(s.last()).toEqual({
    jsonrpc: "2.0",
    method: "notifications/cancelled",
    params: { requestId: id, reason: "enough" },
  });
  s.server({ id, result: { task: { taskId: "t-1", status: "working" } } });
  s.server({ method: "notifications/progress", params: { progressToken: params._meta.progressToken, progress: 2 } });
  expect(s.told.a).toEqual(['{"jsonrpc":"2.0","id":7,"result":{"task":{"taskId":"t-1","status":"working"}}}']);
  const asked = s.toServer.length;
  s.say(b, { id: 1, method: "tasks/get", params: { taskId: "t-1" } });
  s.say(b, { id: 2, method: "tasks/list" });
  expect(s.toServer).toHaveLength(asked);
  expect(s.told.b?.map((each) => JSON.parse(each).error.code)).toEqual([-32602, -32602]);
  s.say(a, { id: 8, method: "tasks/get", params: { taskId: "t-1" } });
  expect(s.last().params).toEqual({ taskId: "t-1" });
  s.say(a, { id: 9, method: "tasks/get", params: { taskId: "t-1", TaskId: "t-2" } });
  expect(JSON.parse(s.told.a?.at(-1) ?? "").error.code).toBe(-32602);
  s.server({ method: "notifications/tasks/status", params: { taskId: "t-1", status: "completed" } });
  expect(s.told.a?.at(-1)).toContain("completed");
  expect(s.told.b).toHaveLength(2);
});

test("one handshake, in our name and without capabilities; later sessions get its answer", () => {
  const s = scene();
  const [a, b, c] = [s.open("a"), s.open("b"), s.open("c")];
  s.say(a, initialize(1));
  s.say(b, initialize("one"));
  expect(s.toServer).toHaveLength(1);
  const { id, params } = s.last();
  expect(params).toEqual({
    ...{ protocolVersion: "2025-11-25", capabilities: {} },
    clientInfo: { name: "mcpgate", version: expect.any(String) },
  });
  s.server(`{"jsonrpc":"2.0","id":${id},"result":{"x":1.0}}`);
  s.say(a, { method: "notifications/initialized" });
  s.say(b, { method: "notifications/initialized" });
  s.say(c, initialize(1));
  expect(s.toServer.slice(1)).toEqual(['{"jsonrpc":"2.0","method":"notifications/initialized"}']);
  expect(s.told).toEqual({
    a: ['{"jsonrpc":"2.0","id":1,"result":{"x":1.0}}'],
    b: ['{"jsonrpc":"2.0","id":"one","result":{"x":1.0}}'],
    c: ['{"jsonrpc":"2.0","id":1,"result":{"x":1.0}}'],
  });
});

test("whether it is there is asked in a way that decides nothing", () => {
  const random = () => "t";
  const fresh = new Multiplex({ onePerson: true, random });
  expect(fresh.probe(false)).toBeUndefined();
  const modern = JSON.parse(text(fresh.probe(true)));
  expect(modern.method).toBe("server/discover");
  expect(modern.params._meta["io.modelcontextprotocol/protocolVersion"]).toBe("2026-07-28");
  expect(fresh.fromServer({ bytes: line('{"jsonrpc":"2.0","id":1,"result":{}}') }).toPorts).toEqual([]);
});

test("what the server asks gets an error, a ping its answer, and what nobody can be told nobody hears", () => {
  const s = scene();
  const a = s.open("a");
  introduced(s, a);
  const before = s.told.a?.length;
  s.server({ id: 1, method: "sampling/createMessage", params: {} });
  expect(s.last()).toMatchObject({ id: 1, error: { code: -32601 } });
  s.server({ id: "p", method: "ping" });
  expect(s.last()).toEqual({ jsonrpc: "2.0", id: "p", result: {} });
  s.server({ method: "notifications/elicitation/complete", params: { elicitationId: "1" } });
  s.server({ method: "notifications/cancelled", params: { requestId: 1 } });
  expect(s.told.a).toHaveLength(before ?? -1);
  expect(s.server("this is no JSON").junk).toEqual(["not a JSON object"]);
});

test("subscriptions: told to whom they concern, taken back when nobody is left", () => {
  const s = scene();
  const [a, b] = [s.open("a"), s.open("b")];
  introduced(s, a);
  introduced(s, b);
  const updated = (uri: string) => s.server({ method: "notifications/resources/updated", params: { uri } });
  const heard = (name: string) => (s.told[name] ?? []).filter((each) => each.includes("updated")).length;
  s.say(a, { id: 1, method: "resources/subscribe", params: { uri: "file:///a" } });
  s.say(b, { id: 1, method: "resources/subscribe", params: { uri: "file:///a" } });
  s.say(b, { id: 2, method: "resources/subscribe", params: { uri: "file:///b" } });
  s.server({ id: s.last().id, error: { code: -32002, message: "no" } });
  updated("file:///a");
  updated("file:///a/part");
  updated("file:///ab");
  updated("file:///b");
  expect([heard("a"), heard("b")]).toEqual([2, 2]);
  const asked = s.toServer.length;
  s.say(a, { id: 2, method: "resources/unsubscribe", params: { uri: "file:///a" } });
  expect(s.toServer).toHaveLength(asked);
  expect(s.told.a?.at(-1)).toBe('{"jsonrpc":"2.0","id":2,"result":{}}');
  updated("file:///a");
  expect([heard("a"), heard("b")]).toEqual([2, 3]);
  s.close(b);
  expect(s.toServer.map((each) => JSON.parse(each)).filter(({ method }) => method === "resources/unsubscribe")).toEqual(
    [expect.objectContaining({ params: { uri: "file:///a" } })],
  );
});

test("subscriptions/listen: the server's notifications carry the session's own id again", () => {
  const s = scene();
  const [a, b] = [s.open("a"), s.open("b")];
  for (const port of [a, b]) {
    s.say(port, { id: "s", method: "subscriptions/listen", params: { notifications: { toolsListChanged: true } } });
  }
  const [first, second] = s.toServer.map((each) => JSON.parse(each).id);
  const changed = (id: number) => ({
    method: "notifications/tools/list_changed",
    params: { _meta: { [SUBSCRIPTION_ID]: id } },
  });
  s.server(changed(first));
  expect(s.told.b).toEqual([]);
  expect(JSON.parse(s.told.a?.at(-1) ?? "").params._meta).toEqual({ [SUBSCRIPTION_ID]: "s" });
  s.server({ method: "notifications/cancelled", params: { requestId: second } });
  expect(JSON.parse(s.told.b?.at(-1) ?? "").params).toEqual({ requestId: "s" });
  s.server(changed(second));
  expect(s.told.b).toHaveLength(1);
  s.close(a);
  expect(s.last()).toMatchObject({ method: "notifications/cancelled", params: { requestId: first } });
});

test("list changes go to all; log messages to all of one person, each at its level, and to nobody of several people", () => {
  for (const onePerson of [true, false]) {
    const s = scene(onePerson);
    const [a, b, c] = [s.open("a"), s.open("b"), s.open("c")];
    introduced(s, a);
    introduced(s, b);
    s.server({ method: "notifications/tools/list_changed" });
    const heard = (what: string) => ["a", "b", "c"].map((name) => s.told[name]?.filter((l) => l.includes(what)).length);
    expect(heard("list_changed")).toEqual([1, 1, 0]);
    introduced(s, c);
    s.say(a, { id: 1, method: "logging/setLevel", params: { level: "error" } });
    expect(s.last().params).toEqual({ level: "error" });
    s.say(b, { id: 1, method: "logging/setLevel", params: { level: "debug" } });
    s.say(a, { id: 2, method: "logging/setLevel", params: { level: "warning" } });
    expect(s.last().params).toEqual({ level: "debug" });
    s.say(a, { id: 3, method: "logging/setLevel", params: { level: "loud" } });
    expect(s.last().params).toEqual({ level: "loud" });
    for (const level of ["debug", "info", "critical"]) {
      s.server({ method: "notifications/message", params: { level, data: "x" } });
    }
    expect(heard("notifications/message")).toEqual(onePerson ? [1, 3, 2] : [0, 0, 0]);
    s.close(b);
    expect(s.last()).toMatchObject({ method: "logging/setLevel", params: { level: "warning" } });
  }
});

test("an answer that can't be read is an error to whoever asked", () => {
  const s = scene();
  const a = s.open("a");
  s.say(a, { id: "x", method: "tools/list" });
  s.server(`{"jsonrpc":"2.0","id":${s.last().id},"result":{"a":1,"a":2}}`);
  expect(JSON.parse(s.told.a?.[0] ?? "")).toMatchObject({ id: "x", error: { code: -31003 } });
});
