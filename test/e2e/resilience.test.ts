/** Nothing hangs: whatever is killed, each request gets its answer or an error that says why, and the next one works. */

import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { type AppDocument, Cluster, FIXTURES, NODE, SELF } from "./harness.ts";
import { type Answer, connectV1, connectV2, RawClient, textOf } from "./mcp.ts";
import { descendants, eventually, isAlive } from "./processes.ts";

// Each of these waits for processes to start and to be missed.
setDefaultTimeout(20_000);

let cluster: Cluster;
let files = 0;

beforeAll(async () => {
  cluster = await Cluster.start({ apps: ["demo"], users: { alice: ["mcp-user"], bob: ["mcp-user"] } });
  const { place } = cluster;
  const app: AppDocument = {
    name: "stateful",
    mcp: {
      command: NODE,
      args: [join(FIXTURES, "servers/stateful.mjs")],
      env: { MCPGATE_TEST: place.dir, INFO: version("1") },
      run_as_host_user: SELF,
    },
  };
  await restartAgent((service) => service.apps.push(app));
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

interface Service {
  apps: AppDocument[];
  resume_window?: string;
}

/** The agent with another configuration. */
async function restartAgent(change: (service: Service) => void): Promise<void> {
  const { place } = cluster;
  const config = parse(readFileSync(place.path("agent.yaml"), "utf8"));
  change(config.app_service);
  place.file("agent.yaml", stringify(config));
  await cluster.agent.stop();
  await cluster.startAgent();
}

/** The version that servers started from now on give themselves. */
const version = (text: string): string => cluster.place.file("version", text, 0o644);
const newFile = (): string => cluster.place.path(`wait-${++files}`);

async function connect(user = "alice"): Promise<RawClient> {
  const client = new RawClient(cluster, user, "stateful");
  await client.initialize();
  return client;
}

function value({ result, error }: Answer): unknown {
  if (result === undefined) throw new Error(error?.message);
  return JSON.parse(textOf(result));
}

const numberOf = (client: RawClient, method: string): number =>
  client.lines.filter((line) => JSON.parse(line).method === method).length;

interface Begun {
  answered: Promise<Answer>;
}

/** A call that the server has, and answers when the file is there. */
async function beginWait(client: RawClient, file: string): Promise<Begun> {
  const before = numberOf(client, "notifications/progress");
  const _meta = { progressToken: file };
  const answered = client.request("tools/call", { name: "wait", arguments: { file }, _meta });
  await eventually(() => numberOf(client, "notifications/progress") > before);
  return { answered };
}

const errorOf = async ({ answered }: Begun) => {
  const { error } = await answered;
  return { code: error?.code, message: error?.message ?? "", data: error?.data };
};

describe("the proxy is killed", () => {
  test("in the middle of a call, which is answered by the same server when another proxy runs", async () => {
    await using client = await connect();
    const pid = value(await client.call("pid"));
    const file = newFile();
    const begun = await beginWait(client, file);
    await cluster.proxy.stop("SIGKILL");
    writeFileSync(file, "");
    const asked = client.call("pid");
    await cluster.startProxy();
    expect(value(await begun.answered)).toBe("waited");
    expect(value(await asked)).toBe(pid);
    const { stderr } = await client.end();
    expect(stderr.match(/connection\.lost/g)).toHaveLength(1);
    expect(stderr.match(/connection\.regained/g)).toHaveLength(1);
  });

  test("and stays away: open calls end after the resume window, and later ones at once", async () => {
    await restartAgent((service) => {
      service.resume_window = "1s";
    });
    await using client = await connect();
    const begun = await beginWait(client, newFile());
    const since = performance.now();
    await cluster.proxy.stop("SIGKILL");
    const { code, message, data } = await errorOf(begun);
    expect(performance.now() - since).toBeWithin(900, 5_000);
    expect(code).toBe(-31001);
    expect(message).toContain("the connection was lost");
    expect(data).toEqual({ code: "unavailable", outcome: "unknown" });
    expect((await client.call("pid")).error?.data?.code).toBe("unreachable");
    await cluster.startProxy();
    await eventually(async () => (await client.call("count")).result !== undefined);
    await restartAgent((service) => {
      service.resume_window = "10m";
    });
  });
});

describe("the agent is killed", () => {
  test("with calls open: they are answered as soon as it is back, and the next request has a new server", async () => {
    await using client = await connect();
    await client.request("logging/setLevel", { level: "info" });
    await client.request("resources/subscribe", { uri: "test://one" });
    expect(value(await client.call("count"))).toBe(1);
    const begun = await beginWait(client, newFile());
    // with all that belongs to it, as when its host loses power: nobody is left to report. Some go by themselves with the first.
    for (const pid of descendants(cluster.agent.pid)) if (isAlive(pid)) process.kill(pid, "SIGKILL");
    await cluster.agent.stop("SIGKILL");
    await cluster.startAgent();
    const since = performance.now();
    const { code, message } = await errorOf(begun);
    expect(performance.now() - since).toBeLessThan(5_000);
    expect(code).toBe(-31001);
    expect(message).toContain("its agent has it no more: it was restarted");
    expect(message).toContain("is not known");

    expect(value(await client.call("count"))).toBe(1);
    expect(value(await client.call("state"))).toEqual({ level: "info", subscriptions: ["test://one"], answers: [] });
    expect(client.lines.some((line) => line.includes("what the server held in memory is lost"))).toBe(true);
    expect(numberOf(client, "notifications/tools/list_changed")).toBe(1);
  });
});

describe("the server ends", () => {
  test("by itself: what is open hears its last words, and the next request has a new one", async () => {
    await using client = await connect();
    const pid = value(await client.call("pid"));
    const begun = await beginWait(client, newFile());
    const { error } = await client.call("die", { code: 3 });
    expect(error?.message).toContain("exited with code 3");
    expect(error?.message).toContain("I was told to die");
    expect((await errorOf(begun)).code).toBe(-31001);
    expect(value(await client.call("pid"))).not.toBe(pid);
    const { code, stderr } = await client.end();
    expect(code).toBe(0);
    expect(stderr).toContain("session.renewed");
  });

  test("and is another one after it: refused until there is a new handshake", async () => {
    await using client = await connect();
    await client.call("die", { code: 0 });
    version("2");
    const { error } = await client.call("pid");
    expect(error?.message).toContain("it was stateful 1 and is stateful 2");
    expect(error?.data).toEqual({ code: "server_changed", hint: "reconnect the server in your MCP client" });
    version("1");
    expect((await client.call("pid")).error?.data?.code).toBe("server_changed");
    expect((await client.initialize()).result).toBeDefined();
    expect((await client.call("pid")).result).toBeDefined();
  });

  test("what it asked the client is cancelled, and a late answer does not reach the next one", async () => {
    await using client = await connect();
    expect(value(await client.call("ask"))).toBe(1);
    await client.call("die", { code: 0 });
    await eventually(() => numberOf(client, "notifications/cancelled") === 1);
    expect(value(await client.call("ask"))).toBe(1);
    const asked = client.lines.map((line) => JSON.parse(line)).filter(({ method }) => method === "roots/list");
    const [old, fresh] = asked.map(({ id }) => id);
    expect(old).toBe(1);
    client.send({ jsonrpc: "2.0", id: old, result: { roots: ["late"] } });
    client.send({ jsonrpc: "2.0", id: fresh, result: { roots: ["right"] } });
    expect(value(await client.call("state"))).toMatchObject({ answers: [{ roots: ["right"] }] });
  });
});

describe("an SDK's client goes on with a new server", () => {
  /** Kills the server that answered; the client's own next call is for another one. */
  async function killServer(call: () => Promise<object>): Promise<number> {
    const { pid } = JSON.parse(textOf(await call()));
    process.kill(pid, "SIGKILL");
    // a call that the agent passes on before it notices is one whose outcome nobody knows
    await eventually(async () => (await cluster.sessions()).every(({ app }) => app !== "demo"));
    return pid;
  }

  test("with the handshake repeated for it", async () => {
    await using client = await connectV1(cluster, "alice", "demo");
    const call = () => client.callTool({ name: "read_host_info", arguments: {} });
    const pid = await killServer(call);
    expect(JSON.parse(textOf(await call())).pid).not.toBe(pid);
  });

  test("without a handshake (2026-07-28)", async () => {
    await using client = await connectV2(cluster, "alice", "demo");
    const call = () => client.callTool({ name: "read_host_info", arguments: {} });
    const pid = await killServer(call);
    expect(JSON.parse(textOf(await call())).pid).not.toBe(pid);
  });
});

describe("the login", () => {
  /** Ends alice's logins at the proxy, which restarts for it: her client has to come again. */
  async function expire(): Promise<void> {
    await cluster.proxy.stop("SIGKILL");
    const db = new Database(cluster.place.path("proxy/mcpgate.db"));
    db.run(`update logins set expires_at = 1 where "user" = 'alice'`);
    db.close();
    await cluster.startProxy();
  }

  /** What a call is refused with. Until the client knows of the expired login, calls wait as in any pause. */
  async function refusalOf(client: RawClient): Promise<Answer["error"]> {
    const answered = client.call("pid").catch(() => undefined);
    return (await Promise.race([answered, Bun.sleep(100)]))?.error;
  }

  test("expires in mid-session, which goes on after another one", async () => {
    await using client = await connect();
    const pid = value(await client.call("pid"));
    const file = newFile();
    const begun = await beginWait(client, file);
    await expire();
    const refused = await eventually(() => refusalOf(client));
    expect(refused).toMatchObject({
      code: -31005,
      data: { code: "login_expired", hint: `mcpgate client login --proxy=${cluster.address} --user=alice` },
    });
    await cluster.login("alice");
    writeFileSync(file, "");
    expect(value(await begun.answered)).toBe("waited");
    expect(value(await client.call("pid"))).toBe(pid);

    // the session belongs to the new login: logging out ends it
    const last = await beginWait(client, newFile());
    expect((await cluster.as("alice", ["client", "logout"])).code).toBe(0);
    expect((await errorOf(last)).message).toContain("logged out");
    await eventually(async () => (await client.call("pid")).error?.data?.code === "not_logged_in");
    await cluster.login("alice");
    expect((await client.call("pid")).result).toBeDefined();
  });

  test("expires, and somebody else logs in: the session is not theirs", async () => {
    await using client = await connect();
    const begun = await beginWait(client, newFile());
    await expire();
    await eventually(() => refusalOf(client));
    await cluster.login("bob", cluster.home("alice"));
    expect((await errorOf(begun)).message).toContain("logged in as another user");
    expect((await client.call("pid")).result).toBeDefined();
    expect((await cluster.sessions()).filter(({ app }) => app === "stateful").map(({ user }) => user)).toContain("bob");
    await cluster.login("alice");
  });
});
