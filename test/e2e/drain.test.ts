/** Services that stop while they are needed, and that take over what has changed: nobody loses anything by either. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { parse, stringify } from "yaml";
import { createCa, issueLeaf } from "../../src/identity/pki.ts";
import { type AppDocument, Cluster, FIXTURES, NODE, SELF } from "./harness.ts";
import { type Answer, RawClient, textOf } from "./mcp.ts";
import { eventually, isAlive } from "./processes.ts";

setDefaultTimeout(30_000);

let cluster: Cluster;
let files = 0;
const newFile = (): string => cluster.place.path(`wait-${++files}`);

const stateful = (name: string, more: object = {}): AppDocument => ({
  name,
  mcp: {
    command: NODE,
    args: [join(FIXTURES, "servers/stateful.mjs")],
    env: { MCPGATE_TEST: cluster?.place.dir ?? "" },
    run_as_host_user: SELF,
  },
  ...more,
});

beforeAll(async () => {
  cluster = await Cluster.start({
    apps: [stateful("one"), stateful("two")],
    users: { alice: ["mcp-user"], bob: ["mcp-user"] },
    appService: { drain: "2s" },
  });
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([]);
});

async function connect(app: string, user = "alice"): Promise<RawClient> {
  const client = new RawClient(cluster, user, app);
  const { error } = await client.initialize();
  if (error === undefined) return client;
  await client.end();
  throw new Error(error.message);
}

const value = ({ result, error }: Answer): unknown =>
  JSON.parse(result === undefined ? `${error?.message}` : textOf(result));

/** A call that the server has, and answers when the file is there. */
async function beginWait(client: RawClient, file: string): Promise<{ answer: Promise<Answer> }> {
  const before = client.lines.length;
  const _meta = { progressToken: file };
  const answer = client.request("tools/call", { name: "wait", arguments: { file }, _meta });
  await eventually(() => client.lines.slice(before).some((line) => line.includes("notifications/progress")));
  return { answer };
}

describe("an agent that stops", () => {
  test("waits for open calls, takes nothing new, and no subscription holds it up", async () => {
    await using busy = await connect("one");
    await using idle = await connect("two", "bob");
    const listen = { notifications: { toolsListChanged: true } };
    idle.send({ jsonrpc: "2.0", id: "l", method: "subscriptions/listen", params: listen });
    const idlePid = value(await idle.call("pid")) as number;
    const busyPid = value(await busy.call("pid"));
    const file = newFile();
    const { answer } = await beginWait(busy, file);

    const stopped = cluster.agent.stop();
    // The one that waits for nothing goes at once.
    await eventually(() => !isAlive(idlePid), { ms: 1_500 });
    const late = busy.call("pid");
    await Bun.sleep(200);
    writeFileSync(file, "");
    expect(value(await answer)).toBe("waited");
    expect(await stopped).toBe(0);
    await cluster.startAgent();
    // It went to no server that was about to stop.
    const told = await late;
    if (told.result === undefined) expect(told.error?.message).toMatch(/not connected|connection was lost/);
    else expect(value(told)).not.toBe(busyPid);
    expect((await cluster.events("--event=mcp.session.end")).map(({ details }) => details?.reason)).toContain(
      "the agent stops",
    );
    await eventually(async () => (await busy.call("pid")).result !== undefined);
  });

  test("not longer than its limit: then they hear why", async () => {
    await using client = await connect("one");
    const { answer } = await beginWait(client, newFile());
    const since = performance.now();
    await cluster.agent.stop();
    expect(performance.now() - since).toBeWithin(1_900, 8_000);
    const { error } = await answer;
    expect(error?.code).toBe(-31001);
    expect(error?.message).toContain("the agent stops");
    await cluster.startAgent();
  });
});

