/** The official SDKs on both ends of a gate: both eras, both directions. */
import { afterEach, describe, expect, test } from "bun:test";
import { PassThrough } from "node:stream";
import { Client as ModernClient } from "@modelcontextprotocol/client";
import { Client as LegacyClient } from "@modelcontextprotocol/sdk/client/index.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { inputRequired, McpServer } from "@modelcontextprotocol/server";
import { StdioServerTransport, serveStdio } from "@modelcontextprotocol/server/stdio";
import type { Gate } from "../../src/gate/gate.ts";
import type { Step } from "../../src/gate/step.ts";
import { LineSplitter } from "../../src/mcp/lines.ts";
import type { McpRules } from "../../src/rbac/rules.ts";
import { openSession, rulesOf, text } from "./session.ts";

const done: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of done.splice(0)) await close();
});

/** A server with tools, a prompt and a resource; `confirm` asks the person, in whichever form the era has it. */
function buildServer(): McpServer {
  const server = new McpServer(
    { name: "fixture", version: "1.0.0" },
    { capabilities: { tools: { listChanged: true } } },
  );
  const said = (words: string) => ({ content: [{ type: "text" as const, text: words }] });
  server.registerTool("echo", { description: "echo" }, () => said("echo"));
  server.registerTool("write", { description: "write" }, () => said("written"));
  server.registerPrompt("greet", { description: "greet" }, () => ({
    messages: [{ role: "user", content: { type: "text", text: "hi" } }],
  }));
  server.registerResource("notes", "notes://a", {}, () => ({ contents: [{ uri: "notes://a", text: "a" }] }));
  server.registerResource("secret", "notes://secret", {}, () => ({ contents: [{ uri: "notes://secret", text: "s" }] }));
  server.registerTool("confirm", { description: "asks first" }, (context) => {
    const answers = context.mcpReq.inputResponses;
    if (answers?.sure !== undefined) return said("confirmed");
    return inputRequired({
      inputRequests: {
        sure: inputRequired.elicit({ message: "sure?", requestedSchema: { type: "object", properties: {} } }),
      },
    });
  });
  return server;
}

interface Wire {
  gate: Gate;
  transport: {
    start(): Promise<void>;
    send(message: unknown): Promise<void>;
    close(): Promise<void>;
    onmessage?: (message: never) => void;
    onclose?: () => void;
    onerror?: (error: Error) => void;
  };
  /** Methods of what reached the server. */
  reached: string[];
}

function connect(allow: McpRules, deny: McpRules = {}): Wire {
  const { gate } = openSession(allow, deny);
  const input = new PassThrough();
  const output = new PassThrough();
  const handle = serveStdio(buildServer, { transport: new StdioServerTransport(input, output) });
  const reached: string[] = [];
  const transport: Wire["transport"] = {
    start: async () => {},
    send: async (message) => act(gate.fromClient(new TextEncoder().encode(`${JSON.stringify(message)}\n`))),
    close: async () => transport.onclose?.(),
  };
  const act = (step: Step) => {
    for (const line of step.toServer) {
      reached.push(String((JSON.parse(text(line)) as { method?: string }).method));
      input.write(line);
    }
    for (const line of step.toClient) transport.onmessage?.(JSON.parse(text(line)) as never);
  };
  const splitter = new LineSplitter(1e6);
  output.on("data", (chunk: Buffer) => {
    for (const line of splitter.push(new Uint8Array(chunk))) if ("bytes" in line) act(gate.fromServer(line.bytes));
  });
  const wire = { gate, transport, reached };
  updates.set(wire, (rules) => act(gate.update(rulesOf(rules))));
  done.push(() => handle.close());
  return wire;
}

const updates = new Map<Wire, (allow: McpRules) => void>();

async function legacy(wire: Wire): Promise<LegacyClient> {
  const client = new LegacyClient({ name: "c", version: "1" }, { capabilities: { sampling: {}, elicitation: {} } });
  await client.connect(wire.transport as never);
  done.push(() => client.close());
  return client;
}

async function modern(wire: Wire, options: object = {}): Promise<ModernClient> {
  const client = new ModernClient(
    { name: "c", version: "2" },
    { capabilities: { sampling: {}, elicitation: { form: {} } }, versionNegotiation: { mode: "auto" }, ...options },
  );
  await client.connect(wire.transport as never);
  done.push(() => client.close());
  return client;
}

