/** Calls and lists are held to the definitions that were approved; the gate asks for the list itself where nobody did. */
import { describe, expect, test } from "bun:test";
import type { ToolPins } from "../../src/gate/pinning.ts";
import { notification, openSession, parsed, request, result, rulesOf, text } from "./session.ts";

/** Definitions go by their text; `approved` are those to be shown. */
function fakePins(enforce: boolean, approved: string[] = [], begun = true) {
  const pins = {
    enforce,
    begun,
    seen: [] as string[],
    approved: new Set(approved),
    see(tool: string, json: Uint8Array, own: boolean) {
      const { description = "" } = JSON.parse(text(json)) as { description?: string };
      pins.seen.push(`${own ? "own " : ""}${tool} ${description}`);
      if (!pins.begun && own) pins.approved.add(description);
      return { hash: description, events: [{ event: "mcp.tool.new" as const, tool }] };
    },
    begin: () => {
      pins.begun = true;
    },
    holds: (_tool: string, hash: string) => pins.approved.has(hash),
  };
  return pins satisfies ToolPins;
}

const open = (pins: ToolPins, allow = { tools: ["*"] }) => openSession(allow, {}, {}, pins);
const call = (id: number, name: string) => request(id, "tools/call", { name, arguments: {} });
const tools = (...list: [string, string][]) => ({ tools: list.map(([name, description]) => ({ name, description })) });
const idOf = (line: Uint8Array | undefined): string => (JSON.parse(text(line)) as { id: string }).id;
const outcomes = (events: { outcome?: string }[]) => events.flatMap(({ outcome }) => outcome ?? []);

