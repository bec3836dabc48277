/** The client of revision 2026-07-28, which has no handshake, with servers that know it and servers that don't. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { Cluster, READER, SLOWEST_MS } from "./harness.ts";
import { connectV2, textOf } from "./mcp.ts";

setDefaultTimeout(SLOWEST_MS);

let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.start({
    apps: ["demo", "everything"],
    roles: [READER],
    users: { alice: ["mcp-user"], bob: ["reader"] },
  });
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

const failure = (promise: Promise<unknown>): Promise<{ code?: number; message: string }> =>
  promise.then(
    () => ({ message: "it did not fail" }),
    (error: { code?: number; message: string }) => error,
  );

test("lists, calls, prompts, resources, progress and cancellation", async () => {
  await using client = await connectV2(cluster, "alice", "demo");
  expect(client.getNegotiatedProtocolVersion()).toBe("2026-07-28");
  const { tools } = await client.listTools();
  expect(tools.map(({ name }) => name).sort()).toEqual([
    "echo",
    "read_host_info",
    "read_note",
    "slow_count",
    "write_note",
  ]);
  expect(textOf(await client.callTool({ name: "echo", arguments: { message: "hi" } }))).toBe("hi");
  expect((await client.listPrompts()).prompts.map(({ name }) => name)).toEqual(["summarize_notes"]);
  expect(JSON.stringify(await client.getPrompt({ name: "summarize_notes" }))).toContain("## welcome");
  expect((await client.listResources()).resources.map(({ uri }) => uri)).toEqual(["note://welcome"]);
  expect((await client.readResource({ uri: "note://welcome" })).contents).toMatchObject([{ uri: "note://welcome" }]);

  const seen: number[] = [];
  const count = { name: "slow_count", arguments: { to: 3, step_ms: 150 } };
  await client.callTool(count, { onprogress: ({ progress }) => void seen.push(progress) });
  expect(seen).toEqual([1, 2, 3]);

  const abort = new AbortController();
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  const long = { name: "slow_count", arguments: { to: 1000, step_ms: 10_000 } };
  const cancelled = failure(client.callTool(long, { signal: abort.signal, onprogress: () => resolve() }));
  await begun;
  abort.abort("enough");
  expect((await cancelled).message).toContain("enough");
  expect(textOf(await client.callTool({ name: "echo", arguments: { message: "still here" } }))).toBe("still here");
  await cluster.eventsOnce((events) => events.some(({ outcome }) => outcome === "cancelled"));
});

test("the list is filtered, and what is not on it is denied as if it did not exist", async () => {
  await using client = await connectV2(cluster, "bob", "demo");
  expect(client.getNegotiatedProtocolVersion()).toBe("2026-07-28");
  const { tools } = await client.listTools();
  expect(tools.map(({ name }) => name).sort()).toEqual(["echo", "read_host_info", "read_note"]);
  expect(textOf(await client.callTool({ name: "read_note", arguments: { name: "welcome" } }))).toContain("mcpgate");
  const denied = await failure(client.callTool({ name: "write_note", arguments: { name: "a", text: "b" } }));
  const unknown = await failure(client.callTool({ name: "no_such", arguments: { name: "a", text: "b" } }));
  expect(denied.code).toBe(-32602);
  expect(unknown.code).toBe(-32602);
  expect(denied.message.replaceAll("write_note", "TOOL")).toBe(unknown.message.replaceAll("no_such", "TOOL"));
  expect(textOf(await client.callTool({ name: "read_note" }))).toBe("welcome");
  expect((await client.listPrompts()).prompts).toEqual([]);
  expect(await failure(client.getPrompt({ name: "summarize_notes" }))).toMatchObject({ code: -32602 });
});

test("falls back to the handshake with a server that knows no other way", async () => {
  await using client = await connectV2(cluster, "bob", "everything");
  expect(client.getNegotiatedProtocolVersion()).toBe("2025-11-25");
  expect((await client.listTools()).tools.map(({ name }) => name)).toContain("echo");
  expect(textOf(await client.callTool({ name: "get-sum", arguments: { a: 2, b: 3 } }))).toContain("5");
});

test("100 calls at a time", async () => {
  await using client = await connectV2(cluster, "alice", "demo");
  const messages = Array.from({ length: 100 }, (_, i) => `message ${i}`);
  const calls = messages.map((message) => client.callTool({ name: "echo", arguments: { message } }));
  expect((await Promise.all(calls)).map(textOf)).toEqual(messages);
});
