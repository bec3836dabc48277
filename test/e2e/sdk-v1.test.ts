/** Real MCP servers and the SDK's client of the revisions with a handshake, with mcpgate in between. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  McpError,
} from "@modelcontextprotocol/sdk/types.js";
import { Cluster, READER, SLOWEST_MS } from "./harness.ts";
import { connectV1, textOf } from "./mcp.ts";

setDefaultTimeout(SLOWEST_MS);

let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.start({
    apps: ["everything", "filesystem", "memory", "echo"],
    roles: [READER],
    users: { alice: ["mcp-user"], bob: ["reader"] },
  });
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => new Error("it did not fail"),
    (error: unknown) => error,
  );

describe("server-everything", () => {
  test("tools, prompts and resources pass for somebody who may do all", async () => {
    await using client = await connectV1(cluster, "alice", "everything");
    expect(client.getServerVersion()?.name).toBe("mcp-servers/everything");
    const names = (await client.listTools()).tools.map(({ name }) => name);
    for (const name of ["echo", "get-sum", "toggle-simulated-logging"]) expect(names).toContain(name);
    expect(textOf(await client.callTool({ name: "get-sum", arguments: { a: 19, b: 23 } }))).toContain("42");

    expect((await client.listPrompts()).prompts.map(({ name }) => name)).toContain("args-prompt");
    const prompt = await client.getPrompt({ name: "args-prompt", arguments: { city: "Oslo" } });
    expect(prompt.messages).toMatchObject([{ content: { text: "What's weather in Oslo?" } }]);
    const completed = await client.complete({
      ref: { type: "ref/prompt", name: "completable-prompt" },
      argument: { name: "department", value: "E" },
    });
    expect(completed.completion.values).toContain("Engineering");

    const { resourceTemplates } = await client.listResourceTemplates();
    expect(resourceTemplates.length).toBeGreaterThan(0);
    const { resources } = await client.listResources();
    const [first] = resources;
    expect((await client.readResource({ uri: first?.uri ?? "" })).contents).toMatchObject([{ uri: first?.uri }]);
    expect(await client.ping()).toEqual({});
  });

  test("progress reaches the caller, and a cancellation the server", async () => {
    await using client = await connectV1(cluster, "alice", "everything");
    const seen: number[] = [];
    const call = { name: "trigger-long-running-operation", arguments: { duration: 0.2, steps: 4 } };
    await client.callTool(call, undefined, { onprogress: ({ progress }) => void seen.push(progress) });
    // The last one may come in the same breath as the result, when the SDK listens no more.
    expect(seen.slice(0, 3)).toEqual([1, 2, 3]);

    const abort = new AbortController();
    const { promise: begun, resolve } = Promise.withResolvers<void>();
    const long = { name: "trigger-long-running-operation", arguments: { duration: 1000, steps: 10_000 } };
    const cancelled = rejection(
      client.callTool(long, undefined, { signal: abort.signal, onprogress: () => resolve(), timeout: 20_000 }),
    );
    await begun;
    abort.abort("enough");
    expect(String(await cancelled)).toContain("enough");
    const events = await cluster.eventsOnce(
      (found) => found.some(({ outcome }) => outcome === "cancelled"),
      "--user=alice",
      "--app=everything",
    );
    const response = events.find(({ outcome }) => outcome === "cancelled");
    expect(events.find(({ uid }) => uid === response?.request)).toMatchObject({ tool: long.name });
    expect(textOf(await client.callTool({ name: "echo", arguments: { message: "still here" } }))).toContain(
      "still here",
    );
  });

  test("the server asks the client: sampling, elicitation, roots", async () => {
    const capabilities = { sampling: {}, elicitation: {}, roots: { listChanged: true } };
    let root = "file:///here";
    await using client = await connectV1(cluster, "alice", "everything", { capabilities }, (c) => {
      c.setRequestHandler(CreateMessageRequestSchema, async ({ params }) => ({
        model: "test",
        role: "assistant" as const,
        content: { type: "text" as const, text: `sampled: ${JSON.stringify(params.messages)}` },
      }));
      c.setRequestHandler(ElicitRequestSchema, async () => ({ action: "accept" as const, content: { name: "Ada" } }));
      c.setRequestHandler(ListRootsRequestSchema, async () => ({ roots: [{ uri: root, name: "root" }] }));
    });
    const sampled = await client.callTool({ name: "trigger-sampling-request", arguments: { prompt: "say it" } });
    expect(textOf(sampled)).toContain("say it");
    expect(textOf(sampled)).toContain("sampled:");
    const elicited = await client.callTool({ name: "trigger-elicitation-request", arguments: {} });
    expect(JSON.stringify(elicited.content)).toContain("- Name: Ada");
    expect(textOf(await client.callTool({ name: "get-roots-list", arguments: {} }))).toContain("file:///here");
    root = "file:///there";
    await client.sendRootsListChanged();
    // the server asks again in its own time
    const until = performance.now() + 5_000;
    while (!textOf(await client.callTool({ name: "get-roots-list", arguments: {} })).includes("there")) {
      if (performance.now() > until) throw new Error("the server never heard of the new roots");
    }
    const events = await cluster.eventsOnce(
      (found) => found.some(({ method, event }) => method === "roots/list" && event === "mcp.session.response"),
      "--app=everything",
    );
    for (const method of ["sampling/createMessage", "elicitation/create", "roots/list"]) {
      const asked = events.find((each) => each.method === method && each.event === "mcp.session.request");
      expect(asked).toMatchObject({ from: "server", success: true, user: "alice" });
      expect(events.find(({ request }) => request === asked?.uid)).toMatchObject({ outcome: "ok", from: "client" });
    }
  });

  test("a reader sees and calls only what is allowed; prompts and resources are not", async () => {
    await using client = await connectV1(cluster, "bob", "everything");
    const { tools } = await client.listTools();
    const names = tools.map(({ name }) => name);
    expect(names).toContain("echo");
    expect(names.filter((name) => !name.startsWith("get-") && name !== "echo")).toEqual([]);
    expect(textOf(await client.callTool({ name: "get-sum", arguments: { a: 1, b: 2 } }))).toContain("3");
    const denied = (await rejection(client.callTool({ name: "toggle-simulated-logging" }))) as McpError;
    expect(denied).toBeInstanceOf(McpError);
    expect(denied.code).toBe(-32602);
    expect((await client.listPrompts()).prompts).toEqual([]);
    expect((await client.listResources()).resources).toEqual([]);
    expect((await client.listResourceTemplates()).resourceTemplates).toEqual([]);
    expect(await rejection(client.getPrompt({ name: "simple-prompt" }))).toMatchObject({ code: -32602 });
    const uri = "demo://resource/dynamic/text/1";
    expect(await rejection(client.readResource({ uri }))).toMatchObject({ code: -32602 });
  });
});

test("server-filesystem: files on the agent's host, and some MB of them", async () => {
  const path = cluster.place.path("files", "note.txt");
  {
    await using client = await connectV1(cluster, "alice", "filesystem");
    await client.callTool({ name: "write_file", arguments: { path, content: "from afar\n" } });
    expect(readFileSync(path, "utf8")).toBe("from afar\n");
    expect(textOf(await client.callTool({ name: "read_text_file", arguments: { path } }))).toBe("from afar\n");
    const big = "0123456789abcdef".repeat(4 * 65_536);
    const bigPath = cluster.place.path("files", "big.txt");
    await client.callTool({ name: "write_file", arguments: { path: bigPath, content: big } });
    expect(readFileSync(bigPath, "utf8") === big).toBe(true);
    expect(textOf(await client.callTool({ name: "read_text_file", arguments: { path: bigPath } })) === big).toBe(true);
  }
  await using reader = await connectV1(cluster, "bob", "filesystem");
  expect((await reader.listTools()).tools.map(({ name }) => name)).toEqual([
    "read_file",
    "read_text_file",
    "read_media_file",
    "read_multiple_files",
  ]);
  expect(textOf(await reader.callTool({ name: "read_text_file", arguments: { path } }))).toBe("from afar\n");
  expect(await rejection(reader.callTool({ name: "write_file", arguments: { path, content: "" } }))).toMatchObject({
    code: -32602,
  });
  expect(readFileSync(path, "utf8")).toBe("from afar\n");
});

test("server-memory: each session has a server of its own", async () => {
  await using one = await connectV1(cluster, "alice", "memory");
  await using two = await connectV1(cluster, "alice", "memory");
  const entity = { name: "mcpgate", entityType: "program", observations: ["stands between"] };
  await one.callTool({ name: "create_entities", arguments: { entities: [entity] } });
  expect(textOf(await two.callTool({ name: "read_graph", arguments: {} }))).toContain("stands between");
  const sessions = (await cluster.sessions()).filter(({ app }) => app === "memory");
  expect(sessions).toHaveLength(2);
});

describe("a denied call", () => {
  test("reads the same whether or not the tool exists, and the server sees nothing of it", async () => {
    await using client = await connectV1(cluster, "bob", "echo");
    expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(["read_thing", "echo"]);
    const text = async (name: string): Promise<string> => {
      const error = (await rejection(client.callTool({ name, arguments: { hidden: "x" } }))) as McpError;
      expect(error.code).toBe(-32602);
      return error.message.replaceAll(name, "TOOL");
    };
    const existing = await text("write_thing");
    expect(existing).toContain('"TOOL"');
    expect(existing).toContain('"echo"');
    expect(existing).toContain("ask your mcpgate admin");
    expect(await text("no_such_thing")).toBe(existing);
    await client.callTool({ name: "read_thing", arguments: { seen: true } });
    const seen = cluster.seen().map((line) => JSON.parse(line));
    expect(seen.map(({ method }) => method)).toEqual([
      "initialize",
      "notifications/initialized",
      "tools/list",
      "tools/call",
    ]);
    expect(seen.at(-1).params).toMatchObject({ name: "read_thing" });
  });
});

test("100 calls at a time, each with its own answer", async () => {
  await using client = await connectV1(cluster, "alice", "everything");
  const calls = Array.from({ length: 100 }, (_, a) => client.callTool({ name: "get-sum", arguments: { a, b: 1000 } }));
  const texts = (await Promise.all(calls)).map(textOf);
  expect(texts).toEqual(Array.from({ length: 100 }, (_, a) => `The sum of ${a} and 1000 is ${a + 1000}.`));
});
