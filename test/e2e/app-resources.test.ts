/**
 * Apps that an admin writes down at the proxy while everything runs: agents pick them up where their own file lets them, and
 * nowhere else; sessions spread over the agents that offer them, and new ones go elsewhere when one of these is gone.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { type AppDocument, Cluster, FIXTURES, NODE, type Place, SELF, writeAgentConfig } from "./harness.ts";
import { RawClient, textOf } from "./mcp.ts";
import { descendants, eventually, isAlive, type Service } from "./processes.ts";

setDefaultTimeout(30_000);

const STATEFUL = join(FIXTURES, "servers/stateful.mjs");

let cluster: Cluster;
/** The agents beside the cluster's own, which is `one`. */
const others = new Map<string, Service>();

const opened = {
  resources: [{ labels: { env: ["dev", "test"] } }],
  allow_commands: [[NODE, STATEFUL, "**"]],
  allow_host_users: [SELF],
};

interface More extends Record<string, unknown> {
  /** Further arguments, which change nothing. */
  marks?: string[];
  labels?: Record<string, string>;
}

/** An app resource; the rest of `more` goes into `spec.mcp`. */
const resource = (name: string, { marks = [], labels = { env: "dev" }, ...mcp }: More = {}) => ({
  kind: "app",
  version: "v3",
  metadata: { name, description: `${name}, from the proxy`, labels },
  spec: { mcp: { command: NODE, args: [STATEFUL, cluster.place.dir, ...marks], run_as_host_user: SELF, ...mcp } },
});

const create = (document: object, ...flags: string[]) =>
  cluster.place.cli(["create", "-f", "-", ...flags], { stdin: stringify(document) });

async function created(document: object, ...flags: string[]): Promise<string> {
  const { code, stderr } = await create(document, ...flags);
  expect({ code, stderr }).toEqual({ code: 0, stderr });
  return stderr;
}

const remove = (name: string) => cluster.place.ok(["rm", `app/${name}`]);

function writeAgent(name: string, service: object, apps: Parameters<typeof writeAgentConfig>[2] = []): string {
  const { place, address, pin } = cluster;
  const token = place.path("token");
  const path = writeAgentConfig(place, { address, pin, token }, apps, `${name}.yaml`, place.path(name), service);
  return place.file(
    `${name}.yaml`,
    readFileSync(path, "utf8").replace("mcpgate:\n", `mcpgate:\n  nodename: ${name}\n`),
  );
}

async function startAgent(name: string): Promise<void> {
  const agent = cluster.place.start(["agent", "start", "-c", cluster.place.path(`${name}.yaml`)]);
  others.set(name, agent);
  await agent.ready;
}

const log = (name: string): string => (name === "one" ? cluster.agent : others.get(name))?.stderr() ?? "";

async function connect(app: string, user = "alice"): Promise<RawClient> {
  const client = new RawClient(cluster, user, app);
  const { error } = await client.initialize();
  if (error === undefined) return client;
  await client.end();
  throw new Error(error.message);
}

const pidOf = async (client: RawClient): Promise<number> => Number(textOf((await client.call("pid")).result ?? {}));
const sessionsOf = async (app: string): Promise<string[]> =>
  JSON.parse(await cluster.place.ok(["sessions", "ls", "--format=json"]))
    .filter((each: { app: string }) => each.app === app)
    .map(({ agent }: { agent: string }) => agent)
    .sort();

interface AgentWord {
  agent: string;
  state: string;
  reason?: string;
}
const words = async (app: string): Promise<AgentWord[]> =>
  JSON.parse(await cluster.place.ok(["get", `app/${app}`, "--verbose", "--format=json"])).agents;

/** Of an agent's own file. */
const own =
  (name: string, { labels = { env: "dev" } as Record<string, string>, script = STATEFUL } = {}) =>
  (place: Place): AppDocument & { shared: boolean } => ({
    name,
    shared: true,
    labels,
    mcp: { command: NODE, args: [script], run_as_host_user: SELF, env: { MCPGATE_TEST: place.dir } },
  });

