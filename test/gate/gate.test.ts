import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { LineSplitter } from "../../src/mcp/lines.ts";
import type { McpRules } from "../../src/rbac/rules.ts";
import { bytes, notification, openSession, parsed, request, result, rulesOf, text } from "./session.ts";

describe("lists and calls agree", () => {
  const entry = fc.constantFrom("a", "ab", "x://a", "*", "a*", "*b", "x://*", "^[ab]+$", "a b", "ü");
  const entries = fc.option(fc.array(entry, { maxLength: 3 }), { nil: undefined });
  const rules = fc
    .record({ tools: entries, prompts: entries, resources: entries })
    .map((value) => JSON.parse(JSON.stringify(value)) as McpRules);
  const names = fc.array(
    fc.oneof(
      fc.constantFrom(
        "a",
        "b",
        "ab",
        "x://a",
        "x://b/c",
        "x://a/../b",
        "x://%61",
        "",
        "a b",
        "ü",
        "u\u0308",
        "\u0000",
        "\ud800",
      ),
      fc.string({ unit: "binary", maxLength: 6 }),
    ),
    { maxLength: 8 },
  );
  const kinds = fc.constantFrom(
    { list: "tools/list", field: "tools", key: "name", call: "tools/call" },
    { list: "prompts/list", field: "prompts", key: "name", call: "prompts/get" },
    { list: "resources/list", field: "resources", key: "uri", call: "resources/read" },
  );

  test("not listable means not callable, and the other way round; the rest of the list stays as it was", () => {
    fc.assert(
      fc.property(rules, rules, names, kinds, fc.jsonValue(), (allow, deny, all, { list, field, key, call }, extra) => {
        const session = openSession(allow, deny);
        session.client(request("list", list));
        const entries = all.map((name, i) => ({ before: extra, [key]: name, i, after: [12345, "x"] }));
        const answer = result("list", { x: extra, [field]: entries, nextCursor: "next" });
        const [line] = parsed(session.server(answer).toClient) as [{ result: Record<string, unknown> }];
        const callable = all.map((name, i) => {
          const step = session.client(request(`call ${i}`, call, { [key]: name }));
          expect(step.toServer.length + step.toClient.length).toBe(1);
          return step.toServer.length === 1;
        });
        const kept = entries.filter((_, i) => callable[i]);
        expect(line).toEqual(
          JSON.parse(JSON.stringify(result("list", { x: extra, [field]: kept, nextCursor: "next" }))),
        );
      }),
      { numRuns: 1000 },
    );
  });

  test("a URI that is listed can be subscribed to, and its updates come through", () => {
    const session = openSession({ resources: ["x://a"] });
    expect(session.client(request(1, "resources/subscribe", { uri: "x://a" })).toServer).toHaveLength(1);
    expect(session.client(request(2, "resources/subscribe", { uri: "x://b" })).toServer).toHaveLength(0);
    expect(session.server(notification("notifications/resources/updated", { uri: "x://a" })).toClient).toHaveLength(1);
    expect(session.server(notification("notifications/resources/updated", { uri: "x://b" })).toClient).toHaveLength(0);
  });

  test("templates", () => {
    const session = openSession({ resources: ["x://a/*"] });
    session.client(request(1, "resources/templates/list"));
    const { toClient } = session.server(
      result(1, {
        resourceTemplates: [
          { uriTemplate: "x://a/{b}" },
          { uriTemplate: "x://b/{b}" },
          { uriTemplate: "x://a/../{b}" },
        ],
      }),
    );
    expect(parsed(toClient)).toEqual([result(1, { resourceTemplates: [{ uriTemplate: "x://a/{b}" }] })]);
  });
});

describe("the last line of a stream, without a line feed", () => {
  // Each of them was scanned for ever once.
  test.each(["[", "[1", '["abc', '[{"a":1}', '[{"a"', `[{"a":"${"x".repeat(300)}`])("a torn batch: %.20s", (torn) => {
    const { gate, client, server } = openSession({ tools: ["*"] });
    client(request(0, "initialize", { protocolVersion: "2025-03-26" }));
    server(result(0, { protocolVersion: "2025-03-26", capabilities: {} }));
    expect(parsed(gate.fromClient(Buffer.from(torn)).toClient)).toMatchObject([{ id: null, error: { code: -32700 } }]);
    expect(gate.fromServer(Buffer.from(torn)).events).toMatchObject([{ event: "mcp.session.invalid" }]);
  });

  test("a whole batch is taken", () => {
    const { gate, client, server } = openSession({ tools: ["*"] });
    client(request(0, "initialize", { protocolVersion: "2025-03-26" }));
    server(result(0, { protocolVersion: "2025-03-26", capabilities: {} }));
    const batch = Buffer.from(JSON.stringify([request(1, "ping"), request(2, "ping")]));
    expect(gate.fromClient(batch).toServer.map(text)).toEqual(
      [1, 2].map((id) => `${JSON.stringify(request(id, "ping"))}\n`),
    );
  });
});

