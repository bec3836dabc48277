/** `mcpgate apps`: what people see of apps and of tools that wait for approval. */
import { expect, test } from "bun:test";
import { capture, fakeApi } from "./capture.ts";

const run = (line: string, api: ReturnType<typeof fakeApi>["api"]) => capture(line.split(" "), { api });
const [OLD, NEW] = ["a".repeat(64), "b".repeat(64)];
const pin = (tool: string, pinned: string | null, pending: string | null, enforce = true) => ({
  agent: "web-1",
  tool,
  enforce,
  pinned,
  pending,
  diff: pending === null ? [] : [`+ description: "${tool}<U+200B>"`],
  approved_by: null,
  approved_at: null,
});
const pins = [pin("list", OLD, null), pin("more", null, NEW), pin("send", OLD, NEW)];

test("pins: a table, and below it what waits", async () => {
  const { api, calls } = fakeApi({ pins });
  const { stdout, stderr, exitCode } = await run("apps pins notes", api);
  expect(calls).toEqual([{ method: "GET", path: "/v1/api/apps/notes/pins" }]);
  expect([exitCode, stderr]).toEqual([0, "mcpgate: to approve: mcpgate apps approve notes\n"]);
  expect(stdout.split("\n").map((line) => line.trimEnd())).toEqual([
    "Tool Agent State           Definition",
    "---- ----- --------------- ----------------",
    "list web-1 pinned          aaaaaaaaaaaaaaaa",
    "more web-1 new, hidden     bbbbbbbbbbbbbbbb",
    "send web-1 changed, hidden bbbbbbbbbbbbbbbb",
    "",
    "more on web-1 (new, hidden)",
    '  + description: "more<U+200B>"',
    "",
    "send on web-1 (changed, hidden)",
    '  + description: "send<U+200B>"',
    "",
  ]);
});

test("approve: exactly the definitions that were looked at", async () => {
  const { api, calls } = fakeApi({ pins }, { approved: [{ agent: "web-1", tool: "send", hash: NEW }] });
  const { stdout } = await run("apps approve notes --tool=send", api);
  expect(calls[1]).toEqual({
    method: "POST",
    path: "/v1/api/apps/notes/approve",
    body: { tools: [{ tool: "send", hash: NEW }] },
  });
  expect(stdout).toBe(
    'send on web-1 (changed, hidden)\n  + description: "send<U+200B>"\n1 tool of notes has been approved\n',
  );
});

test("approve: nothing waits, and no such tool", async () => {
  const none = fakeApi({ pins: [pin("list", OLD, null)] });
  expect((await run("apps approve notes", none.api)).stdout).toBe("Nothing of notes waits for approval\n");
  expect(none.calls).toHaveLength(1);
  const { stderr, exitCode } = await run("apps approve notes --tool=nope", fakeApi({ pins }).api);
  expect(exitCode).toBe(1);
  expect(stderr).toContain("no tool nope of notes has been seen");
});