beforeAll(async () => {
  cluster = await Cluster.start({
    apps: [own("own"), own("frail"), own("mixed")],
    appService: opened,
    roles: [
      {
        kind: "role",
        version: "v8",
        metadata: { name: "dev" },
        spec: { allow: { app_labels: { env: "dev" }, mcp: { tools: ["*"] } } },
      },
    ],
    users: { alice: ["mcp-user"], bob: ["dev"] },
  });
  // Its own name is the host's.
  const apps = [own("frail", { script: "/nowhere.mjs" }), own("mixed", { labels: { env: "secret" } })];
  writeAgent(
    "two",
    opened,
    apps.map((app) => app(cluster.place)),
  );
  writeAgent("closed", { resources: [{ labels: { "*": "*" } }] });
  const named = { ...own("named")(cluster.place), shared: false };
  writeAgent("deaf", { allow_commands: [[NODE, "**"]], allow_host_users: [SELF] }, [named]);
  await Promise.all(["two", "closed", "deaf"].map(startAgent));
});

afterAll(async () => {
  await Promise.all([...others.values()].map((agent) => agent.stop()));
  expect(await cluster.stop()).toEqual([]);
});

const one = async (): Promise<string> =>
  (JSON.parse(await cluster.place.ok(["agents", "ls", "--format=json"])) as { name: string }[]).find(
    ({ name }) => !others.has(name),
  )?.name ?? "";