test("a proxy that stops under load: within ten seconds, and every call is answered and in the log once", async () => {
  const clients = await Promise.all([connect("one"), connect("two", "bob")]);
  let on = true;
  const calls = clients.map(async (client) => {
    let calls = 0;
    for (; on; calls++) expect((await client.call("count")).result).toBeDefined();
    return calls;
  });
  const before = (await cluster.events("--event=mcp.session.request", "--limit=1000")).length;
  const tokens = async () =>
    (JSON.parse(await cluster.place.ok(["tokens", "ls", "--format=json"])) as unknown[]).length;
  let made = await tokens();
  for (let i = 0; i < 3; i++) {
    await Bun.sleep(300);
    // What an admin is in the middle of is finished, and answered.
    const asked = [1, 2, 3].map((n) => cluster.place.cli(["tokens", "add", "--type=app", `--ttl=${n}h`]));
    const since = performance.now();
    expect(await cluster.proxy.stop()).toBe(0);
    expect(performance.now() - since).toBeLessThan(10_000);
    for (const { code, stderr } of await Promise.all(asked)) {
      if (code === 0) made++;
      else expect(stderr).toMatch(/no proxy runs|does not answer/); // it came too late
    }
    await cluster.startProxy();
    expect(await tokens()).toBe(made); // what nobody was told of was not done
  }
  await Bun.sleep(300);
  on = false;
  const answered = (await Promise.all(calls)).reduce((a, b) => a + b);
  expect(answered).toBeGreaterThan(50);
  for (const client of clients) expect((await client.end()).code).toBe(0);
  const events = await cluster.eventsOnce(
    (all) => all.filter(({ tool }) => tool === "count").length >= answered,
    "--event=mcp.session.request",
    "--limit=100000",
  );
  expect(events.filter(({ tool }) => tool === "count")).toHaveLength(answered);
  expect(before).toBeGreaterThan(0);
});

interface Service {
  apps: AppDocument[];
}

/** Edits the agent's file as editors do: another file in its place. SIGHUP only saves the wait for it to be noticed. */
function edit(change: (service: Service) => void, { hangUp = true } = {}): void {
  const { place } = cluster;
  const config = parse(readFileSync(place.path("agent.yaml"), "utf8"));
  change(config.app_service);
  renameSync(place.file("agent.yaml.new", stringify(config)), place.path("agent.yaml"));
  if (hangUp) process.kill(cluster.agent.pid, "SIGHUP"); // the process that was started: its guard
}

const logged = (event: string, service = cluster.agent): number => service.stderr().split(` ${event} `).length - 1;

async function names(): Promise<string[]> {
  const { stdout } = await cluster.as("alice", ["client", "ls", "--format=json"]);
  return (JSON.parse(stdout) as { name: string }[]).map(({ name }) => name).sort();
}

describe("an agent whose file changes", () => {
  test("only what has changed is touched", async () => {
    await using one = await connect("one");
    await using two = await connect("two", "bob");
    const [pidOne, pidTwo] = [value(await one.call("pid")), value(await two.call("pid"))];
    const lost = logged("control.lost");
    edit(({ apps }) => apps.push(stateful("three", { labels: { env: "new" } })), { hangUp: false });
    await eventually(async () => (await names()).join() === "one,three,two");
    await using three = await connect("three");
    const pidThree = value(await three.call("pid"));

    // Changed: who is there stays with what there was, who comes gets the new one.
    edit(({ apps }) => {
      for (const app of apps)
        if (app.name === "one") app.mcp.env = { ...app.mcp.env, INFO: cluster.place.file("v", "2") };
    });
    await eventually(() => logged("config.reloaded") >= 2);
    expect(value(await one.call("pid"))).toBe(pidOne);
    await using fresh = new RawClient(cluster, "alice", "one");
    expect(JSON.stringify((await fresh.initialize()).result)).toContain('"version":"2"');

    // Removed.
    const { answer } = await beginWait(three, newFile());
    edit(({ apps }) => apps.splice(0, apps.length, ...apps.filter(({ name }) => name !== "three")));
    const { error } = await answer;
    expect(error?.message).toContain("the app was removed from the agent's configuration");
    await eventually(() => !isAlive(pidThree as number));
    expect(await names()).toEqual(["one", "two"]);
    expect((await three.call("pid")).error?.message).toContain('no such app "three"');

    expect([value(await one.call("pid")), value(await two.call("pid"))]).toEqual([pidOne, pidTwo]);
    expect(logged("control.lost")).toBe(lost);
  });

  test("labels take effect on live sessions, too", async () => {
    const role = (labels: object) => ({
      kind: "role",
      version: "v8",
      metadata: { name: "labelled" },
      spec: { allow: { app_labels: labels, mcp: { tools: ["*"] } } },
    });
    cluster.place.file("role.yaml", role({ env: "dev" }));
    await cluster.place.ok(["create", "-f", "role.yaml"]);
    edit(({ apps }) => Object.assign(apps[0] ?? {}, { labels: { env: "dev" } }));
    await cluster.addUser("carol", ["labelled"]);
    const client = await eventually(() => connect("one", "carol").catch(() => undefined));
    const { answer } = await beginWait(client, newFile());
    edit(({ apps }) => Object.assign(apps[0] ?? {}, { labels: { env: "prod" } }));
    expect((await answer).error?.message).toContain("you may not reach this app any more");
    await client.end();
  });

  test("a broken file changes nothing, and says where it is broken", async () => {
    await using client = await connect("one");
    const pid = value(await client.call("pid"));
    const good = readFileSync(cluster.place.path("agent.yaml"), "utf8");
    cluster.place.file("agent.yaml", good.replace("apps:", "aps:"));
    await eventually(() => cluster.agent.stderr().includes("app_service.aps: unknown key"));
    expect(logged("config.refused")).toBe(1);
    expect(value(await client.call("pid"))).toBe(pid);
    cluster.place.file("agent.yaml", good.replace("version: v1", "version: v1\n"));
    const before = logged("config.reloaded");
    await eventually(() => logged("config.reloaded") > before);
  });

  test("what waits for a restart is said, and the log's severity is taken over", async () => {
    const file = cluster.place.path("agent.yaml");
    const good = readFileSync(file, "utf8");
    const config = parse(good);
    Object.assign(config.mcpgate, { log: { severity: "WARN" }, proxy_server: "elsewhere.test:443" });
    writeFileSync(file, stringify(config));
    await eventually(() => cluster.agent.stderr().includes("config.needs_restart keys=mcpgate.proxy_server"));
    const before = logged("session.start");
    await using client = await connect("one");
    expect((await client.call("pid")).result).toBeDefined();
    expect(logged("session.start")).toBe(before);
    writeFileSync(file, good);
    await eventually(async () => {
      await using again = await connect("two");
      return (await again.call("pid")).result !== undefined && logged("session.start") > before;
    });
  });
});

