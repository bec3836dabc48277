import { describe, expect, test } from "bun:test";
import type { Exit, ServerProcess } from "../../src/agent/process.ts";
import { NO_SECRETS } from "../../src/agent/secrets.ts";
import { ServerPool } from "../../src/agent/server-pool.ts";
import { SharedEnd } from "../../src/agent/shared-end.ts";
import { SharedServer } from "../../src/agent/shared-server.ts";
import { Spares } from "../../src/agent/spares.ts";
import type { AppConfig, McpConfig } from "../../src/config/config.ts";
import { Failure } from "../../src/errors.ts";
import { Budget, type BudgetLimits } from "../../src/link/budget.ts";
import { recordingLog } from "./scene.ts";

interface Message {
  id?: string | number;
  method?: string;
  params?: Record<string, unknown>;
  result?: unknown;
  error?: unknown;
}

/** A server that answers by a function; stdin and stdout are calls. */
class FakeServer implements ServerProcess {
  static count = 0;
  readonly pid = ++FakeServer.count;
  readonly secrets = NO_SECRETS;
  writable = true;
  readonly seen: Message[] = [];
  readonly #exited = Promise.withResolvers<Exit>();
  readonly #onStdout: (chunk: Uint8Array) => void | Promise<void>;
  readonly #answer: (message: Message) => object | undefined;
  stopped = false;

  constructor(onStdout: (chunk: Uint8Array) => void | Promise<void>, answer: (message: Message) => object | undefined) {
    this.#onStdout = onStdout;
    this.#answer = answer;
  }

  get exited(): Promise<Exit> {
    return this.#exited.promise;
  }

  print(bytes: Uint8Array): void {
    void this.#onStdout(bytes);
  }

  say(message: object): void {
    void this.#onStdout(Buffer.from(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`));
  }

  write(bytes: Uint8Array): boolean {
    const message = JSON.parse(new TextDecoder().decode(bytes)) as Message;
    this.seen.push(message);
    const answer = message.id === undefined ? undefined : this.#answer(message);
    if (answer !== undefined) this.say({ id: message.id, ...answer });
    return true;
  }

  drain = (): Promise<void> => Promise.resolve();
  endInput(): void {}
  stderrTail = (): string[] => ["its last words"];

  stop(): Promise<Exit> {
    this.stopped = true;
    this.die("exited with code 0");
    return this.exited;
  }

  die(message: string): void {
    this.#exited.resolve({ code: 0, signal: null, message });
  }
}

/** Of the era before; of both. */
const classic = ({ method, params }: Message): object =>
  method === "server/discover"
    ? { error: { code: -32601, message: "no such method" } }
    : { result: method === "initialize" ? { protocolVersion: params?.protocolVersion, capabilities: {} } : { method } };

const MIB = 1024 * 1024;
const PLENTY = { total: 1024 * MIB, user: 512 * MIB };
const unbounded = { take: () => true, give: () => {} };

