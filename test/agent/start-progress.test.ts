/** Who waits for a server that starts, and asked for progress, hears of it; nobody else, and nobody later. */
import { expect, test } from "bun:test";
import { StartProgress } from "../../src/agent/start-progress.ts";

const line = (message: object): Uint8Array => Buffer.from(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
const request = (id: number | string, progressToken?: unknown) =>
  line({
    id,
    method: "tools/call",
    params: { name: "x", ...(progressToken === undefined ? {} : { _meta: { progressToken } }) },
  });
const told = (progress: StartProgress, now: number) =>
  progress.due(now).map((bytes) => JSON.parse(Buffer.from(bytes).toString()).params);

test("each request that asked is told every five seconds, more each time", () => {
  const progress = new StartProgress();
  progress.toServer(request(1, "a"), 0);
  progress.toServer(request(2), 0);
  progress.toServer(request("3", 7), 2_000);
  expect(told(progress, 4_999)).toEqual([]);
  expect(told(progress, 5_000)).toEqual([
    { progressToken: "a", progress: 0.000001, message: "the MCP server is starting" },
  ]);
  expect(told(progress, 7_000).map(({ progressToken }) => progressToken)).toEqual([7]);
  const [again] = told(progress, 10_000);
  expect(again).toMatchObject({ progressToken: "a" });
  expect(again.progress).toBeGreaterThan(0.000001);
  progress.end();
  progress.toServer(request(4, "d"), 11_000);
  expect(told(progress, 60_000)).toEqual([]);
});

test("a cancelled request hears no more; a token that would not survive is none", () => {
  const progress = new StartProgress();
  progress.toServer(request(1, "a"), 0);
  progress.toServer(request("1", "b"), 0);
  progress.toServer(
    Buffer.from('{"jsonrpc":"2.0","id":9,"method":"x","params":{"_meta":{"progressToken":12345678901234567890}}}'),
    0,
  );
  progress.toServer(line({ method: "notifications/cancelled", params: { requestId: 1 } }), 0);
  expect(told(progress, 9_000).map(({ progressToken }) => progressToken)).toEqual(["b"]);
});