describe("an app of the proxy's", () => {
  test("runs where the agent's file admits it, and nowhere else; whoever made it hears of each", async () => {
    const began = Date.now();
    const stderr = await created(resource("fresh"));
    expect(stderr).toContain(`agent ${await one()} offers it`);
    expect(stderr).toContain("agent two offers it");
    expect(stderr).toMatch(
      /agent closed refuses it: app_service\.allow_commands on the agent's host does not cover \S+node/,
    );
    expect(stderr).not.toContain("deaf");
    await using client = await connect("fresh");
    expect(await pidOf(client)).toBeGreaterThan(0);
    expect(Date.now() - began).toBeLessThan(5_000);

    const ls = await cluster.place.cli(["apps", "ls"]);
    expect(ls.stdout).toMatch(/fresh +two +online +resource/);
    expect(ls.stderr).toContain("agent closed refuses fresh: app_service.allow_commands");
    expect(log("closed")).toContain("app_resource.refused");
    expect(log("deaf")).not.toContain("fresh");
    const document = await cluster.place.ok(["get", "app/fresh", "--verbose"]);
    expect(document).toContain("# agent closed refuses it: app_service.allow_commands");
    // What was printed is what may be created again.
    expect((await create(JSON.parse(JSON.stringify(resource("fresh"))), "--force")).code).toBe(0);
    const events = await cluster.events("--app=fresh");
    expect(events.filter(({ event }) => event.startsWith("app."))).toMatchObject([
      { event: "app.create", details: { command: [NODE, STATEFUL, cluster.place.dir], run_as_host_user: SELF } },
      { event: "app.refuse", agent: "closed", success: false },
      { event: "app.update" },
      { event: "app.refuse", agent: "closed" },
    ]);
    await remove("fresh");
  });

  test("is picked up within a second", async () => {
    await created(resource("quick"));
    const [made] = await cluster.events("--app=quick", "--event=app.create");
    const offered = /^(\S+) .*apps\.changed.*added=quick/m.exec(log("two"))?.[1] ?? "";
    expect(Date.parse(offered) - Date.parse(made?.time ?? "")).toBeLessThan(1_000);
    await remove("quick");
  });

  test("hostile ones run nowhere, and say where they were stopped", async () => {
    const canary = cluster.place.path("canary");
    const script = `echo run >${canary}; sleep 100`;
    const hostile: [Record<string, unknown>, RegExp][] = [
      [{ command: "/bin/sh", args: ["-c", script] }, /allow_commands .* does not cover \/bin\/sh -c/],
      [{ command: "sh", args: ["-c", script] }, /allow_commands/],
      [{ command: NODE, args: ["-e", `require("fs").writeFileSync("${canary}", "")`] }, /allow_commands/],
      [{ command: NODE, args: ["--import=data:text/javascript,0", STATEFUL] }, /allow_commands/],
      [{ command: "node", args: [STATEFUL] }, /allow_commands/],
      [{ command: `${NODE}/../node`, args: [STATEFUL] }, /allow_commands/],
      [{ command: NODE, args: ["", STATEFUL] }, /allow_commands/],
      [{ cwd: "/tmp" }, /allow_cwd .* does not list \/tmp/],
      [{ run_as_host_user: "daemon" }, /allow_host_users .* does not list daemon/],
      [{ run_as_host_user: "0" }, /allow_host_users/],
      [{ warm: 3, command: "sh", args: ["-c", script] }, /allow_commands/],
    ];
    for (const [mcp, why] of hostile) {
      const stderr = await created(resource("evil", mcp), "--force");
      expect(stderr).not.toContain("offers it");
      const refused = (await words("evil")).filter(({ state }) => state === "refused");
      expect(refused).toHaveLength(3);
      for (const { agent, reason } of refused) if (agent !== "closed") expect(reason).toMatch(why);
    }
    await expect(connect("evil")).rejects.toThrow(/no such app/);
    expect(existsSync(canary)).toBe(false);
    await remove("evil");
  });

  test("what must not stand in one is refused where it is written", async () => {
    const wrong: [object, RegExp][] = [
      [
        resource("bad", { env: { LD_PRELOAD: "/tmp/evil.so" } }),
        /standard input:\d+:\d+: spec\.mcp\.env: stands in the agent's own file only/,
      ],
      [resource("bad", { comand: "x" }), /spec\.mcp\.comand: unknown key[\s\S]*did you mean: command/],
      [resource("bad", { secrets: "allow" }), /spec\.mcp\.secrets: stands/],
      [{ ...resource("bad"), spec: { uri: "mcp+http://localhost" } }, /spec\.uri: is not for mcpgate/],
      [{ ...resource("bad"), spec: { dynamic_labels: {} } }, /spec\.dynamic_labels: is not taken/],
      [resource("bad", { run_as_host_user: "" }), /spec\.mcp\.run_as_host_user: is empty/],
      [resource("bad", { args: [{ command: "x" }] }), /spec\.mcp\.args\.0: expected a string/],
      [{ ...resource("bad"), version: "v8" }, /version: expected v3/],
      [{ ...resource("bad"), kind: "apps" }, /did you mean: kind: app/],
    ];
    for (const [document, message] of wrong) {
      const { code, stderr } = await create(document);
      expect(stderr).toMatch(message);
      expect(code).toBeGreaterThan(0);
    }
    expect((await cluster.place.cli(["get", "app/bad"])).code).toBe(1);
  });

  test("changed: live sessions go on as they are, new ones get the new one, other apps notice nothing", async () => {
    await created(resource("turn"));
    await created(resource("still"));
    await using before = await connect("turn");
    await using still = await connect("still");
    const [pid, other] = [await pidOf(before), await pidOf(still)];

    expect((await create(resource("turn"))).stderr).toContain("there is an app turn already");
    await created(resource("turn", { marks: ["changed"] }), "--force");
    await using after = await connect("turn");
    const fresh = await pidOf(after);
    expect(readFileSync(`/proc/${fresh}/cmdline`, "utf8")).toContain("changed");
    expect(await pidOf(before)).toBe(pid);
    expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).not.toContain("changed");
    expect(await pidOf(still)).toBe(other);
    await remove("turn");
    await remove("still");
  });

  test("relabelled: whoever may not reach it any more is out, the others stay", async () => {
    await created(resource("label"));
    await using alice = await connect("label");
    await using bob = await connect("label", "bob");
    const [pid, gone] = [await pidOf(alice), await pidOf(bob)];
    await created(resource("label", { labels: { env: "test" } }), "--force");
    await eventually(() => !isAlive(gone));
    expect(await pidOf(alice)).toBe(pid);
    await expect(connect("label", "bob")).rejects.toThrow(/no such app/);
    await remove("label");
  });

  test("removed: its sessions end with a word, and no other does", async () => {
    await created(resource("short"));
    await using client = await connect("short");
    await using own = await connect("own");
    const [pid, other] = [await pidOf(client), await pidOf(own)];
    const waiting = client.call("wait", { file: cluster.place.path("never") });
    await Bun.sleep(100);
    expect(await remove("short")).toBe('app "short" has been deleted\n');
    expect((await waiting).error?.message).toContain("the app was removed");
    await eventually(() => !isAlive(pid));
    expect((await client.call("pid")).error?.message).toContain('no such app "short"');
    expect(await pidOf(own)).toBe(other);
    const [end] = await cluster.eventsOnce((events) => events.length > 0, "--app=short", "--event=mcp.session.end");
    expect(end?.details).toMatchObject({ reason: "the app was removed" });
    expect((await cluster.place.cli(["rm", "app/short"])).stderr).toContain("there is no app resource short");
  });

  test("an app of the agent's own file wins there, and its sessions don't notice", async () => {
    await using before = await connect("own");
    const pid = await pidOf(before);
    const stderr = await created(resource("own"));
    expect(stderr).toContain(`agent ${await one()} refuses it: the agent's own file has an app of this name`);
    expect(stderr).toContain("agent two offers it");
    expect(await pidOf(before)).toBe(pid);
    // Both are shared: sessions go to both.
    await using after = await connect("own");
    expect(await sessionsOf("own")).toEqual([await one(), "two"].sort());
    await remove("own");
    expect(await pidOf(before)).toBe(pid);
    // The client opens another session by itself, where the app still is.
    expect(await pidOf(after)).toBeGreaterThan(0);
    expect(await sessionsOf("own")).toEqual([await one(), await one()]);
  });
});