describe("what is forwarded", () => {
  test("is the very bytes, in both directions", () => {
    const { gate } = openSession({ tools: ["*"] });
    const call = bytes(
      '{ "id":1e0, "jsonrpc":"2.0"}'
        .replace("1e0", "7")
        .replace("}", ',"method":"tools/call","params":{"name":"a","arguments":{"n":12345678901234567890.0}}}'),
    );
    expect(gate.fromClient(call).toServer[0]).toBe(call);
    const answer = bytes('{"result":{"n":1E400,"__proto__":{"a":-0}},"id":7,"jsonrpc":"2.0"}');
    expect(gate.fromServer(answer).toClient[0]).toBe(answer);
    const progress = bytes(
      '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0.50}}',
    );
    expect(gate.fromServer(progress).toClient[0]).toBe(progress);
    expect(gate.fromClient(progress).toServer[0]).toBe(progress);
  });

  test("works both ways at once with the same ids", () => {
    const session = openSession({ tools: ["*"] });
    expect(session.client(request(1, "tools/call", { name: "a" })).toServer).toHaveLength(1);
    expect(session.server(request(1, "sampling/createMessage", {})).toClient).toHaveLength(1);
    expect(session.client(result(1, { role: "assistant" })).toServer).toHaveLength(1);
    expect(session.server(result(1, { content: [] })).toClient).toHaveLength(1);
    expect(session.gate.openRequests()).toBe(0);
  });

  test("a server that cancels its own request", () => {
    const session = openSession({ tools: ["*"] });
    session.server(request("s", "elicitation/create", {}));
    expect(session.server(notification("notifications/cancelled", { requestId: "s" })).toClient).toHaveLength(1);
    expect(session.client(result("s", {})).toServer).toHaveLength(0);
    expect(session.server(notification("notifications/cancelled", { requestId: "s" })).toClient).toHaveLength(0);
  });

  test("a cancellation of something that is not open goes nowhere", () => {
    const session = openSession({ tools: ["*"] });
    const step = session.client(notification("notifications/cancelled", { requestId: 1 }));
    expect(step.toServer).toHaveLength(0);
    expect(step.events).toMatchObject([
      { event: "mcp.session.notification", success: true, details: { dropped: "the request is not open" } },
    ]);
  });
});

describe("events", () => {
  test("of a call: the request before the server has it, and the response with its duration", () => {
    const session = openSession({ tools: ["echo"] });
    const sent = session.client(request(1, "tools/call", { name: "echo", arguments: { message: "hi" } }));
    expect(sent.events).toEqual([
      {
        event: "mcp.session.request",
        uid: "uid-1",
        from: "client",
        method: "tools/call",
        tool: "echo",
        arguments: { message: "hi" },
        success: true,
      },
    ]);
    session.clock.now += 12.34;
    const answer = result(1, { content: [] });
    expect(session.server(answer).events).toEqual([
      {
        event: "mcp.session.response",
        uid: "uid-2",
        request: "uid-1",
        method: "tools/call",
        outcome: "ok",
        success: true,
        duration_ms: 12.3,
        size: bytes(JSON.stringify(answer)).length,
      },
    ]);
  });

  test.each([
    [{ isError: true, content: [] }, "error"],
    [{ isError: false, content: [] }, "ok"],
  ])("a result %j is %s", (value, outcome) => {
    const session = openSession({ tools: ["*"] });
    session.client(request(1, "tools/call", { name: "a" }));
    expect(session.server(result(1, value)).events).toMatchObject([{ outcome }]);
  });

  test("every request and notification of the client has one, and every request ends with one", () => {
    const session = openSession({ tools: ["a"], prompts: ["p"] });
    const requests = [
      request(1, "initialize", {}),
      request(2, "ping"),
      request(3, "tools/call", { name: "a" }),
      request(4, "tools/call", { name: "b" }),
      request(5, "prompts/get", { name: "p", arguments: { x: "1" } }),
      request(6, "resources/read", { uri: "x://a" }),
      request(7, "acme/do"),
    ];
    const asked = requests.flatMap((message) => session.client(message).events);
    const ended = [1, 2, 3, 5].flatMap((id) => session.server(result(id, {})).events);
    const started = asked.filter(({ event }) => event === "mcp.session.request").map(({ uid }) => uid);
    const finished = [...asked, ...ended]
      .filter(({ event }) => event === "mcp.session.response")
      .map(({ request }) => request);
    expect(started).toHaveLength(requests.length);
    expect(finished.sort()).toEqual(started.sort());
    expect(asked).toContainEqual(expect.objectContaining({ prompt: "p", arguments: { x: "1" } }));
    expect(asked).toContainEqual(expect.objectContaining({ resource: "x://a", success: false }));
    expect(session.client(notification("notifications/initialized")).events).toMatchObject([
      { event: "mcp.session.notification", method: "notifications/initialized", success: true },
    ]);
  });

  test("junk is counted, and told about only so often", () => {
    const session = openSession({ tools: ["*"] }, {}, { maxJunkEvents: 3 });
    const events = Array.from({ length: 10 }, () => session.server("Downloading…").events).flat();
    expect(events).toHaveLength(3);
    expect(session.gate.counts()).toMatchObject({ junkLines: 10, junkBytes: 10 * bytes("Downloading…").length });
  });
});

