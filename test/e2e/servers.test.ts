/** What an app's configuration promises about its server: whose account, which secrets, how long, and what is told. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type AppDocument, Cluster, FIXTURES, isRoot, knownApps, NODE, OTHER, type Place, SELF } from "./harness.ts";
import { type Answer, RawClient } from "./mcp.ts";
import { eventually } from "./processes.ts";

const KEY = 'hunter2-"hunter2"-é';
const GUEST = isRoot ? OTHER.name : SELF;

let cluster: Cluster;

beforeAll(async () => {
  const app = (name: string, mcp: Record<string, unknown>) => (place: Place) => {
    place.file("key", `${KEY}\n`);
    copyFileSync(join(FIXTURES, "servers/leaky.mjs"), place.path("leaky.mjs"));
    chmodSync(place.path("leaky.mjs"), 0o755);
    const defaults = {
      command: NODE,
      args: [place.path("leaky.mjs")],
      env: { KEY: `file:${place.path("key")}` },
      run_as_host_user: SELF,
    };
    return { name, labels: {}, description: "", mcp: { ...defaults, ...mcp } } as unknown as AppDocument;
  };
  const personal = (place: Place) => {
    const { demo } = knownApps(place);
    return { ...demo, name: "personal", mcp: { ...demo.mcp, run_as_host_user: "{{user.traits.unix_login}}" } };
  };
  cluster = await Cluster.start({
    apps: [
      "demo",
      personal,
      app("masks", {}),
      app("blocks", { secrets: "block" }),
      app("allows", { secrets: "allow" }),
      app("slow", { command: "sleep", args: ["1000"], limits: { start_timeout: "1s" } }),
      (place: Place) =>
        app("late", { command: "sh", args: ["-c", `sleep 6; exec ${NODE} ${place.path("leaky.mjs")}`] })(place),
      app("idle", { limits: { idle_timeout: "1s" } }),
      app("short", { limits: { session_timeout: "2s" } }),
      app("few", { limits: { sessions_per_user: 1, sessions_per_app: 2 } }),
      app("none", { command: "no-such-command" }),
      app("unset", { env: { KEY: "env:MCPGATE_TEST_NOT_SET" } }),
    ],
    users: { alice: ["mcp-user"], bob: ["mcp-user"] },
    appService: { allow_host_users: [GUEST] },
  });
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

async function open(app: string, user = "alice"): Promise<RawClient> {
  const client = new RawClient(cluster, user, app);
  const { error } = await client.initialize();
  if (error !== undefined) throw new Error(error.message);
  return client;
}

const refused = async (app: string, user = "alice"): Promise<string> => {
  await using client = new RawClient(cluster, user, app);
  return (await client.initialize()).error?.message ?? "it opened";
};

const text = ({ result }: Answer): string => (result as { content: { text: string }[] }).content[0]?.text ?? "";

describe("a secret of the server's", () => {
  test("is masked in its answers", async () => {
    await using client = await open("masks");
    expect(text(await client.call("echo"))).toBe("the key is <redacted>");
    await client.end();
  });

  test("blocks the answer where the app says so", async () => {
    await using client = await open("blocks");
    const { error } = await client.call("echo");
    expect(error?.message).toContain("withheld");
    expect(JSON.stringify(error)).not.toContain("hunter2");
    await client.end();
  });

  test("passes where the app says so", async () => {
    await using client = await open("allows");
    expect(text(await client.call("echo"))).toBe(`the key is ${KEY}`);
    await client.end();
  });

  test("is masked in the last words of a crash, in the agent's log, and in the audit log; it is in no file", async () => {
    await using client = await open("masks");
    const { error } = await client.call("die", { note: `is it ${KEY}?` });
    expect(error?.message).toContain("the server exited with code 3");
    expect(error?.message).toContain("fatal: can't log in with <redacted>");
    await client.end();
    expect(cluster.agent.stderr()).toContain("can't log in with <redacted>");
    const events = await cluster.eventsOnce((all) => all.some(({ tool }) => tool === "die"), "--app=masks");
    expect(events.find(({ tool }) => tool === "die")?.arguments).toEqual({ note: "is it <redacted>?" });
    for (const seen of [cluster.agent.stderr(), cluster.proxy.stderr(), JSON.stringify(events)]) {
      expect(seen).not.toContain("hunter2");
    }
    for (const path of readdirSync(cluster.place.dir, { recursive: true, encoding: "utf8" })) {
      if (path === "key" || !/agent|proxy/.test(path)) continue;
      const content = await Bun.file(cluster.place.path(path))
        .bytes()
        .catch(() => new Uint8Array());
      expect(`${path} ${Buffer.from(content).includes("hunter2")}`).toBe(`${path} false`);
    }
  });

  test("that can't be read stops the start, and is named by its place", async () => {
    expect(await refused("unset")).toContain("mcp.env: KEY: the agent's environment has no MCPGATE_TEST_NOT_SET");
  });
});

describe("run_as_host_user as a template", () => {
  test("is the person's own account, where the agent allows it", async () => {
    expect(await refused("personal")).toContain('user alice has no "unix_login"');
    await cluster.place.ok(["users", "update", "alice", `--set-trait=unix_login=${GUEST}`]);
    await cluster.place.ok(["users", "update", "bob", "--set-trait=unix_login=daemon"]);
    await using client = await open("personal");
    expect(JSON.parse(text(await client.call("read_host_info"))).host_user).toBe(GUEST);
    await client.end();
    expect(await refused("personal", "bob")).toContain('host user "daemon" is not among those');
    // Whose account it isn't is no fault of the app's, which others go on using.
    const status = ["agent", "status", "--format=json", "-c", cluster.place.path("agent.yaml")];
    const { apps } = JSON.parse(await cluster.place.ok(status));
    expect(apps.find(({ app }: { app: string }) => app === "personal")).toMatchObject({ state: "ok" });
  });
});

describe("a session", () => {
  test("whose server never answers ends after start_timeout", async () => {
    expect(await refused("slow")).toContain("gave no answer within 1 s");
  });

  test("whose server starts slowly tells whoever asked for progress", async () => {
    await using client = new RawClient(cluster, "alice", "late");
    const clientInfo = { name: "e2e", version: "1" };
    const { result } = await client.request("initialize", {
      ...{ protocolVersion: "2025-11-25", capabilities: {}, clientInfo },
      _meta: { progressToken: "starting" },
    });
    expect(result).toBeDefined();
    const progress = client.lines
      .map((line) => JSON.parse(line))
      .filter(({ method }) => method === "notifications/progress");
    expect(progress[0]?.params).toMatchObject({ progressToken: "starting", message: "the MCP server is starting" });
    await client.end();
  }, 20_000);

  test("in which nothing happens ends after idle_timeout", async () => {
    await using client = await open("idle");
    await eventually(async () => (await cluster.sessions()).every(({ app }) => app !== "idle"));
    const ends = await cluster.eventsOnce((all) => all.length > 0, "--event=mcp.session.end", "--app=idle");
    expect(ends[0]?.details?.reason).toContain("idle_timeout");
    await client.end();
  });

  test("with an open request is not idle", async () => {
    await using client = await open("idle");
    const hangs = client.call("hang");
    await Bun.sleep(2_500);
    expect((await cluster.sessions()).some(({ app }) => app === "idle")).toBe(true);
    client.kill("SIGTERM");
    await hangs;
  });

  test("ends after session_timeout, whatever happens in it", async () => {
    await using client = await open("short");
    expect((await client.call("hang")).error?.message).toContain("session_timeout");
  });

  test("over the limit of a user, or of an app, is refused", async () => {
    await cluster.addUser("carol", ["mcp-user"]);
    await using one = await open("few");
    expect(await refused("few")).toContain('alice has 1 sessions on "few"');
    await using two = await open("few", "bob");
    expect(await refused("few", "carol")).toContain('the agent has 2 sessions on "few"');
    await one.end();
    await eventually(async () => (await cluster.sessions()).filter(({ app }) => app === "few").length === 1);
    await using three = await open("few");
    await Promise.all([two.end(), three.end()]);
  });
});

test("an app's health is in client ls --verbose, in the API, and in agent status", async () => {
  expect(await refused("none")).toContain('"no-such-command" isn\'t in the PATH');
  await using client = await open("allows");
  await client.call("echo");
  await client.end();
  const ls = await eventually(async () => {
    const { stdout } = await cluster.as("alice", ["client", "ls", "--verbose"]);
    return /^allows .* ok$/m.test(stdout) ? stdout : undefined;
  });
  expect(ls).toMatch(/^none .* failing since .*: command "no-such-command" isn't in the PATH/m);
  const apps = JSON.parse((await cluster.as("alice", ["client", "ls", "--format=json"])).stdout);
  const state = (name: string) => apps.find((app: { name: string }) => app.name === name).health.state;
  expect([state("allows"), state("none")]).toEqual(["ok", "failing"]);
  expect((await cluster.as("alice", ["client", "ls"])).stdout).not.toContain("failing");
  const status = await cluster.place.ok(["agent", "status", "-c", cluster.place.path("agent.yaml")]);
  expect(status).toMatch(/^none +\d+ +\d+ +failing/m);
});

/** Answers to every request with its id alone. */
const EMPTY = `while read -r line; do id=\${line#*'"id":'}; echo '{"jsonrpc":"2.0","id":'\${id%%,*}'}'; done`;

