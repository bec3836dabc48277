/** Every call in the audit log: what the events are, what is in them, and the commands that show them. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { createHash } from "node:crypto";
import type { AuditEvent } from "../../src/event.ts";
import { Cluster, READER, SLOWEST_MS } from "./harness.ts";
import { RawClient } from "./mcp.ts";
import { eventually } from "./processes.ts";

setDefaultTimeout(SLOWEST_MS);

let cluster: Cluster;
let began: number;

beforeAll(async () => {
  began = Date.now();
  cluster = await Cluster.start({
    apps: ["echo", "demo"],
    roles: [READER],
    users: { alice: ["mcp-user"], bob: ["reader"] },
  });
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

/** The events of one session of bob's, from its start to its end. */
async function oneSession(use: (client: RawClient) => Promise<void>, app = "echo"): Promise<AuditEvent[]> {
  const known = new Set((await cluster.events("--user=bob", "--event=mcp.session.start")).map(({ sid }) => sid));
  await using client = new RawClient(cluster, "bob", app);
  await client.initialize();
  await use(client);
  expect(await client.end()).toEqual({ code: 0, stderr: "" });
  const isNew = ({ sid }: AuditEvent): boolean => !known.has(sid);
  // The end of the session is the proxy's own event: the agent's may come after it.
  const whole = (found: AuditEvent[]): boolean => {
    const requests = found.filter(({ event }) => event === "mcp.session.request");
    const answered = new Set(found.map(({ request }) => request));
    const ended = found.some(({ event }) => event === "mcp.session.end");
    return ended && requests.length > 0 && requests.every(({ uid }) => answered.has(uid));
  };
  const events = await cluster.eventsOnce(
    (found) => whole(found.filter(isNew)),
    "--user=bob",
    "--event=mcp.session.start,mcp.session.end,mcp.session.request,mcp.session.response,mcp.session.notification",
  );
  return events.filter(isNew);
}

