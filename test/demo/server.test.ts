/** The built-in demo server, as official clients of both eras see it. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Client as ModernClient } from "@modelcontextprotocol/client";
import { StdioClientTransport as ModernTransport } from "@modelcontextprotocol/client/stdio";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

const ENTRY = join(import.meta.dir, "../fixtures/process-entry.ts");
const command = { command: process.execPath, args: [ENTRY, "demo"] };
const TOOLS = ["echo", "read_host_info", "read_note", "slow_count", "write_note"];

/** The text of a tool's result. */
const textOf = (result: object): string => {
  const [first] = (result as { content: { text: string }[] }).content;
  return first?.text ?? "";
};

describe("with the handshake (SDK v1)", () => {
  let client: Client;
  beforeEach(async () => {
    client = new Client({ name: "test", version: "1" });
    await client.connect(new StdioClientTransport(command));
  });
  afterEach(() => client.close());

  const call = async (name: string, args: Record<string, unknown> = {}) => client.callTool({ name, arguments: args });

  test("introduces itself and lists its tools", async () => {
    expect(client.getServerVersion()?.name).toBe("mcpgate-demo");
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name).sort()).toEqual(TOOLS);
  });

  test("keeps notes", async () => {
    expect(textOf(await call("read_note", { name: "welcome" }))).toContain("mcpgate");
    expect(textOf(await call("write_note", { name: "n", text: "hello" }))).toBe('wrote note "n"');
    expect(textOf(await call("read_note", { name: "n" }))).toBe("hello");
    expect(textOf(await call("read_note"))).toBe("welcome\nn");
    expect(await call("read_note", { name: "none" })).toMatchObject({ isError: true });
    expect(await call("write_note", { name: "n" })).toMatchObject({ isError: true });
  });

  test("echoes, and tells whom it runs as", async () => {
    expect(textOf(await call("echo", { message: "ünï\n" }))).toBe("ünï\n");
    const info = JSON.parse(textOf(await call("read_host_info")));
    expect(info).toMatchObject({ uid: process.getuid?.(), gid: process.getgid?.(), groups: process.getgroups?.() });
    expect(info.host_user).toBe((await Bun.$`id -un`.text()).trim());
    expect(info.pid).not.toBe(process.pid);
  });

  test("counts with progress, and stops when it is cancelled", async () => {
    const seen: number[] = [];
    const onprogress = ({ progress }: { progress: number }): void => void seen.push(progress);
    const count = { name: "slow_count", arguments: { to: 3, step_ms: 20 } };
    expect(textOf(await client.callTool(count, undefined, { onprogress }))).toBe("counted to 3");
    expect(seen).toEqual([1, 2, 3]);

    const abort = new AbortController();
    const long = { name: "slow_count", arguments: { to: 1000, step_ms: 1000 } };
    const cancelled = client.callTool(long, undefined, { signal: abort.signal }).catch((error: Error) => error.message);
    abort.abort("enough");
    expect(await cancelled).toContain("enough");
    expect(textOf(await call("echo", { message: "still here" }))).toBe("still here");
  });

  test("has a prompt and a resource", async () => {
    const { prompts } = await client.listPrompts();
    expect(prompts.map(({ name }) => name)).toEqual(["summarize_notes"]);
    const { messages } = await client.getPrompt({ name: "summarize_notes" });
    expect(JSON.stringify(messages)).toContain("## welcome");
    const { resources } = await client.listResources();
    expect(resources.map(({ uri }) => uri)).toEqual(["note://welcome"]);
    const { contents } = await client.readResource({ uri: "note://welcome" });
    expect(contents).toMatchObject([{ uri: "note://welcome", mimeType: "text/plain" }]);
  });
});

test("without the handshake (revision 2026-07-28, SDK v2) it is the same server", async () => {
  const client = new ModernClient({ name: "test", version: "1" }, { versionNegotiation: { mode: "auto" } });
  await client.connect(new ModernTransport(command));
  try {
    expect(client.getNegotiatedProtocolVersion()).toBe("2026-07-28");
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name).sort()).toEqual(TOOLS);
    expect(textOf(await client.callTool({ name: "echo", arguments: { message: "hi" } }))).toBe("hi");
    const seen: number[] = [];
    const count = { name: "slow_count", arguments: { to: 2, step_ms: 20 } };
    await client.callTool(count, { onprogress: ({ progress }) => void seen.push(progress) });
    expect(seen).toEqual([1, 2]);
  } finally {
    await client.close();
  }
});

test("ends with its stdin, also in the middle of a call, with code 0 and nothing else on stdout", async () => {
  const server = Bun.spawn([command.command, ...command.args], { stdio: ["pipe", "pipe", "inherit"] });
  const call = (id: number, method: string, params: object): void =>
    void server.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
  const arguments_ = { to: 1000, step_ms: 10_000 };
  call(1, "tools/call", { name: "slow_count", arguments: arguments_, _meta: { progressToken: "p" } });
  await server.stdin.flush();
  const reader = server.stdout.getReader();
  const { value } = await reader.read();
  expect(JSON.parse(new TextDecoder().decode(value))).toMatchObject({ params: { progressToken: "p", progress: 1 } });
  await server.stdin.end();
  expect(await server.exited).toBe(0);
  expect((await reader.read()).done).toBe(true);
});