test("what the server said in vain is summed up at the end", () => {
  const session = openSession({ tools: ["*"] }, {}, { maxJunkEvents: 1 });
  expect(session.gate.summary()).toEqual([]);
  session.server("hello");
  session.server(result(9, {}));
  expect(session.gate.summary()).toMatchObject([
    { event: "mcp.session.invalid", from: "server", details: { session: true, lines: 2, stray_answers: 1 } },
  ]);
});

test("who may not subscribe may not listen to resources either, and may to lists", () => {
  const session = openSession({ tools: ["*"] }, { methods: ["resources/subscribe"] });
  const listen = (id: number, notifications: object) =>
    session.client(request(id, "subscriptions/listen", { notifications })).toServer.length;
  expect(listen(1, { resourceSubscriptions: ["x://a"] })).toBe(0);
  expect(listen(2, { toolsListChanged: true })).toBe(1);
});

test("what a subscription names is told in an event that the proxy takes", () => {
  const session = openSession({ tools: ["*"] });
  const uris = Array.from({ length: 100 }, (_, i) => `file:///${i}/${"x".repeat(4000)}`);
  const step = session.client(request(1, "subscriptions/listen", { notifications: { resourceSubscriptions: uris } }));
  expect(step.toServer).toHaveLength(1);
  expect(JSON.stringify(step.events).length).toBeLessThan(64 * 1024);
  expect(step.events[0]?.details).toMatchObject({ of: 100, resources: uris.slice(0, 8) });
});