describe("a proxy's certificate", () => {
  const presented = (address: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const [host = "", port = ""] = address.split(":");
      const socket = connectTls({ host, port: Number(port), rejectUnauthorized: false }, () => {
        resolve(socket.getPeerCertificate().fingerprint256);
        socket.destroy();
      });
      socket.on("error", reject);
    });

  test("is replaced for new connections while the old ones stay; a pair that does not fit is not taken", async () => {
    const now = Date.now();
    const { place } = cluster;
    const ca = await createCa("test", now);
    const leaf = () => issueLeaf({ ca, names: ["127.0.0.1"], now });
    const [first, second, third] = [await leaf(), await leaf(), await leaf()];
    const write = ({ certPem, keyPem }: { certPem: string; keyPem: string }) => {
      place.file("tls/cert.pem", certPem);
      place.file("tls/key.pem", keyPem);
    };
    place.folder("tls");
    write(first);
    const tls = { cert_file: place.path("tls/cert.pem"), key_file: place.path("tls/key.pem") };
    const config = place.file("second.yaml", {
      mcpgate: { data_dir: place.folder("second") },
      proxy_service: { listen_addr: "127.0.0.1:0", ...tls },
    });
    const proxy = place.start(["proxy", "start", "-c", config]);
    const at = /127\.0\.0\.1:\d+/.exec(await proxy.ready)?.[0] ?? "";
    const socket = new WebSocket(`wss://${at}/v1/session`, { tls: { rejectUnauthorized: false } } as object);
    const closed = Promise.withResolvers<string>();
    socket.onclose = ({ reason }) => closed.resolve(reason);
    await new Promise((resolve) => {
      socket.onmessage = resolve;
    });

    const before = await presented(at);
    write({ certPem: second.certPem, keyPem: third.keyPem });
    await eventually(() => proxy.stderr().includes("the key does not belong to the certificate"));
    expect(await presented(at)).toBe(before);
    write(second);
    // A handshake in the very moment of the change is cut off; whoever dials tries again.
    await eventually(async () => (await presented(at).catch(() => before)) !== before);
    expect(proxy.stderr()).toContain("certificate.renewed");
    expect(socket.readyState).toBe(WebSocket.OPEN);
    expect((await fetch(`https://${at}/v1/webapi/find`, { tls: { rejectUnauthorized: false } })).status).toBe(200);

    const since = performance.now();
    expect(await proxy.stop()).toBe(0);
    expect(performance.now() - since).toBeLessThan(10_000);
    expect(await closed.promise).toBe("the proxy stops");
  });
});
