import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { createSocket } from "node:dgram";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { recordEvents } from "../../src/audit/store.ts";
import type { SinkConfig } from "../../src/config/config.ts";
import type { AuditEvent } from "../../src/event.ts";
import { createLog } from "../../src/log.ts";
import { Sinks } from "../../src/proxy/sinks.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";

let store: Store;
let dir: string;
let printed: string;
let logged: string[];
let running: Sinks | undefined;
beforeEach(async () => {
  store = await openStore(":memory:");
  dir = mkdtempSync(join(tmpdir(), "mcpgate-sinks-"));
  printed = "";
  logged = [];
});
afterEach(async () => {
  await running?.stop();
  running = undefined;
  await store.destroy();
  rmSync(dir, { recursive: true });
});

async function start(configs: SinkConfig[], env: Record<string, string> = {}): Promise<Sinks> {
  await running?.stop();
  running = new Sinks({
    store,
    log: createLog({ write: (line) => logged.push(line) }),
    configs,
    print: async (text) => {
      printed += text;
    },
    env,
    pollMs: 5,
    retryMs: 20,
  });
  return running;
}
const record = (...users: string[]) =>
  recordEvents(
    store,
    users.map((user) => ({ event: "user.login" as const, user })),
    1,
  );
/** Of whole lines: the file may be read while a batch is being written. */
const usersIn = (text: string) =>
  text
    .split("\n")
    .slice(0, -1)
    .map((line) => (JSON.parse(line) as AuditEvent).user);
async function until(done: () => boolean): Promise<void> {
  for (const end = performance.now() + 5_000; !done(); await Bun.sleep(2)) {
    if (performance.now() > end) throw new Error(`it never happened; logged: ${logged.join("\n")}`);
  }
}

test("stdout: every event from the first on, and after a restart only what is new", async () => {
  await record("a", "b");
  await start([{ name: "stdout", type: "stdout" }]);
  await until(() => printed.split("\n").length > 2);
  await record("c");
  await until(() => printed.split("\n").length > 3);
  await start([{ name: "stdout", type: "stdout" }]);
  await record("d");
  await until(() => printed.split("\n").length > 4);
  expect(usersIn(printed)).toEqual(["a", "b", "c", "d"]);
});

test("many events go in batches, in order, each once", async () => {
  const users = Array.from({ length: 1234 }, (_, i) => `u${i}`);
  await record(...users);
  await start([{ name: "file", type: "file", path: join(dir, "all.jsonl") }]);
  await until(() => existsSync(join(dir, "all.jsonl")) && statSync(join(dir, "all.jsonl")).size > 100);
  await until(() => usersIn(readFileSync(join(dir, "all.jsonl"), "utf8")).length === 1234);
  expect(usersIn(readFileSync(join(dir, "all.jsonl"), "utf8"))).toEqual(users);
});

test("file: 0600, appended to, and made anew after a rotation", async () => {
  const path = join(dir, "audit.jsonl");
  await start([{ name: "file", type: "file", path }]);
  await record("a");
  await until(() => existsSync(path) && readFileSync(path, "utf8").endsWith("\n"));
  expect(statSync(path).mode & 0o777).toBe(0o600);
  renameSync(path, `${path}.1`);
  await record("b");
  await until(() => existsSync(path) && readFileSync(path, "utf8").endsWith("\n"));
  expect([usersIn(readFileSync(`${path}.1`, "utf8")), usersIn(readFileSync(path, "utf8"))]).toEqual([["a"], ["b"]]);
});

test("a sink that fails is tried again until it works, loses nothing, and holds up no other", async () => {
  await start([
    { name: "broken", type: "file", path: join(dir, "missing", "audit.jsonl") },
    { name: "fine", type: "file", path: join(dir, "fine.jsonl") },
  ]);
  await record("a", "b");
  await until(() => existsSync(join(dir, "fine.jsonl")) && logged.length > 0);
  expect(logged.filter((line) => line.includes("sink.failed"))).toHaveLength(1); // not one for each try
  await Bun.$`mkdir ${join(dir, "missing")}`.quiet();
  await until(
    () => existsSync(join(dir, "missing", "audit.jsonl")) && logged.some((l) => l.includes("sink.recovered")),
  );
  expect(usersIn(readFileSync(join(dir, "missing", "audit.jsonl"), "utf8"))).toEqual(["a", "b"]);
});