describe("agent check", () => {
  const check = async (...args: string[]) => {
    const { code, stdout, stderr } = await cluster.place.cli(["agent", "check", ...args, "-c", "agent.yaml"]);
    return { code, stdout, stderr };
  };

  test("says what is wrong with an app, and what to do; it does not touch the agent that runs", async () => {
    await using client = await open("masks");
    const names = ["masks", "none", "slow", "unset"];
    const [masks, none, slow, unset] = await Promise.all(names.map((name) => check(name)));
    expect(masks).toMatchObject({ code: 0, stderr: "" });
    expect(masks?.stdout).toMatch(/^masks +ok +2025-11-25 /m);
    for (const each of [none, slow, unset]) {
      expect(each?.code).toBe(1);
      expect(each?.stdout).toMatch(/ failing/);
      expect(each?.stderr).toContain("mcpgate: hint: ");
    }
    expect(none?.stderr).toContain('none: command "no-such-command" isn\'t in the PATH');
    expect(slow?.stderr).toContain("slow: it does not answer initialize within 1 s");
    expect(unset?.stderr).toContain("unset: mcp.env: KEY: ");
    expect(text(await client.call("echo"))).toBe("the key is <redacted>");
    await client.end();
  }, 20_000);

  test("of one app that is well exits with 0", async () => {
    const { code, stdout } = await check("demo", "--format=json");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject([{ app: "demo", ok: true, revision: "2026-07-28", problems: [] }]);
    expect((await check("nothing")).stderr).toContain('no app "nothing"');
  });

  test("tells a crash's last words, and junk on stdout", async () => {
    const crash = { command: join(FIXTURES, "servers/crash.sh"), run_as_host_user: SELF };
    const junk = { command: NODE, args: [join(FIXTURES, "servers/junk.mjs")], run_as_host_user: SELF };
    const leaks = { command: "echo", args: ["key is topsecret-123"], env: { API_KEY: "topsecret-123" } };
    const path = cluster.place.file("broken.yaml", {
      app_service: {
        apps: [
          { name: "crash", mcp: crash },
          { name: "junk", mcp: junk },
          { name: "leaks", mcp: { ...leaks, run_as_host_user: SELF } },
          // What only sends back what it is sent has no answer in it, though it looks like JSON-RPC.
          { name: "echo", mcp: { command: "cat", run_as_host_user: SELF } },
          { name: "flood", mcp: { command: "yes", run_as_host_user: SELF } },
          { name: "empty", mcp: { command: "sh", args: ["-c", EMPTY], run_as_host_user: SELF } },
        ],
      },
    });
    const { code, stderr } = await cluster.place.cli(["agent", "check", "-c", path]);
    expect(code).toBe(1);
    expect(stderr).toContain("crash: the server exited with code 3; its last words:");
    expect(stderr).toContain("fatal: no database");
    expect(stderr).toContain('junk: it prints 4 lines on stdout that MCP knows nothing of, such as "Welcome to junk');
    expect(stderr).toContain(
      'leaks: it prints a line on stdout that MCP knows nothing of, such as "key is <redacted>"',
    );
    expect(stderr).toContain("echo: it is no MCP server: it sends back what it is sent (initialize)");
    expect(stderr).toContain("flood: it prints 10000 lines and more on stdout without an answer among them");
    expect(stderr).toContain("empty: its answer to initialize has neither a result nor an error");
  });
});