describe("over two agents", () => {
  beforeAll(async () => {
    await created(resource("pair"));
  });
  afterAll(async () => {
    await remove("pair");
  });

  test("sessions spread, and go elsewhere when one is gone; one that comes back gets its share", async () => {
    const clients = await Promise.all(Array.from({ length: 2 }, () => connect("pair")));
    clients.push(await connect("pair"), await connect("pair"));
    expect(await sessionsOf("pair")).toEqual([await one(), await one(), "two", "two"].sort());

    await others.get("two")?.stop("SIGKILL");
    const late = await connect("pair");
    // Clients whose agent was killed go on with another session, on the other one.
    for (const client of [...clients, late]) expect(await pidOf(client)).toBeGreaterThan(0);
    const here = await one();
    expect((await sessionsOf("pair")).filter((agent) => agent === here)).toHaveLength(5);
    await Promise.all([...clients, late].map((client) => client.end()));

    await startAgent("two");
    await eventually(async () => (await sessionsOf("pair")).length === 0);
    const again = await Promise.all([connect("pair"), connect("pair")]);
    expect(await sessionsOf("pair")).toEqual([await one(), "two"].sort());
    await Promise.all(again.map((client) => client.end()));
  });

  test("an agent that drains gets no new sessions, and finishes those that it has", async () => {
    await eventually(async () => (await sessionsOf("pair")).length === 0);
    const clients = await Promise.all([connect("pair"), connect("pair")]);
    const file = cluster.place.path("drained");
    const answers = clients.map((client) => client.call("wait", { file }));
    await Bun.sleep(100);
    const stopped = others.get("two")?.stop();
    await eventually(() => log("two").includes("agent.draining"));
    // It has the fewest sessions, and refuses.
    const late = await Promise.all([connect("pair"), connect("pair"), connect("pair")]);
    const [agent] = await cluster.events("--app=pair", "--event=mcp.session.end", "--limit=1");
    expect(agent?.details?.reason).toContain("the agent stops; it goes to the agent");
    await cluster.place.file("drained", "");
    for (const answer of answers) expect(textOf((await answer).result ?? {})).toContain("waited");
    expect(await stopped).toBe(0);
    for (const client of late) expect(await pidOf(client)).toBeGreaterThan(0);
    await Promise.all([...clients, ...late].map((client) => client.end()));
    await startAgent("two");
  });

  test("a limit of one agent is no limit of the other, and where all are full it is said", async () => {
    await created(resource("few", { limits: { sessions_per_app: 1 } }));
    const first = await connect("few");
    const second = await connect("few");
    expect(await sessionsOf("few")).toEqual([await one(), "two"].sort());
    await expect(connect("few")).rejects.toThrow(/has 1 sessions on "few"/);
    await Promise.all([first.end(), second.end()]);
    await remove("few");
  });

  test("one whose servers fail is left out for a while", async () => {
    const clients: RawClient[] = [];
    let failed = 0;
    // The second at the latest comes to the agent whose server ends at once; from then on there is only the other one.
    while (clients.length < 5) {
      const client = await connect("frail").catch((error: Error) => error);
      if (client instanceof RawClient) clients.push(client);
      else expect([client.message, ++failed]).toEqual([expect.stringContaining("the server exited with code 1"), 1]);
    }
    expect(failed).toBe(1);
    expect(await sessionsOf("frail")).toEqual(Array(5).fill(await one()));
    await Promise.all(clients.map((client) => client.end()));
  });

  test("where their offers differ, each person gets those that they may reach", async () => {
    const clients = [];
    for (let i = 0; i < 3; i++) clients.push(await connect("mixed", "bob"));
    expect(await sessionsOf("mixed")).toEqual(Array(3).fill(await one()));
    clients.push(await connect("mixed"));
    expect(await sessionsOf("mixed")).toContain("two");
    await Promise.all(clients.map((client) => client.end()));
  });
});