describe("enforce", () => {
  test("a call that no list came before waits for the gate's own list, and is held to it", () => {
    const session = open(fakePins(true, ["good"]));
    const first = session.client(call(1, "read"));
    expect(parsed(first.toServer)).toEqual([request(idOf(first.toServer[0]), "tools/list", {})]);
    expect(first.events).toMatchObject([{ event: "mcp.session.request", tool: "read" }]);
    // Only one list for all who wait.
    expect(session.client(call(2, "write")).toServer).toEqual([]);
    expect(session.client(call(3, "nothing")).toServer).toEqual([]);
    const own = idOf(first.toServer[0]);
    const next = session.server(result(own, { ...tools(["read", "good"]), nextCursor: 'p"2' }));
    expect(parsed(next.toServer)).toMatchObject([{ method: "tools/list", params: { cursor: 'p"2' } }]);
    expect(next.toClient).toEqual([]);
    const { toServer, toClient, events } = session.server(result(idOf(next.toServer[0]), tools(["write", "bad"])));
    expect(parsed(toServer)).toEqual([call(1, "read")]);
    expect(parsed(toClient)).toMatchObject([
      { id: 2, error: { code: -32602, message: expect.stringContaining("waits for approval") } },
      { id: 3, error: { code: -32602, message: expect.stringContaining("does not exist or is not allowed") } },
    ]);
    expect(outcomes(events)).toEqual(["denied", "denied"]);
    expect(session.gate.openRequests()).toBe(1);
    // From here on nothing waits.
    expect(parsed(session.client(call(4, "read")).toServer)).toEqual([call(4, "read")]);
    expect(parsed(session.client(call(5, "write")).toClient)).toMatchObject([{ id: 5, error: { code: -32602 } }]);
    // A second answer to the gate's own request is one that nobody asked for.
    expect(session.server(result(own, tools(["write", "good"]))).toServer).toEqual([]);
    expect(session.client(call(6, "write")).toServer).toEqual([]);
  });

  test("lists show what may be called", () => {
    const session = open(fakePins(true, ["good"]));
    session.client(request(1, "tools/list"));
    const { toClient, events } = session.server(result(1, tools(["read", "good"], ["write", "bad"])));
    expect(parsed(toClient)).toEqual([result(1, tools(["read", "good"]))]);
    expect(events.map(({ event }) => event)).toEqual(["mcp.tool.new", "mcp.tool.new", "mcp.session.response"]);
    expect(session.client(call(2, "read")).toServer).toHaveLength(1);
    expect(session.client(call(3, "write")).toServer).toHaveLength(0);
  });

  test("two definitions under one name: no way around", () => {
    const session = open(fakePins(true, ["good"]));
    session.client(request(1, "tools/list"));
    const { toClient } = session.server(result(1, tools(["read", "good"], ["read", "bad"])));
    expect(parsed(toClient)).toEqual([result(1, tools(["read", "good"]))]);
    expect(session.client(call(2, "read")).toServer).toHaveLength(0);
  });

  test("the first list of all is asked for whole before the client sees any of it", () => {
    const pins = fakePins(true, [], false);
    const session = open(pins);
    const first = session.client(request(1, "tools/list"));
    const own = idOf(first.toServer[0]);
    expect(own).toStartWith("mcpgate-");
    const { toServer } = session.server(result(own, tools(["read", "a"], ["write", "b"])));
    expect(parsed(toServer)).toEqual([request(1, "tools/list")]);
    expect(pins.begun).toBe(true);
    const list = tools(["read", "a"], ["write", "c"]);
    expect(parsed(session.server(result(1, list)).toClient)).toEqual([result(1, tools(["read", "a"]))]);
  });

  test("after the server says that its tools changed, calls wait for a list again", () => {
    const session = open(fakePins(true, ["good"]));
    session.client(request(1, "tools/list"));
    session.server(result(1, tools(["read", "good"])));
    session.server(notification("notifications/tools/list_changed"));
    const { toServer } = session.client(call(2, "read"));
    expect(parsed(toServer)).toMatchObject([{ method: "tools/list" }]);
    const after = session.server(result(idOf(toServer[0]), tools(["read", "bad"])));
    expect(after.toServer).toEqual([]);
    expect(parsed(after.toClient)).toMatchObject([{ id: 2, error: { code: -32602 } }]);
  });

  test.each<[string, (id: string) => unknown]>([
    ["an error", (id) => ({ jsonrpc: "2.0", id, error: { code: -32601, message: "no" } })],
    ["no list", (id) => result(id, {})],
    ["a lookalike of a list", (id) => result(id, { Tools: [], tools: [{ name: "read", description: "good" }] })],
    ["something that can't be read", (id) => `{"jsonrpc":"2.0","id":"${id}","result":{"tools":[],"tools":[]}}`],
  ])("a server that answers the gate with %s has no tool that anybody approved", (_, answer) => {
    const session = open(fakePins(true, ["good"]));
    const { toServer } = session.client(call(1, "read"));
    const after = session.server(answer(idOf(toServer[0])));
    expect(after.toServer).toEqual([]);
    expect(parsed(after.toClient)).toMatchObject([{ id: 1, error: { code: -32602 } }]);
  });

  test("a server that does not answer the gate: who waited for 30 s is told so, and a late list is as good", () => {
    const session = open(fakePins(true, ["good"]));
    const { toServer } = session.client(call(1, "read"));
    session.clock.now += 10_000;
    session.client(call(2, "read"));
    session.clock.now += 19_999;
    expect(session.gate.overdue()).toBeUndefined();
    session.clock.now += 1;
    const late = session.gate.overdue();
    expect(parsed(late?.toClient ?? [])).toMatchObject([{ id: 1, error: { code: -31003 } }]);
    expect(text(late?.toClient[0])).toContain("did not answer mcpgate's own tools/list within 30 s");
    expect(outcomes(late?.events ?? [])).toEqual(["error"]);
    expect(session.gate.openRequests()).toBe(1);
    expect(session.gate.overdue()).toBeUndefined();
    // Nobody asks twice, and the call that was given up never reaches the server.
    expect(session.client(call(3, "read")).toServer).toEqual([]);
    const after = session.server(result(idOf(toServer[0]), tools(["read", "good"])));
    expect(parsed(after.toServer)).toEqual([call(2, "read"), call(3, "read")]);
  });

  test("a call that waits may be cancelled, and never reaches the server", () => {
    const session = open(fakePins(true, ["good"]));
    const { toServer } = session.client(call(1, "read"));
    const cancelled = session.client(notification("notifications/cancelled", { requestId: 1 }));
    expect(cancelled.toServer).toEqual([]);
    expect(outcomes(cancelled.events)).toEqual(["cancelled"]);
    expect(session.server(result(idOf(toServer[0]), tools(["read", "good"]))).toServer).toEqual([]);
    // Its id is free again.
    expect(session.client(call(1, "read")).toServer).toHaveLength(1);
  });

  test("rules that change while a call waits", () => {
    const session = open(fakePins(true, ["good"]));
    const { toServer } = session.client(call(1, "read"));
    session.gate.update(rulesOf({ tools: ["other"] }));
    const after = session.server(result(idOf(toServer[0]), tools(["read", "good"])));
    expect(after.toServer).toEqual([]);
    expect(parsed(after.toClient)).toMatchObject([{ id: 1, error: { code: -32602 } }]);
  });

  test("a server that ends meanwhile", () => {
    const session = open(fakePins(true, ["good"]));
    session.client(call(1, "read"));
    expect(parsed(session.gate.abandon("gone", "unknown").toClient)).toMatchObject([{ id: 1 }]);
  });

  test("2026-07-28: the gate's own request has the envelope of the call", () => {
    const session = open(fakePins(true));
    const key = (name: string) => `io.modelcontextprotocol/${name}`;
    const meta = {
      [key("protocolVersion")]: "2026-07-28",
      [key("clientCapabilities")]: { roots: {} },
      progressToken: 7,
    };
    const { toServer } = session.client(request(1, "tools/call", { name: "read", _meta: meta }));
    const { progressToken: _, ...envelope } = meta;
    expect(parsed(toServer)).toMatchObject([{ method: "tools/list", params: { _meta: envelope } }]);
    expect(text(toServer[0])).not.toContain("progressToken");
  });

  test("a server that pages without end", () => {
    const session = open(fakePins(true, ["good"]));
    let step = session.client(call(1, "read"));
    let pages = 0;
    while (step.toServer.length > 0 && pages < 1000) {
      pages += 1;
      step = session.server(result(idOf(step.toServer[0]), { tools: [], nextCursor: String(pages) }));
    }
    expect(pages).toBe(101);
    expect(parsed(step.toClient)).toMatchObject([{ id: 1, error: { code: -32602 } }]);
  });

  test("an approval reaches the client as a changed list", () => {
    const pins = fakePins(true);
    const session = open(pins);
    session.client(request(0, "initialize", {}));
    session.server(result(0, { capabilities: { tools: {} } }));
    session.client(notification("notifications/initialized"));
    session.client(request(1, "tools/list"));
    session.server(result(1, tools(["read", "new"])));
    expect(session.client(call(2, "read")).toServer).toEqual([]);
    pins.approved.add("new");
    expect(parsed(session.gate.toolsApproved().toClient)).toEqual([notification("notifications/tools/list_changed")]);
    expect(session.client(call(3, "read")).toServer).toHaveLength(1);
  });
});

describe("warn", () => {
  test("hides nothing and holds nothing up, and looks at the tools nevertheless", () => {
    const pins = fakePins(false);
    const session = open(pins);
    const { toServer } = session.client(call(1, "read"));
    expect(parsed(toServer)).toMatchObject([{ method: "tools/list" }, call(1, "read")]);
    expect(session.client(call(2, "read")).toServer).toHaveLength(1);
    const { toClient, events } = session.server(result(idOf(toServer[0]), tools(["read", "bad"])));
    expect(toClient).toEqual([]);
    expect(events).toMatchObject([{ event: "mcp.tool.new" }]);
    expect(pins.seen).toEqual(["own read bad"]);
    expect(session.client(call(3, "read")).toServer).toHaveLength(1);
  });

  test("a client that lists first spares the server a second question", () => {
    const session = open(fakePins(false));
    session.client(request(1, "tools/list"));
    session.server(result(1, tools(["read", "bad"])));
    expect(session.client(call(2, "read")).toServer).toHaveLength(1);
  });
});