function scene(
  mcp: Partial<McpConfig>,
  answer: (message: Message) => object | undefined = classic,
  limits: BudgetLimits = PLENTY,
) {
  const started: FakeServer[] = [];
  const app: AppConfig = {
    ...{ name: "app", labels: {}, description: "", shared: false },
    mcp: { command: "x", args: [], ...mcp },
  };
  const budget = new Budget(limits);
  let refuse: Failure | undefined;
  const recipe = { now: "r" };
  const { log, entries } = recordingLog();
  const pool = new ServerPool(
    {
      recipeOf: () => recipe.now,
      async start(_, { onStdout }) {
        await Promise.resolve();
        if (refuse !== undefined) throw refuse;
        const server = new FakeServer(onStdout, answer);
        started.push(server);
        return server;
      },
    },
    log,
  );
  const session = async (user = "alice", onStdout?: (line: string) => void | Promise<void>) => {
    const heard: Message[] = [];
    const server = await pool.open(app, {
      ...{ sid: "s", person: { user, traits: {} }, log, budget: (owner) => budget.of(owner) },
      onStdout(chunk) {
        const text = new TextDecoder().decode(chunk);
        heard.push(JSON.parse(text) as Message);
        return onStdout?.(text);
      },
    });
    const say = (message: object): boolean =>
      server.write(Buffer.from(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`));
    return { server, heard, say };
  };
  return {
    ...{ app, pool, started, entries, session, recipe, budget },
    refuse(failure: Failure | undefined) {
      refuse = failure;
    },
  };
}

const initialize = (protocolVersion = "2025-11-25") => ({
  id: 1,
  method: "initialize",
  params: { protocolVersion, capabilities: {}, clientInfo: { name: "t", version: "1" } },
});
const call = (id: number) => ({ id, method: "tools/call", params: { name: "x" } });
const meta = { _meta: { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } };
const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
/** Until it is so; the processes here are only promises. */
async function until(so: () => boolean): Promise<void> {
  for (let i = 0; i < 1000 && !so(); i++) await tick();
  expect(so()).toBe(true);
}

test("what a session says in one go reaches the shared server line by line", async () => {
  const { started, session } = scene({ share: "app" });
  const { server, heard } = await session();
  const lines = [initialize(), { method: "notifications/initialized" }, call(2), call(3)];
  server.write(Buffer.from(lines.map((line) => `${JSON.stringify({ jsonrpc: "2.0", ...line })}\n`).join("")));
  await until(() => heard.length === 3);
  expect(heard.map(({ id }) => id)).toEqual([1, 2, 3]);
  expect(started[0]?.seen.filter(({ method }) => method === "tools/call")).toHaveLength(2);
});

test("session: each has its own; user: one for each person; app: one for all", async () => {
  for (const [share, processes] of [
    ["session", 3],
    ["user", 2],
    ["app", 1],
  ] as const) {
    const { pool, session, started } = scene({ share });
    const sessions = await Promise.all([session("alice"), session("alice"), session("bob")]);
    for (const each of sessions) each.say(initialize());
    for (const each of sessions) each.say(call(2));
    await tick();
    expect(started).toHaveLength(processes);
    for (const { heard } of sessions) expect(heard.map(({ id }) => id)).toEqual([1, 2]);
    await Promise.all(sessions.map(({ server }) => server.stop()));
    await pool.close();
  }
});

test("another revision and another era get a process of their own; unknown revisions the last one's", async () => {
  const both = ({ method, params }: Message): object => ({ result: { method, ...params } });
  const { pool, session, started } = scene({ share: "app" }, both);
  const opened = [];
  for (const revision of ["2027-01-01", "2024-11-05", "2025-11-25", "2024-11-05"]) {
    const each = await session();
    each.say(initialize(revision));
    await tick();
    opened.push(each);
  }
  expect(started.map(({ seen }) => seen[0]?.params?.protocolVersion)).toEqual(["2025-11-25", "2024-11-05"]);
  const modern = await session();
  modern.say({ id: 1, method: "server/discover", params: meta });
  modern.say({ id: 2, method: "tools/list", params: meta });
  await until(() => modern.heard.length === 2);
  expect(started).toHaveLength(3);
  expect(started[2]?.seen.map(({ method }) => method)).toEqual(["server/discover", "tools/list"]);
  const plain = await session();
  plain.say({ id: 1, method: "tools/list" });
  await until(() => plain.heard.length === 1);
  expect(started).toHaveLength(4);
  // One that begins with a probe, and goes back to the handshake.
  const probing = await session();
  probing.say({ id: 1, method: "server/discover", params: meta });
  probing.say({ ...initialize(), id: 2 });
  await until(() => probing.heard.length === 2);
  expect(started).toHaveLength(4);
  await pool.close();
  expect(started.every(({ stopped }) => stopped)).toBe(true);
});

test("a server that doesn't know server/discover is asked once, and then does the handshake", async () => {
  const { pool, session, started } = scene({ share: "user" });
  for (let i = 0; i < 3; i++) {
    const each = await session();
    each.say({ id: "probe", method: "server/discover", params: meta });
    each.say({ ...initialize(), id: 2 });
    each.say({ method: "notifications/initialized" });
    each.say(call(3));
    await until(() => each.heard.length === 3);
    expect(each.heard[0]).toMatchObject({ id: "probe", error: { code: -32601 } });
  }
  expect(started).toHaveLength(1);
  expect(started[0]?.seen.map(({ method }) => method)).toEqual([
    ...["server/discover", "initialize", "notifications/initialized", "tools/call"],
    ...["ping", "tools/call", "ping", "tools/call"],
  ]);
  await pool.close();
});

test("a session that doesn't read is cut; the others hear everything meanwhile", async () => {
  const { pool, session, started } = scene({ share: "user" }, ({ method }) =>
    method === "initialize" ? { result: { protocolVersion: "2025-11-25" } } : { result: { x: "y".repeat(1 << 20) } },
  );
  const stuck = await session("alice", () => new Promise<void>(() => {}));
  const other = await session("alice");
  for (const each of [stuck, other]) each.say(initialize());
  let full = 0;
  for (let id = 2; id < 40; id++) if (!stuck.say(call(id))) full++;
  expect(full).toBeGreaterThan(30);
  for (let id = 2; id < 10; id++) {
    expect(other.say(call(id))).toBe(true);
    await tick();
  }
  expect(other.heard).toHaveLength(9);
  expect(await stuck.server.exited).toMatchObject({ cut: true });
  await stuck.server.drain();
  expect(started[0]?.stopped).toBe(false);
  await pool.close();
});

test("several lines in one write", async () => {
  const { pool, session } = scene({ share: "user" });
  const { server, heard } = await session();
  const lines = [initialize(), { method: "notifications/initialized" }, call(2), call(3)];
  server.write(Buffer.from(lines.map((line) => `${JSON.stringify({ jsonrpc: "2.0", ...line })}\n`).join("")));
  await tick();
  expect(heard.map(({ id }) => id)).toEqual([1, 2, 3]);
  await pool.close();
});

test("a session that asks while it is handed something is not told to wait for itself", async () => {
  const big = { result: { x: "y".repeat(1 << 20) } };
  const { pool, session } = scene({ share: "user" }, ({ method }) => (method === "initialize" ? { result: {} } : big));
  const writable: boolean[] = [];
  const first = Promise.withResolvers<void>();
  const one = await session("alice", () => {
    writable.push(one.server.writable);
    return writable.length === 1 ? first.promise : undefined;
  });
  one.say(initialize());
  for (let id = 2; id < 6; id++) one.say(call(id));
  expect(one.server.writable).toBe(false);
  const drained = one.server.drain();
  first.resolve();
  await drained;
  await until(() => one.heard.length === 5);
  expect(writable).toEqual([true, true, true, true, true]);
  await pool.close();
});

describe("memory", () => {
  const big = (mib: number) => ({ result: { x: "y".repeat(mib * MIB) } });
  const answers = ({ method }: Message) => (method === "initialize" ? { result: {} } : big(4));

  test("that a session's unread answers take is its user's: beyond that, an answer becomes an error", async () => {
    const gate = Promise.withResolvers<void>();
    const { pool, session, budget } = scene({ share: "app" }, answers, { total: 100 * MIB, user: 9 * MIB });
    const slow = await session("alice", () => gate.promise);
    const other = await session("bob");
    for (const { say } of [slow, other]) say(initialize());
    for (let id = 2; id < 5; id++) slow.say(call(id));
    other.say(call(2));
    await until(() => other.heard.length === 2);
    expect(other.heard[1]?.result).toBeDefined();
    expect(budget.used).toBeGreaterThan(7 * MIB);
    gate.resolve();
    await until(() => slow.heard.length === 4);
    expect(slow.heard.map(({ id, error }) => [id, error !== undefined])).toEqual([
      [1, false],
      [2, false],
      [3, false],
      [4, true],
    ]);
    expect(slow.heard[3]?.error).toMatchObject({ code: -31003, message: expect.stringContaining("try again later") });
    await until(() => budget.used === 0);
    await pool.close();
  });

  test("of a session that leaves without having read is given back", async () => {
    const { pool, session, budget } = scene({ share: "user" }, answers);
    const slow = await session("alice", () => new Promise(() => {}));
    slow.say(initialize());
    slow.say(call(2));
    await until(() => budget.used > 3 * MIB);
    await slow.server.stop();
    expect(budget.used).toBe(0);
    await pool.close();
  });

  test("of a line that isn't whole yet is counted, too, and one that there is no room for is an error", async () => {
    const { pool, session, started, budget } = scene({ share: "app" }, () => undefined, {
      total: 100 * MIB,
      user: 2 * MIB,
    });
    const one = await session("alice");
    one.say(initialize());
    const [server] = started;
    const part = (bytes: string): void => server?.print(Buffer.from(bytes));
    part('{"jsonrpc":"2.0","id":1,"result":{"x":"');
    part("y".repeat(MIB));
    expect(budget.used).toBeGreaterThan(MIB / 2);
    part("y".repeat(MIB));
    part("y".repeat(MIB));
    part('"}}\n');
    await until(() => one.heard.length === 1);
    expect(one.heard[0]).toMatchObject({ id: 1, error: { message: expect.stringContaining("no room for a line of") } });
    expect(budget.used).toBe(0);
    await pool.close();
  });
});

test("a server that dies ends all its sessions, each after what it was told; the next one gets another", async () => {
  const { pool, session, started } = scene({ share: "app" });
  const gate = Promise.withResolvers<void>();
  const slow = await session("alice", () => gate.promise);
  const fast = await session("bob");
  for (const each of [slow, fast]) {
    each.say(initialize());
    each.say(call(2));
  }
  await tick();
  started[0]?.die("killed by SIGKILL");
  expect(await fast.server.exited).toMatchObject({ message: "killed by SIGKILL" });
  expect(fast.server.stderrTail()).toEqual([]);
  let ended = false;
  void slow.server.exited.then(() => {
    ended = true;
  });
  await tick();
  expect(ended).toBe(false);
  gate.resolve();
  await slow.server.exited;
  expect(slow.heard.map(({ id }) => id)).toEqual([1, 2]);
  await session();
  expect(started).toHaveLength(2);
  await pool.close();
});

test("a server that hangs gets no new sessions once it was asked in vain; those who are there stay", async () => {
  let hangs = false;
  const { log } = recordingLog();
  const retired = Promise.withResolvers<void>();
  const process = new FakeServer(
    (chunk) => server.onStdout(chunk),
    (message) => (hangs ? undefined : classic(message)),
  );
  const server: SharedServer = new SharedServer(process, {
    ...{ onePerson: true, log, lingerMs: 1000, startTimeoutMs: 1000, probeMs: 20, budget: unbounded },
    onRetired: () => retired.resolve(),
  });
  server.era = "2025-11-25";
  const end = () =>
    new SharedEnd(server, {
      ...{ onStdout: () => {}, onePerson: true, eraOf: () => undefined, serverOf: () => server },
      ...{ known: () => undefined, onUnknown: () => {}, budget: unbounded },
    });
  const first = end();
  first.write(Buffer.from(`${JSON.stringify({ jsonrpc: "2.0", ...initialize() })}\n`));
  end();
  expect(process.seen.at(-1)?.method).toBe("ping");
  hangs = true;
  end();
  await retired.promise;
  expect(process.stopped).toBe(false);
  await server.stop();
});

test("a server that printed something and answers nobody gets no new sessions after start_timeout", async () => {
  const { pool, session, started } = scene({ share: "user", limits: { startTimeout: 0.001 } }, () => undefined);
  const one = await session();
  one.say(initialize());
  started[0]?.print(Buffer.from("listening on stdio\n"));
  await Bun.sleep(5);
  await one.server.stop();
  const two = await session();
  two.say(initialize());
  expect(started).toHaveLength(2);
  await pool.close();
});

test("without sessions it stays for the time that linger says", async () => {
  const { pool, session, started } = scene({ share: "user", linger: 0 });
  const one = await session();
  one.say(initialize());
  await one.server.stop();
  await started[0]?.exited;
  const { pool: other, session: open, started: servers } = scene({ share: "user" });
  const [first] = [await open()];
  first?.say(initialize());
  first?.say({ id: 2, method: "never" });
  await first?.server.stop();
  const again = await open();
  again.say(initialize());
  await tick();
  expect(servers).toHaveLength(1);
  await Promise.all([pool.close(), other.close()]);
});

test("what can't be started is a failure to all who wait, and tried again", async () => {
  const { pool, session, started, refuse } = scene({ share: "app" });
  refuse(new Failure("start_failed", "no"));
  const results = await Promise.allSettled([session(), session()]);
  expect(results.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  refuse(undefined);
  const one = await session();
  one.say(initialize("2024-11-05"));
  refuse(new Failure("start_failed", "no more"));
  const two = await session();
  two.say(initialize());
  expect((await two.server.exited).message).toBe("could not be started: no more");
  expect(started).toHaveLength(1);
  await pool.close();
});

test("a changed app: its sessions go on, new ones get another server", async () => {
  const { app, pool, session, started, recipe } = scene({ share: "app" });
  const old = await session();
  old.say(initialize());
  recipe.now = "another";
  pool.keep([{ ...app, mcp: { ...app.mcp, args: ["new"] } }]);
  const fresh = await session();
  fresh.say(initialize());
  old.say(call(2));
  await tick();
  expect(started).toHaveLength(2);
  expect(old.heard).toHaveLength(2);
  await old.server.stop();
  await started[0]?.exited;
  expect(started[0]?.stopped).toBe(true);
  await pool.close();
});

test("an app that goes while its first server starts: the server is there for who waits for it, and for nobody else", async () => {
  for (const stays of [true, false]) {
    const { app, pool, session, started } = scene({ share: "app" });
    const opening = session();
    // Changed or removed: what started as it was is not what anybody else is to get, and nothing would end it.
    pool.keep(stays ? [{ ...app, mcp: { ...app.mcp, args: ["new"] } }] : []);
    const { server, heard, say } = await opening;
    say(initialize());
    await Bun.sleep(5);
    expect(heard).toHaveLength(1);
    expect(started.map(({ stopped }) => stopped)).toEqual([false]);
    await server.stop();
    await started[0]?.exited;
    expect(started).toHaveLength(1);
    await pool.close();
  }
});

test("spares: one whose app changes while it starts is none", async () => {
  const { app, pool, started, recipe } = scene({ warm: 1 });
  pool.keep([app]);
  recipe.now = "another";
  pool.keep([{ ...app, mcp: { ...app.mcp, args: ["new"] } }]);
  await until(() => pool.spares("app") === 1);
  await until(() => started.length === 2);
  expect(started.map(({ stopped }) => stopped)).toEqual([true, false]);
  await pool.close();
});

test("spares: started before anybody asked, handed over untouched with all that they said, and replaced", async () => {
  const { app, pool, session, started, recipe } = scene({ warm: 2 });
  pool.keep([app]);
  await until(() => pool.spares("app") === 2);
  started[0]?.say({ method: "notifications/message", params: { level: "info", data: "early" } });
  const one = await session();
  await until(() => one.heard.length === 1);
  expect(started[0]?.seen).toEqual([]);
  one.say(initialize());
  expect(started[0]?.seen).toHaveLength(1);
  await until(() => pool.spares("app") === 2);
  expect(started).toHaveLength(3);
  recipe.now = "another";
  const two = await session();
  expect([started[1]?.stopped, started[2]?.stopped]).toEqual([true, true]);
  await until(() => pool.spares("app") === 2);
  pool.keep([]);
  await until(() => started.filter(({ stopped }) => !stopped).length === 2);
  expect(started.filter(({ stopped }) => !stopped).map(({ pid }) => pid)).toEqual([one.server.pid, two.server.pid]);
  await pool.close();
});

test("a spare that keeps dying is tried again, with growing pauses", async () => {
  const pauses: number[] = [];
  const { log } = recordingLog();
  const enough = Promise.withResolvers<void>();
  const spares = new Spares({
    log,
    recipeOf: () => "r",
    async start(_, __, onStdout) {
      const server = new FakeServer(onStdout, classic);
      if (pauses.length === 2) throw new Failure("start_failed", "no");
      queueMicrotask(() => server.die("exited with code 3"));
      return server;
    },
    async pause(ms, stopped) {
      pauses.push(ms);
      if (pauses.length < 8) return;
      enough.resolve();
      await stopped;
    },
  });
  spares.keep([
    { ...{ name: "a", labels: {}, description: "", shared: false }, mcp: { command: "x", args: [], warm: 1 } },
  ]);
  await enough.promise;
  expect(pauses).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
  await spares.close();
});