describe("what an agent's file admits may change", () => {
  test("a rule less: its sessions end and hear why, and who made the app can see it", async () => {
    await created(resource("ruled"));
    await using client = await connect("ruled");
    const [agent] = await sessionsOf("ruled");
    const name = agent === "two" ? "two" : "agent";
    const pid = await pidOf(client);
    const waiting = client.call("wait", { file: cluster.place.path("never") });
    await Bun.sleep(100);
    const file = `${name}.yaml`;
    const before = readFileSync(cluster.place.path(file), "utf8");
    const reload = (text: string) => {
      cluster.place.file(file, text);
      process.kill((name === "two" ? others.get("two") : cluster.agent)?.pid ?? 0, "SIGHUP");
    };
    reload(before.replace('"**"', "nothing"));
    expect((await waiting).error?.message).toContain(
      "its agent does not run the app any more: app_service.allow_commands",
    );
    await eventually(() => !isAlive(pid));
    await eventually(async () => (await words("ruled")).filter(({ state }) => state === "refused").length === 2);
    reload(before);
    await eventually(async () => (await words("ruled")).filter(({ state }) => state === "offered").length === 2);
    await remove("ruled");
  });

  test("a name that another agent's own app has is free when that app goes", async () => {
    const stderr = await created(resource("named"));
    expect(stderr).toContain(
      "agent two refuses it: the name belongs to the agent deaf, whose own app is not declared shared",
    );
    await using client = await connect("named");
    expect(await sessionsOf("named")).toEqual(["deaf"]);
    const file = readFileSync(cluster.place.path("deaf.yaml"), "utf8");
    cluster.place.file("deaf.yaml", file.replace("name: named", "name: renamed"));
    process.kill(others.get("deaf")?.pid ?? 0, "SIGHUP");
    await eventually(async () => (await words("named")).filter(({ state }) => state === "offered").length === 2);
    expect(await pidOf(client)).toBeGreaterThan(0);
    expect(await sessionsOf("named")).not.toContain("deaf");
    await remove("named");
  });

  test("another selector: what it does not name is not there any more, and nobody speaks of it", async () => {
    await created(resource("picked", { labels: { env: "test" } }));
    const before = readFileSync(cluster.place.path("two.yaml"), "utf8");
    const reload = (text: string) => {
      cluster.place.file("two.yaml", text);
      process.kill(others.get("two")?.pid ?? 0, "SIGHUP");
    };
    reload(before.replace("- test", "- stage"));
    await eventually(async () => !(await words("picked")).some(({ agent }) => agent === "two"));
    reload(before);
    await eventually(async () =>
      (await words("picked")).some(({ agent, state }) => agent === "two" && state === "offered"),
    );
    await remove("picked");
  });
});

test("an agent that does not answer is waited for once", async () => {
  await created(resource("mute"));
  const two = others.get("two")?.pid ?? 0;
  const pids = [two, ...descendants(two)];
  for (const pid of pids) process.kill(pid, "SIGSTOP");
  try {
    const began = performance.now();
    const first = [await connect("mute"), await connect("mute")];
    const waited = performance.now() - began;
    expect(waited).toBeGreaterThan(4_000);
    expect(waited).toBeLessThan(9_000);
    expect((await sessionsOf("mute")).every((agent) => agent !== "two")).toBe(true);
    await Promise.all(first.map((client) => client.end()));
  } finally {
    for (const pid of pids.reverse()) process.kill(pid, "SIGCONT");
  }
  // What it was asked meanwhile was taken back.
  await eventually(async () => (await sessionsOf("mute")).length === 0);
  await remove("mute");
});

test("restarts: of the proxy and of the agents; what was made stays, what was removed meanwhile is gone", async () => {
  await created(resource("kept"));
  await created(resource("lost"));
  await using client = await connect("kept");
  const pid = await pidOf(client);
  await cluster.restartProxy();
  expect(await pidOf(client)).toBe(pid);
  await others.get("two")?.stop();
  await cluster.agent.stop();
  await remove("lost");
  // Whoever comes meanwhile may have to come again, and is never told that there is no such app.
  const told = new Set<string>();
  let coming = true;
  const visitor = (async () => {
    while (coming) {
      const visit = await connect("kept").catch((error: Error) => void told.add(error.message));
      await visit?.end();
    }
  })();
  await startAgent("two");
  await cluster.startAgent();
  coming = false;
  await visitor;
  for (const message of told) expect(message).toMatch(/is not connected|connection was lost|does not offer "kept" yet/);
  await using again = await connect("kept");
  expect(await pidOf(again)).toBeGreaterThan(0);
  await expect(connect("lost")).rejects.toThrow(/no such app/);
  expect((await words("kept")).filter(({ state }) => state === "offered")).toHaveLength(2);
  await remove("kept");
});