const named = ({ tools }: { tools: { name: string }[] }) => tools.map(({ name }) => name);

describe("v1 client, initialize", () => {
  test("lists and calls what is allowed, and only that reaches the server", async () => {
    const wire = connect({ tools: ["echo"], resources: ["notes://a"] });
    const client = await legacy(wire);
    expect(named(await client.listTools())).toEqual(["echo"]);
    expect(await client.callTool({ name: "echo", arguments: {} })).toMatchObject({ content: [{ text: "echo" }] });
    const before = wire.reached.length;
    await expect(client.callTool({ name: "write" })).rejects.toThrow('tool "write" of app "everything" does not exist');
    await expect(client.callTool({ name: "no such tool" })).rejects.toThrow("does not exist or is not allowed for you");
    await expect(client.readResource({ uri: "notes://secret" })).rejects.toThrow("does not exist or is not allowed");
    expect(wire.reached).toHaveLength(before);
    expect((await client.listPrompts()).prompts).toEqual([]);
    expect((await client.listResources()).resources.map(({ uri }) => uri)).toEqual(["notes://a"]);
    expect(await client.readResource({ uri: "notes://a" })).toMatchObject({ contents: [{ text: "a" }] });
  });

  test("hears of a role edit", async () => {
    const wire = connect({ tools: ["echo"] });
    const client = await legacy(wire);
    const changed = Promise.withResolvers<string>();
    client.fallbackNotificationHandler = async ({ method }) => changed.resolve(method);
    updates.get(wire)?.({ tools: ["write"] });
    expect(await changed.promise).toBe("notifications/tools/list_changed");
    expect(named(await client.listTools())).toEqual(["write"]);
  });

  test("never hears what a role does not let the server ask", async () => {
    const wire = connect({ tools: ["*"] }, { server_methods: ["elicitation/*"] });
    const client = await legacy(wire);
    let asked = 0;
    client.setRequestHandler(ElicitRequestSchema, async () => {
      asked += 1;
      return { action: "accept", content: {} };
    });
    const answer = await client.callTool({ name: "confirm" }).catch((error: Error) => error);
    expect(JSON.stringify(answer)).not.toContain("confirmed");
    expect(asked).toBe(0);
  });
});

describe("v2 client, 2026-07-28", () => {
  test("lists and calls what is allowed", async () => {
    const wire = connect({ tools: ["echo"] });
    const client = await modern(wire);
    expect(wire.reached[0]).toBe("server/discover");
    expect(wire.reached).not.toContain("initialize");
    expect(named(await client.listTools())).toEqual(["echo"]);
    expect(await client.callTool({ name: "echo", arguments: {} })).toMatchObject({ content: [{ text: "echo" }] });
    await expect(client.callTool({ name: "write", arguments: {} })).rejects.toThrow("does not exist or is not allowed");
  });

  test("hears of a role edit over its subscription", async () => {
    const changed = Promise.withResolvers<string[]>();
    const wire = connect({ tools: ["echo"] });
    await modern(wire, {
      listChanged: {
        tools: {
          onChanged: (error: unknown, tools: { name: string }[] | null) =>
            error ? changed.reject(error) : changed.resolve((tools ?? []).map(({ name }) => name)),
        },
      },
    });
    expect(wire.reached).toContain("subscriptions/listen");
    updates.get(wire)?.({ tools: ["write"] });
    expect(await changed.promise).toEqual(["write"]);
  });

  test("an input_required round trip, allowed and denied", async () => {
    const open = connect({ tools: ["*"] });
    const client = await modern(open);
    client.setRequestHandler("elicitation/create", async () => ({ action: "accept", content: {} }));
    expect(await client.callTool({ name: "confirm", arguments: {} })).toMatchObject({
      content: [{ text: "confirmed" }],
    });
    expect(open.reached.filter((method) => method === "tools/call")).toHaveLength(2);

    const shut = connect({ tools: ["*"] }, { server_methods: ["elicitation/*"] });
    const other = await modern(shut);
    other.setRequestHandler("elicitation/create", async () => ({ action: "accept", content: {} }));
    await expect(other.callTool({ name: "confirm", arguments: {} })).rejects.toThrow('asked for "elicitation/create"');
  });
});