describe("a session's events", () => {
  let events: AuditEvent[];
  const requestOf = (tool: string) => events.find((each) => each.event === "mcp.session.request" && each.tool === tool);

  beforeAll(async () => {
    events = await oneSession(async (client) => {
      await client.request("tools/list");
      await client.call("read_thing", { path: "/tmp/x", api_key: "sk-live-1", nested: { password: "p", list: [1] } });
      await client.call("write_thing", { text: "no" });
      await client.call("read_thing", { text: "x".repeat(20_000), token: "hush" });
    });
  });

  test("are these, in this order", () => {
    const told = events.map(({ event, method, tool, outcome, success }) =>
      [event.replace("mcp.session.", ""), method, tool, outcome ?? success]
        .filter((each) => each !== undefined)
        .join(" "),
    );
    // the proxy writes start and end, the agent ships the rest
    expect(told.toSorted()).toEqual(
      [
        "start true",
        "request initialize true",
        "response initialize ok",
        "notification notifications/initialized true",
        "request tools/list true",
        "response tools/list ok",
        "request tools/call read_thing true",
        "response tools/call ok",
        "request tools/call write_thing false",
        "response tools/call denied",
        "request tools/call read_thing true",
        "response tools/call ok",
        "end true",
      ].toSorted(),
    );
  });

  test("have the fields that every event has, and those of a session", () => {
    const [first] = events;
    for (const event of events) {
      expect(event.uid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
      expect(event.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      expect(Date.parse(event.time)).toBeWithin(began - 1, Date.now() + 1);
      expect(event).toMatchObject({ v: 1, user: "bob", app: "echo", sid: first?.sid, agent: first?.agent });
    }
    expect(first?.agent).not.toBeUndefined();
    expect(new Set(events.map(({ uid }) => uid)).size).toBe(events.length);
  });

  test("tie each response to its request", () => {
    const requests = events.filter(({ event }) => event === "mcp.session.request");
    const responses = events.filter(({ event }) => event === "mcp.session.response");
    expect(responses.map(({ request }) => request).toSorted()).toEqual(requests.map(({ uid }) => uid).toSorted());
    for (const response of responses) {
      const request = requests.find(({ uid }) => uid === response.request);
      expect(response.method).toBe(request?.method);
      expect(response.duration_ms).toBeWithin(0, 10_000);
      expect(response.size).toBeWithin(response.outcome === "denied" ? 0 : 1, 100_000);
      expect(Date.parse(response.time)).toBeGreaterThanOrEqual(Date.parse(request?.time ?? ""));
    }
  });

  test("keep arguments without what looks like a secret", () => {
    expect(requestOf("read_thing")?.arguments).toEqual({
      path: "/tmp/x",
      api_key: "<redacted>",
      nested: { password: "<redacted>", list: [1] },
    });
  });

  test("say of a denied call what it was and why", () => {
    expect(requestOf("write_thing")).toMatchObject({ success: false, arguments: { text: "no" } });
    expect(requestOf("write_thing")?.error).toContain('tool "write_thing" of app "echo"');
  });

  test("cut arguments over 16 KiB, with size and digest of the whole", () => {
    const json = JSON.stringify({ text: "x".repeat(20_000), token: "hush" });
    const cut = events.find((each) => each.arguments?._truncated !== undefined)?.arguments;
    expect(cut).toMatchObject({
      _truncated: true,
      size: json.length,
      sha256: createHash("sha256").update(json).digest("hex"),
      preview: { token: "<redacted>" },
    });
    expect(JSON.stringify(cut).length).toBeLessThan(4096);
  });

  test("never hold a secret anywhere, nor a result", async () => {
    const all = await cluster.place.ok(["audit", "export", "--format=jsonl"]);
    for (const secret of ["sk-live-1", "hush", '"p"', "correct horse"]) expect(all).not.toContain(secret);
    expect(all).not.toContain("serverInfo");
  });
});

test("a line that is no message is refused, recorded, and the session goes on", async () => {
  await using client = new RawClient(cluster, "bob", "echo");
  await client.initialize();
  const calls = () => cluster.seen().filter((line) => line.includes("tools/call"));
  const before = calls().length;
  const refused = client.answerTo(77);
  client.send('{"jsonrpc":"2.0","id":77,"method":"tools/call","method":"ping","params":{"name":"write_thing"}}');
  client.send("this is no JSON");
  expect((await refused).error).toBeDefined();
  expect((await client.call("echo", { still: "here" })).result).toBeDefined();
  expect(calls().slice(before)).toHaveLength(1);
  await client.end();
  const invalid = await cluster.eventsOnce((found) => found.length === 2, "--event=mcp.session.invalid");
  for (const event of invalid) expect(event).toMatchObject({ from: "client", user: "bob", success: false });
});

describe("failures are there too", () => {
  test("a failed login, and an app out of reach", async () => {
    const flags = [`--proxy=${cluster.address}`, "--user=bob", `--ca-pin=${cluster.pin}`, "--password-stdin"];
    const failed = await cluster.place.cli(["client", "login", ...flags], {
      home: cluster.home("thief"),
      stdin: "guess\n",
    });
    expect(failed.code).toBe(1);
    const logins = await cluster.events("--event=user.login", "--user=bob");
    expect(logins.at(-1)).toMatchObject({ success: false, error: "wrong user name or password", remote: "127.0.0.1" });
    expect(logins[0]).toMatchObject({ success: true });

    await using client = new RawClient(cluster, "bob", "nothing");
    await client.initialize();
    const starts = await cluster.events("--event=mcp.session.start", "--app=nothing");
    expect(starts).toMatchObject([
      { user: "bob", success: false, error: 'no such app "nothing", or you may not reach it' },
    ]);
  });
});

describe("audit ls", () => {
  test("filters by user, app, event and time, and has the newest with a limit", async () => {
    const all = await cluster.events();
    const times = all.map(({ time }) => time);
    expect(times).toEqual(times.toSorted());
    const bob = await cluster.events("--user=bob");
    expect(bob).toEqual(all.filter(({ user }) => user === "bob"));
    const both = ["--user=bob", "--app=echo", "--event=mcp.session.request,mcp.session.response"];
    const some = await cluster.events(...both);
    expect(some.length).toBeGreaterThan(5);
    expect(new Set(some.map(({ event }) => event))).toEqual(new Set(["mcp.session.request", "mcp.session.response"]));
    expect(await cluster.events(...both, "--limit=3")).toEqual(some.slice(-3));
    expect(await cluster.events(...both, "--since=1h")).toEqual(some);
    const since = some[4]?.time ?? "";
    expect(await cluster.events(...both, `--since=${since}`)).toEqual(some.filter(({ time }) => time >= since));
    expect(await cluster.events("--since=2999-01-01")).toEqual([]);
    expect(await cluster.events("--user=nobody-at-all")).toEqual([]);
  });

  test("has a table for people", async () => {
    const { stdout, code } = await cluster.place.cli(["audit", "ls", "--user=bob", "--event=mcp.session.request"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Time \(UTC\) +Event +User +App +Details\n-+ -+ -+ -+ -+\n/);
    expect(stdout).toContain("tools/call write_thing");
    const none = await cluster.place.cli(["audit", "ls", "--user=nobody-at-all"]);
    expect(none).toMatchObject({ code: 0, stderr: "mcpgate: no events\n" });
  });

  test("refuses what it does not know", async () => {
    for (const flag of ["--since=yesterday", "--limit=-1", "--format=xml", "--evnt=x"]) {
      const { code, stdout, stderr } = await cluster.place.cli(["audit", "ls", flag]);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr).toMatch(/^mcpgate: error: .*\nmcpgate: hint: .*\n$/);
    }
  });
});

test("audit export is the same events, one a line", async () => {
  const lines = (await cluster.place.ok(["audit", "export", "--format=jsonl", "--user=bob"])).trimEnd().split("\n");
  const exported: AuditEvent[] = lines.map((line) => JSON.parse(line));
  const byUid = (events: AuditEvent[]) => events.toSorted((a, b) => (a.uid < b.uid ? -1 : 1));
  expect(byUid(exported)).toEqual(byUid(await cluster.events("--user=bob")));
});

test("audit tail shows events as they come, and stops at SIGTERM", async () => {
  const tail = cluster.place.start(["audit", "tail", "--format=json", "--app=demo"]);
  // it tells from now on: the first call may be before its "now"
  await using client = new RawClient(cluster, "alice", "demo");
  await client.initialize();
  await eventually(async () => {
    await client.call("echo", { message: "tell" });
    return tail.stdout().includes('"tool":"echo"');
  });
  const lines = tail.stdout().trimEnd().split("\n");
  for (const line of lines) expect(JSON.parse(line)).toMatchObject({ app: "demo", user: "alice" });
  await client.end();
  expect(await tail.stop()).toBe(0);
  expect(tail.stderr()).toBe("");
});

test("an auditor reads the log from anywhere, and does nothing else", async () => {
  await cluster.addUser("carol", ["auditor"]);
  const away = { env: { MCPGATE_CONFIG: cluster.place.file("empty.yaml", "version: v1\n") } };
  const seen = await cluster.as("carol", ["audit", "ls", "--format=json", "--user=bob", "--limit=2"], away);
  expect(JSON.parse(seen.stdout)).toHaveLength(2);
  const refused = await cluster.as("carol", ["users", "ls"], away);
  expect(refused).toMatchObject({ code: 1, stdout: "" });
  expect(refused.stderr).toContain("your roles do not let you list users");
  const bob = await cluster.as("bob", ["audit", "ls"], away);
  expect(bob).toMatchObject({ code: 1, stdout: "" });
});
