import { describe, expect, test } from "bun:test";
import type { AuditEvent } from "../../src/event.ts";
import { capture, fakeApi } from "./capture.ts";

const base = { uid: "u", time: "2026-11-23T05:24:00.123Z", v: 1 } as const;
const events: AuditEvent[] = [
  { ...base, event: "agent.join", agent: "web-1", success: true },
  { ...base, event: "app.refuse", app: "evil", agent: "web-1", success: false, error: "not covered" },
  { ...base, event: "user.login", user: "alice", success: false, error: "wrong user name or password" },
  {
    ...base,
    event: "mcp.session.request",
    user: "alice",
    app: "everything",
    sid: "s-1",
    method: "tools/call",
    tool: "echo",
    arguments: { message: "hi" },
    success: true,
  },
  {
    ...base,
    event: "mcp.session.response",
    user: "alice",
    app: "everything",
    sid: "s-1",
    method: "tools/call",
    request: "u",
    outcome: "ok",
    duration_ms: 12.5,
    size: 80,
  },
  {
    ...base,
    event: "user.create",
    user: "bob",
    actor: "uid:0",
    success: true,
    details: { roles: ["dev", "x"], deep: {} },
  },
];

describe("audit ls", () => {
  test("as a table", async () => {
    const { api, calls } = fakeApi({ events, more: false, cursor: 5 });
    expect(await capture(["audit", "ls"], { api })).toEqual({
      exitCode: 0,
      stdout: `\
Time (UTC)          Event                User  App        Details
------------------- -------------------- ----- ---------- ----------------------------------
2026-11-23 05:24:00 agent.join                            web-1
2026-11-23 05:24:00 app.refuse                 evil       web-1 failed not covered
2026-11-23 05:24:00 user.login           alice            failed wrong user name or password
2026-11-23 05:24:00 mcp.session.request  alice everything tools/call echo
2026-11-23 05:24:00 mcp.session.response alice everything tools/call ok 12.5 ms
2026-11-23 05:24:00 user.create          bob              roles=dev,x
`,
      stderr: "",
    });
    expect(calls).toEqual([{ method: "GET", path: "/v1/api/events?limit=1000" }]);
  });

  test("as JSON: an array of the events as they are", async () => {
    const { api } = fakeApi({ events, more: false, cursor: 5 });
    expect(JSON.parse((await capture(["audit", "ls", "--format=json"], { api })).stdout)).toEqual(events);
  });

  test("filters, and a date for the day's beginning in UTC", async () => {
    const { api, calls } = fakeApi({ events: [], more: false, cursor: 0 });
    const argv = "audit ls --user=a&b --app=everything --event=user.login,agent.join --since=2026-11-23 --limit=3";
    await capture(argv.split(" "), { api });
    const [path, query] = calls[0]?.path.split("?") ?? [];
    expect(path).toBe("/v1/api/events");
    expect(Object.fromEntries(new URLSearchParams(query))).toEqual({
      user: "a&b",
      app: "everything",
      event: "user.login,agent.join",
      since: "2026-11-23T00:00:00.000Z",
      limit: "3",
    });
  });

  test("--since=1h is an hour ago", async () => {
    const { api, calls } = fakeApi({ events: [], more: false, cursor: 0 });
    const before = Date.now();
    await capture(["audit", "ls", "--since=1h"], { api });
    const since = Date.parse(new URLSearchParams(calls[0]?.path.split("?")[1]).get("since") ?? "");
    expect(since).toBeWithin(before - 3_600_000, Date.now() - 3_600_000 + 1);
  });

  test("all of them, over several pages, the oldest first", async () => {
    const [first, second, third] = events;
    const { api, calls } = fakeApi(
      { events: [second, third], more: true, cursor: 9, before: "T~7" },
      { events: [first], more: false, cursor: 9 },
    );
    const { stdout } = await capture(["audit", "ls", "--format=json"], { api });
    expect(JSON.parse(stdout)).toEqual([first, second, third]);
    expect(calls.map(({ path }) => path)).toEqual([
      "/v1/api/events?limit=1000",
      "/v1/api/events?before=T%7E7&limit=1000",
    ]);
  });

  test("--limit=1001 takes a page and one more event", async () => {
    const page = { events: Array.from({ length: 1000 }, () => events[0]), more: true, cursor: 9, before: "T~7" };
    const { api, calls } = fakeApi(page, { events: [events[1]], more: true, cursor: 9, before: "T~6" });
    const { stdout } = await capture(["audit", "ls", "--format=json", "--limit=1001"], { api });
    expect((JSON.parse(stdout) as unknown[]).length).toBe(1001);
    expect(calls.map(({ path }) => path)).toEqual(["/v1/api/events?limit=1000", "/v1/api/events?before=T%7E7&limit=1"]);
  });
});