describe("update", () => {
  const handshake = (allow: McpRules, listChanged: unknown) => {
    const session = openSession(allow);
    session.client(request(0, "initialize", {}));
    session.server(
      result(0, { capabilities: { tools: { listChanged }, prompts: {}, resources: { listChanged: true } } }),
    );
    session.client(notification("notifications/initialized"));
    return session;
  };
  const methods = (lines: Uint8Array[]) => (parsed(lines) as { method: string }[]).map(({ method }) => method);

  test("changes what is allowed at once, also for answers that are on their way", () => {
    const session = handshake({ tools: ["a", "b"] }, true);
    session.client(request(1, "tools/list"));
    session.gate.update(rulesOf({ tools: ["b"] }));
    expect(session.client(request(2, "tools/call", { name: "a" })).toServer).toHaveLength(0);
    const { toClient } = session.server(result(1, { tools: [{ name: "a" }, { name: "b" }] }));
    expect(parsed(toClient)).toEqual([result(1, { tools: [{ name: "b" }] })]);
  });

  test("tells the client about the lists that changed, whether or not the server would", () => {
    expect(methods(handshake({ tools: ["a"] }, true).gate.update(rulesOf({ tools: ["b"] })).toClient)).toEqual([
      "notifications/tools/list_changed",
    ]);
    expect(handshake({ tools: ["a"] }, true).gate.update(rulesOf({ tools: ["a"] })).toClient).toEqual([]);
    expect(methods(handshake({ tools: ["a"] }, false).gate.update(rulesOf({ tools: ["b"] })).toClient)).toEqual([
      "notifications/tools/list_changed",
    ]);
    expect(methods(handshake({ tools: ["a"] }, true).gate.update(rulesOf({ tools: ["*"] })).toClient)).toEqual([
      "notifications/tools/list_changed",
      "notifications/prompts/list_changed",
      "notifications/resources/list_changed",
    ]);
    const session = openSession({ tools: ["a"] });
    session.client(request(0, "initialize", {}));
    session.server(result(0, { capabilities: { tools: {} } }));
    session.client(notification("notifications/initialized"));
    // A list that the server does not have changes for nobody.
    expect(methods(session.gate.update(rulesOf({ tools: ["*"] })).toClient)).toEqual([
      "notifications/tools/list_changed",
    ]);
  });

  test("not before the client is ready", () => {
    const session = openSession({ tools: ["a"] });
    session.client(request(0, "initialize", {}));
    session.server(result(0, { capabilities: { tools: { listChanged: true } } }));
    expect(session.gate.update(rulesOf({ tools: ["b"] })).toClient).toEqual([]);
  });

  test("2026-07-28: over the subscriptions that the server acknowledged", () => {
    const session = openSession({ tools: ["a"] });
    const key = "io.modelcontextprotocol/subscriptionId";
    for (const id of ["l1", "l2"]) {
      session.client(request(id, "subscriptions/listen", { notifications: { toolsListChanged: true } }));
    }
    session.server(
      notification("notifications/subscriptions/acknowledged", {
        _meta: { [key]: "l1" },
        notifications: { toolsListChanged: true },
      }),
    );
    session.server(
      notification("notifications/subscriptions/acknowledged", { _meta: { [key]: "l2" }, notifications: {} }),
    );
    expect(parsed(session.gate.update(rulesOf({ tools: ["b"] })).toClient)).toEqual([
      notification("notifications/tools/list_changed", { _meta: { [key]: "l1" } }),
    ]);
    // The server ends it by cancelling.
    expect(session.server(notification("notifications/cancelled", { requestId: "l1" })).toClient).toHaveLength(1);
    expect(session.gate.update(rulesOf({ tools: ["c"] })).toClient).toEqual([]);
    expect(session.gate.openRequests()).toBe(1);
  });

  test("2026-07-28: also over those that the server does not know of, once it said what lists it has", () => {
    const session = openSession({ tools: ["a"] });
    const key = "io.modelcontextprotocol/subscriptionId";
    session.client(request(0, "server/discover", {}));
    session.server(result(0, { capabilities: { tools: {} } }));
    session.client(request("l1", "subscriptions/listen", { notifications: { toolsListChanged: true } }));
    session.server(
      notification("notifications/subscriptions/acknowledged", { _meta: { [key]: "l1" }, notifications: {} }),
    );
    expect(parsed(session.gate.update(rulesOf({ tools: ["b"] })).toClient)).toEqual([
      notification("notifications/tools/list_changed", { _meta: { [key]: "l1" } }),
    ]);
  });
});

describe("abandon", () => {
  test("answers every open request at once, and those that come later", () => {
    const session = openSession({ tools: ["*"] });
    session.client(request(1, "tools/call", { name: "a" }));
    session.client(request("1", "tools/list"));
    session.client(request(3, "ping"));
    session.client(notification("notifications/cancelled", { requestId: 3 }));
    session.server(request("s", "roots/list"));
    const step = session.gate.abandon(
      'the server of app "everything" exited with code 3',
      "unknown",
      "see the agent's log",
    );
    const message =
      'the server of app "everything" exited with code 3; the outcome of this request is unknown; see the agent\'s log';
    expect(parsed(step.toClient)).toEqual([
      { jsonrpc: "2.0", id: 1, error: { code: -31001, message } },
      { jsonrpc: "2.0", id: "1", error: { code: -31001, message } },
    ]);
    expect(step.events.map(({ outcome, method }) => [outcome, method])).toEqual([
      ["unknown", "tools/call"],
      ["unknown", "tools/list"],
      ["unknown", "roots/list"],
    ]);
    expect(session.gate.openRequests()).toBe(0);
    const later = session.client(request(4, "tools/call", { name: "a" }));
    expect(later.toServer).toEqual([]);
    expect(parsed(later.toClient)).toMatchObject([{ id: 4, error: { code: -31004 } }]);
    expect(session.client(notification("notifications/initialized")).toServer).toEqual([]);
  });
});

