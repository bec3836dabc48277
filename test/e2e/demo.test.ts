/** `mcpgate demo`: the tour, the connection that it offers, and that nothing is left of it. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync } from "node:fs";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { PATH, Place, SLOWEST_MS } from "./harness.ts";
import { textOf } from "./mcp.ts";
import { eventually } from "./processes.ts";

setDefaultTimeout(SLOWEST_MS);

let place: Place;
let env: Record<string, string>;

beforeAll(async () => {
  place = await Place.open();
  env = { TMPDIR: place.folder("tmp"), PATH };
});

afterAll(async () => {
  expect(await place.close()).toEqual([]);
});

const leftFiles = () => readdirSync(place.path("tmp"));

test("--once shows the main job and exits with 0", async () => {
  const { code, stdout, stderr } = await place.cli(["demo", "--once"], { env });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  for (const part of [
    "mcpgate proxy is ready at 127.0.0.1:",
    "is ready and offers demo",
    "Logged in as bob until",
    "[echo get-* read_*]",
    "tools/list       read_note, read_host_info, echo\n",
    "read_note        This note was read through mcpgate",
    'write_note       tool "write_note" of app "demo" does not exist or is not allowed',
    "tools/call read_note",
    "tools/call denied",
  ]) {
    expect(stdout).toContain(part);
  }
  expect(leftFiles()).toEqual([]);
});

test("stays up, offers a configuration that works, and stops at SIGINT", async () => {
  const demo = place.start(["demo"], { env });
  await eventually(() => demo.stdout().includes("Ctrl-C stops everything"), { ms: 15_000 });
  const shown = demo.stdout().slice(demo.stdout().indexOf("It stays up."));
  const { mcpServers } = JSON.parse(shown.slice(shown.indexOf("{"), shown.lastIndexOf("}") + 1));
  const client = new Client({ name: "e2e", version: "1" });
  await client.connect(new StdioClientTransport({ ...mcpServers["mcpgate-demo"], stderr: "ignore" }));
  await using _ = { [Symbol.asyncDispose]: () => client.close() };
  const wrote = await client.callTool({ name: "write_note", arguments: { name: "a", text: "b" } });
  expect(textOf(wrote)).toBe('wrote note "a"');
  expect(await demo.stop("SIGINT")).toBe(0);
  expect(demo.stderr()).toBe("");
  expect(leftFiles()).toEqual([]);
});