describe("http", () => {
  test("a batch that was not taken comes again under the same key; the token is looked up, and never leaves by a redirect", async () => {
    const seen: { key: string; token: string | null; users: unknown[] }[] = [];
    let answers: Response[] = [];
    const server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      async fetch(request) {
        const { headers } = request;
        const users = usersIn(await request.text());
        seen.push({ key: headers.get("idempotency-key") ?? "", token: headers.get("authorization"), users });
        expect(headers.get("content-type")).toBe("application/x-ndjson");
        return answers.shift() ?? new Response(null, { status: 204 });
      },
    });
    try {
      const url = `http://127.0.0.1:${server.port}/in`;
      answers = [500, 429, 401].map((status) => new Response(null, { status }));
      answers.push(Response.redirect(url, 307));
      const file = join(dir, "token");
      writeFileSync(file, "first\n", { mode: 0o600 });
      await record("a", "b");
      await start([{ name: "siem", type: "http", url, token: { file } }]);
      await until(() => seen.length >= 5);
      expect(new Set(seen.map(({ key }) => key)).size).toBe(1);
      expect(seen.every(({ users, token }) => users.join() === "a,b" && token === "Bearer first")).toBe(true);
      writeFileSync(file, "second", { mode: 0o600 });
      await record("c");
      await until(() => seen.length >= 6);
      expect(seen[5]).toMatchObject({ users: ["c"], token: "Bearer second" });
      expect(seen[5]?.key).not.toBe(seen[0]?.key as string);
      expect(logged.join("")).not.toContain("first");
    } finally {
      await server.stop(true);
    }
  });

  test("a token that is not there is no reason to go without", async () => {
    let asked = 0;
    const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response(String(++asked)) });
    try {
      const url = `http://127.0.0.1:${server.port}/`;
      await record("a");
      await start([{ name: "siem", type: "http", url, token: { env: "SIEM_TOKEN" } }]);
      await until(() => logged.length > 0);
      expect([asked, logged[0]]).toEqual([0, expect.stringContaining("SIEM_TOKEN is not set")]);
    } finally {
      await server.stop(true);
    }
  });
});

describe("syslog", () => {
  const message = /^<110>1 1970-01-01T00:00:00\.001Z \S+ mcpgate \d+ user\.login - (\{.*\})$/;

  test("over TCP, each message with its length, and again after the connection was lost", async () => {
    let text = "";
    const sockets = new Set<Bun.Socket>();
    const server = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: (socket) => void sockets.add(socket),
        data: (_socket, chunk) => {
          text += chunk.toString();
        },
        close: (socket) => void sockets.delete(socket),
      },
    });
    const messages = () => {
      const found: string[] = [];
      for (let at = 0; at < text.length; ) {
        const size = Number.parseInt(text.slice(at), 10);
        const begin = at + String(size).length + 1;
        found.push(text.slice(begin, begin + size));
        at = begin + size;
      }
      return found;
    };
    try {
      await record("a", "b");
      const address = { host: "127.0.0.1", port: server.port };
      await start([{ name: "syslog", type: "syslog", transport: "tcp", address }]);
      await until(() => messages().length === 2);
      for (const socket of sockets) socket.end();
      await until(() => sockets.size === 0);
      // Syslog over TCP acknowledges nothing: what is written before the sink's own end has heard of the close is lost,
      // and nothing outside it can tell when it has.
      await Bun.sleep(200);
      await record("c");
      await until(() => messages().length === 3);
      expect(messages().map((each) => JSON.parse(message.exec(each)?.[1] ?? "{}").user)).toEqual(["a", "b", "c"]);
    } finally {
      server.stop(true);
    }
  });

  test("over UDP, one a datagram", async () => {
    const got: string[] = [];
    const socket = createSocket("udp4");
    socket.on("message", (bytes) => got.push(bytes.toString()));
    await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
    try {
      await record("a", "b");
      const address = { host: "127.0.0.1", port: socket.address().port };
      await start([{ name: "syslog", type: "syslog", transport: "udp", address }]);
      await until(() => got.length === 2);
      expect(got.map((each) => JSON.parse(message.exec(each)?.[1] ?? "{}").user)).toEqual(["a", "b"]);
    } finally {
      socket.close();
    }
  });
});