test("audit export prints page by page, one object a line", async () => {
  const { api, calls } = fakeApi(
    { events: events.slice(0, 2), more: true, cursor: 17 },
    { events: events.slice(2), more: false, cursor: 20 },
  );
  const { stdout } = await capture(["audit", "export", "--format", "jsonl"], { api });
  expect(stdout).toBe(events.map((event) => `${JSON.stringify(event)}\n`).join(""));
  expect(calls.map(({ path }) => path)).toEqual(["/v1/api/events?after=0", "/v1/api/events?after=17"]);
});

describe("audit tail", () => {
  /** Stops when the text was printed. */
  async function tail(argv: string[], answers: unknown[], until: string) {
    const stop = Promise.withResolvers<void>();
    const { api, calls } = fakeApi(...answers);
    const captured = await capture(["audit", "tail", ...argv], {
      api,
      stopped: stop.promise,
      onPrint: (text) => {
        if (text.includes(until)) stop.resolve();
      },
    });
    return { captured, calls };
  }

  test("begins with what is stored from now on", async () => {
    const { captured, calls } = await tail(
      ["--app=everything"],
      [
        { events: [events[0]], more: true, cursor: 10, before: "x" },
        { events: events.slice(1, 3), more: true, cursor: 11 },
        { events: events.slice(3), more: false, cursor: 12 },
      ],
      "user.create",
    );
    expect(captured).toEqual({
      exitCode: 0,
      stdout: `\
2026-11-23 05:24:00  app.refuse                -  evil  web-1 failed not covered
2026-11-23 05:24:00  user.login                alice  -  failed wrong user name or password
2026-11-23 05:24:00  mcp.session.request       alice  everything  tools/call echo
2026-11-23 05:24:00  mcp.session.response      alice  everything  tools/call ok 12.5 ms
2026-11-23 05:24:00  user.create               bob  -  roles=dev,x
`,
      stderr: "",
    });
    expect(calls.map(({ path }) => path)).toEqual([
      "/v1/api/events?app=everything&limit=1",
      "/v1/api/events?app=everything&after=10",
      "/v1/api/events?app=everything&after=11",
    ]);
  });

  test("as JSON, one object a line", async () => {
    const answers = [
      { events: [], more: false, cursor: 1 },
      { events: events.slice(0, 1), more: false, cursor: 2 },
    ];
    const { captured } = await tail(["--format=json"], answers, "agent.join");
    expect(captured.stdout).toBe(`${JSON.stringify(events[0])}\n`);
  });

  test("ends quietly when nobody reads any more", async () => {
    const { api } = fakeApi({ events: [], more: false, cursor: 1 }, { events, more: true, cursor: 2 });
    const onPrint = () => {
      throw Object.assign(new Error("EPIPE"), { code: "EPIPE" });
    };
    const captured = await capture(["audit", "tail"], { api, onPrint });
    expect({ exitCode: captured.exitCode, stderr: captured.stderr }).toEqual({ exitCode: 0, stderr: "" });
  });
});