describe("overflow", () => {
  const long = (head: string, tail: string) => {
    const [line] = new LineSplitter(1000).push(bytes(`${head}${"x".repeat(2000)}${tail}`));
    if (line === undefined || "bytes" in line) throw new Error("fits");
    return line;
  };

  test("of the client's call is refused under its id", () => {
    const session = openSession({ tools: ["*"] });
    const line = long('{"method":"tools/call","params":{"name":"a","arguments":{"x":"', '"}},"jsonrpc":"2.0","id":7}');
    const step = session.gate.overflow("client", line.overflow, line);
    expect(parsed(step.toClient)).toMatchObject([{ id: 7, error: { code: -32600 } }]);
    expect(step.events).toMatchObject([{ event: "mcp.session.invalid", from: "client", size: line.overflow }]);
  });

  test("of the server's answer ends the request that waits for it", () => {
    const session = openSession({ tools: ["*"] });
    session.client(request("a", "tools/call", { name: "a" }));
    const line = long('{"result":{"content":[{"type":"text","text":"', '"}]},"jsonrpc":"2.0","id":"a"}');
    expect(parsed(session.gate.overflow("server", line.overflow, line).toClient)).toMatchObject([
      { id: "a", error: { code: -31003 } },
    ]);
    expect(session.server(result("a", {})).toClient).toEqual([]);
  });

  test("without edges is an error for nobody in particular", () => {
    const session = openSession({ tools: ["*"] });
    expect(parsed(session.gate.overflow("client", 1e9).toClient)).toMatchObject([{ id: null }]);
    expect(session.gate.overflow("server", 1e9).toClient).toEqual([]);
  });
});

test("whatever comes, each line of a step ends in a line feed and is JSON, and nothing throws", () => {
  const piece = fc.constantFrom(
    '{"jsonrpc":"2.0"',
    ',"id":1',
    ',"id":"a"',
    ',"method":"tools/call"',
    ',"method":"tools/list"',
    ',"params":{"name":"a"}',
    ',"result":{"tools":[{"name":"a"},{"name":"b"}]}',
    ',"error":{}',
    "}",
    "[",
    "x",
    '"',
    ',"method":"notifications/cancelled"',
    ',"params":{"requestId":1}',
    "\r",
    ',"method":"roots/list"',
  );
  const line = fc.oneof(
    fc.array(piece, { maxLength: 7 }).map((pieces) => bytes(pieces.join(""))),
    fc.array(piece, { maxLength: 5 }).map((pieces) => bytes(`{"jsonrpc":"2.0"${pieces.join("")}}`)),
    fc.uint8Array({ maxLength: 30 }).map((raw) => Uint8Array.from([...raw.filter((byte) => byte !== 10), 10])),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), line), { maxLength: 30 }), (lines) => {
      const { gate } = openSession({ tools: ["a"] });
      for (const [client, bytes] of lines) {
        const step = client ? gate.fromClient(bytes) : gate.fromServer(bytes);
        for (const out of [...step.toClient, ...step.toServer]) {
          expect(out.indexOf(0x0a)).toBe(out.length - 1);
          JSON.parse(text(out));
        }
        // But for the client's own answer to what the server asked, which is its to say.
        const answers = client && step.events.some(({ event }) => event === "mcp.session.response");
        if (step.toServer.length > 0 && !answers) expect(text(step.toServer[0])).not.toContain('"name":"b"');
      }
      gate.abandon("gone", "unknown");
      expect(gate.openRequests()).toBe(0);
    }),
    {
      numRuns: 500,
      examples: [
        [
          [
            [false, bytes('{"jsonrpc":"2.0","id":1,"method":"roots/list"}')],
            [true, bytes('{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"b"}]}}')],
          ],
        ],
      ],
    },
  );
});

describe("a gate that takes no more", () => {
  test("leaves requests alone, and lets pass what is open and what it needs", () => {
    const session = openSession({ tools: ["*"] });
    session.client(request(1, "tools/call", { name: "slow" }));
    session.client(request("l", "subscriptions/listen", { notifications: { toolsListChanged: true } }));
    session.server(request(7, "roots/list"));
    expect(session.gate.openCalls()).toBe(1);
    session.gate.close();
    expect(session.client(request(2, "tools/call", { name: "late" }))).toEqual({
      toServer: [],
      toClient: [],
      events: [],
    });
    expect(session.client(result(7, { roots: [] })).toServer).toHaveLength(1);
    expect(session.client(notification("notifications/roots/list_changed")).toServer).toHaveLength(1);
    expect(session.server(result(1, {})).toClient).toHaveLength(1);
    expect([session.gate.openCalls(), session.gate.openRequests()]).toEqual([0, 1]);
  });
});
