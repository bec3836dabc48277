/** The listener for whoever watches a service. */
import { afterEach, expect, test } from "bun:test";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { createLog } from "../../src/log.ts";
import { type Check, type Diagnostics, openDiagnostics } from "../../src/observe/diagnostics.ts";
import { Metrics } from "../../src/observe/metrics.ts";

const open: Diagnostics[] = [];
afterEach(() => {
  for (const each of open.splice(0)) each.close();
});

function scene(checks: Record<string, Check> = {}, at = { host: "127.0.0.1", port: 0 }) {
  const lines: string[] = [];
  const metrics = new Metrics();
  metrics.gauge("up", "Up.", () => 1);
  const log = createLog({ format: "json", write: (line) => void lines.push(line) });
  const diagnostics = openDiagnostics({ at, metrics, checks, log });
  open.push(diagnostics);
  const get = (path: string, init: RequestInit = {}) => fetch(`http://${diagnostics.address}${path}`, init);
  return { diagnostics, get, logged: () => lines.map((line) => JSON.parse(line)) };
}

test("metrics and health are to be had with GET and HEAD, and nothing else is", async () => {
  const { get } = scene();
  const metrics = await get("/metrics");
  expect(metrics.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  expect(await metrics.text()).toContain("\nup 1\n");
  expect(await (await get("/healthz")).json()).toEqual({ status: "ok" });
  expect((await get("/healthz", { method: "HEAD" })).status).toBe(200);
  expect((await get("/metrics", { method: "POST", body: "x" })).status).toBe(405);
  for (const path of ["/", "/v1/ping", "/debug/pprof"]) expect((await get(path)).status).toBe(404);
});

test("what is no request by HTTP's rules is answered shortly, and shows nothing of ours", async () => {
  const { diagnostics, logged } = scene({}, { host: "0.0.0.0", port: 0 });
  const port = Number(diagnostics.address?.split(":")[1]);
  for (const head of ["GET /metrics HTTP/1.0", "GET /metrics HTTP/1.1\r\nHost: a/b\r\nConnection: close"]) {
    const socket = connect(port, "127.0.0.1", () => socket.end(`${head}\r\n\r\n`));
    const answer = await text(socket);
    expect(answer).toStartWith("HTTP/1.1 400 ");
    expect(answer).toEndWith("\r\n\r\nno valid Host header\n");
  }
  expect(logged()).toHaveLength(1);
});

test("readyz names the check that fails, and health does not depend on it", async () => {
  let spool: string | undefined;
  const { get } = scene({ spool: () => spool, store: async () => undefined });
  const ready = await get("/readyz");
  expect([ready.status, await ready.json()]).toEqual([200, { status: "ok", checks: { spool: "ok", store: "ok" } }]);
  spool = "the audit spool is full";
  const not = await get("/readyz");
  expect([not.status, await not.json()]).toEqual([503, { status: "not ready", checks: { spool, store: "ok" } }]);
  expect((await get("/healthz")).status).toBe(200);
});

test("a check that throws, or never answers, is one that fails", async () => {
  const { get } = scene({
    throws: () => Promise.reject(new Error("the store's thread ended")),
    hangs: () => new Promise(() => {}),
  });
  const { status, checks } = (await (await get("/readyz")).json()) as { status: string; checks: object };
  expect(status).toBe("not ready");
  expect(checks).toEqual({ throws: "the store's thread ended", hangs: "no answer within 2 s" });
});

test("who asks at the same time gets the same answer: the store is asked once", async () => {
  let asked = 0;
  const { get } = scene({
    store: async () => {
      asked += 1;
      await Bun.sleep(50);
      return undefined;
    },
  });
  await Promise.all(Array.from({ length: 20 }, () => get("/readyz")));
  expect(asked).toBeLessThan(5);
});

test("a name that was made to point here is not answered", async () => {
  for (const host of ["127.0.0.1", "127.1", "::ffff:127.0.0.1"]) {
    const { get } = scene({}, { host, port: 0 });
    const under = async (name: string) => (await get("/metrics", { headers: { host: name } })).status;
    expect([host, await under("evil.example.com")]).toEqual([host, 403]);
    expect([host, await under("127.0.0.1.evil.example.com")]).toEqual([host, 403]);
    expect(await Promise.all(["localhost:1", "127.0.0.1:80", "[::1]"].map(under))).toEqual([200, 200, 200]);
  }
});

test("an address that is taken is said, and stops nobody", async () => {
  const first = scene();
  const port = Number(first.diagnostics.address?.split(":").at(-1));
  const second = scene({}, { host: "127.0.0.1", port });
  expect(second.diagnostics.address).toBeUndefined();
  expect(second.logged()).toMatchObject([
    {
      event: "diag.unavailable",
      severity: "WARN",
      address: `127.0.0.1:${port}`,
      reason: expect.stringContaining("in use"),
    },
  ]);
});

test("so is one that is not of this host", () => {
  const { diagnostics, logged } = scene({}, { host: "192.0.2.1", port: 0 });
  expect(diagnostics.address).toBeUndefined();
  expect(logged()).toMatchObject([{ event: "diag.unavailable" }]);
});
