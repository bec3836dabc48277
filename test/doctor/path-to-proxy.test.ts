/** The way to a proxy, whole and broken in every place; a real proxy, and real things in between. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { HostPort } from "../../src/config/host-port.ts";
import type { Finding } from "../../src/doctor/finding.ts";
import { checkPath, type PathOptions } from "../../src/doctor/path-to-proxy.ts";
import { createCa, issueLeaf } from "../../src/identity/pki.ts";
import { CLIENT_PATH } from "../../src/link/protocol.ts";
import { fetchPinnedCa } from "../../src/link/trust.ts";
import { VERSION } from "../../src/version.ts";
import { type OwnProxy, startOwnProxy, wrong } from "./proxy-in-here.ts";

let proxy: OwnProxy;
let caPem: string;
const ca = await createCa("in between");
const leaf = await issueLeaf({ ca, names: ["127.0.0.1"] });
const tls = { cert: leaf.certPem, key: leaf.keyPem };

beforeAll(async () => {
  proxy = await startOwnProxy();
  caPem = await fetchPinnedCa(proxy.address, proxy.pin);
});
afterAll(() => proxy.stop());

const look = (o: Partial<PathOptions> = {}) =>
  checkPath({
    ...{ part: "client", trust: { proxy: proxy.address, caPem }, path: CLIENT_PATH, env: {}, now: Date.now },
    ...o,
  });
const lookAt = (port: number | undefined, o: Partial<PathOptions> = {}) =>
  look({ trust: { proxy: { host: "127.0.0.1", port: port ?? 0 }, caPem: ca.certPem }, ...o });
const fixOf = (findings: { check: string; fix?: string }[], check: string) =>
  findings.find((each) => each.check === check && each.fix !== undefined)?.fix;
const skipped = (failed: string, ...checks: string[]) =>
  checks.map((check) => `skip ${check}: not tried, as the ${failed} is not right`);

/** What anybody may ask a proxy. */
const find = (address: HostPort, more: object = {}) => ({
  ...{
    server_version: VERSION,
    min_client_version: VERSION,
    proxy: { public_addr: `${address.host}:${address.port}` },
  },
  ...more,
});
/** Answers as a proxy would, but for what is `more`; a WebSocket gets what `greeting` says. */
function pretend(more: object | string = {}, greeting?: string) {
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls,
    fetch(request, self): Response | undefined {
      if (greeting !== undefined && self.upgrade(request)) return undefined;
      if (typeof more === "string") return new Response(more);
      return Response.json(find({ host: "127.0.0.1", port: self.port ?? 0 }, more));
    },
    websocket: { open: (socket) => void socket.send(greeting ?? ""), message: () => {} },
  });
  return server;
}

test("a whole one", async () => {
  const { findings, reached } = await look({ pin: proxy.pin });
  expect([reached, wrong(findings)]).toEqual([true, []]);
  expect(findings.map(({ check }) => check)).toEqual([
    "name",
    "connection",
    "certificate",
    "version",
    "clock",
    "websocket",
  ]);
  expect(findings.at(-1)?.message).toMatch(/^open, and a ping comes back in \d+ ms$/);
});

test("no such name", async () => {
  const trust = { proxy: { host: "nowhere.invalid", port: 443 } };
  const { findings, reached } = await look({ trust });
  expect(reached).toBe(false);
  expect(wrong(findings)).toEqual([
    expect.stringMatching(/^fail name: the name nowhere\.invalid can't be resolved: /),
    ...skipped("name", "connection", "certificate", "version", "clock", "websocket"),
  ]);
  expect(fixOf(findings, "name")).toBe("getent hosts nowhere.invalid; cat /etc/resolv.conf");
});

test("nobody listens", async () => {
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response() });
  const port = server.port ?? 0;
  await server.stop(true);
  const { findings, reached } = await lookAt(port);
  expect([reached, wrong(findings)]).toEqual([
    false,
    [
      `fail connection: no connection to 127.0.0.1:${port}: ECONNREFUSED`,
      ...skipped("connection", "certificate", "version", "clock", "websocket"),
    ],
  ]);
  expect(fixOf(findings, "connection")).toContain(`TCP port ${port}`);
});

test("another CA than the pinned one", async () => {
  const pin = `sha256:${"0".repeat(64)}`;
  const { findings } = await look({ pin });
  expect(wrong(findings)).toEqual([
    `fail certificate: the CA of 127.0.0.1:${proxy.address.port} has the pin ${proxy.pin}, and ${pin} is what is trusted here`,
    ...skipped("certificate", "version", "clock", "websocket"),
  ]);
  expect(fixOf(findings, "certificate")).toContain("mcpgate client login --proxy=");
  const agent = await look({ pin, part: "agent" });
  expect(fixOf(agent.findings, "certificate")).toContain("set ca_pin to it");
});

test("the CA that has the pin is what the rest is checked by, where none is known yet", async () => {
  const { findings, reached, trust } = await look({ trust: { proxy: proxy.address }, pin: proxy.pin });
  expect([reached, wrong(findings), trust.caPem]).toEqual([true, [], caPem]);
});

test("what takes connections and says nothing", async () => {
  using silent = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const soFar: Finding[] = [];
  const { findings, reached } = await lookAt(silent.port, { pin: proxy.pin, pinMs: 20, soFar });
  expect(reached).toBe(false);
  expect(wrong(findings)).toEqual([
    `fail connection: 127.0.0.1:${silent.port} says nothing within 0.02 s`,
    ...skipped("connection", "certificate", "version", "clock", "websocket"),
  ]);
  expect(soFar).toEqual(findings);
});

test("a certificate that is not this CA's, or the web's", async () => {
  for (const trust of [{ proxy: proxy.address, caPem: ca.certPem }, { proxy: proxy.address }]) {
    const { findings, reached } = await look({ trust });
    expect(reached).toBe(false);
    expect(wrong(findings)[0]).toMatch(/^fail certificate: the certificate of 127\.0\.0\.1:\d+ can't be verified: /);
    expect(fixOf(findings, "certificate")).toContain("needs its pin");
  }
});

test("a clock that is off: a little is a warning, and ahead is not behind", async () => {
  const at = async (seconds: number) => wrong((await look({ now: () => Date.now() + seconds * 1000 })).findings);
  expect(await at(20)).toEqual([]);
  expect(await at(90)).toEqual([
    expect.stringMatching(/^warn clock: this host's clock is (89|90|91) s ahead of the proxy's$/),
  ]);
  expect(await at(-3600)).toEqual([
    expect.stringMatching(/^fail clock: this host's clock is 3(599|600|601) s behind the proxy's$/),
  ]);
});

describe("what answers there", () => {
  const cases: [name: string, more: object | string, expected: (port: number) => string, fix: string][] = [
    [
      "a web site",
      "<html>",
      (port) => `fail version: 127.0.0.1:${port} is no mcpgate proxy`,
      "what answers there is something else",
    ],
    [
      "a proxy that wants newer clients",
      { server_version: "99.1.0", min_client_version: "99.0.0" },
      () => `fail version: ${VERSION} here is too old for the proxy 99.1.0, which wants 99.0.0`,
      "the line that came with your invite",
    ],
    [
      "a newer proxy",
      { server_version: "99.1.0" },
      () => `warn version: ${VERSION} here, and the proxy has 99.1.0`,
      "the line that came with your invite",
    ],
    [
      "a proxy that is too old",
      { server_version: "0.0.1" },
      () => `fail version: the proxy 0.0.1 is too old for ${VERSION} here`,
      "first",
    ],
    [
      "a proxy under another address",
      { proxy: { public_addr: "mcpgate.example.com:443" } },
      (port) =>
        `fail address: the proxy's public address is mcpgate.example.com:443, and 127.0.0.1:${port} is what is dialled: proofs are refused`,
      "--proxy=mcpgate.example.com:443",
    ],
    [
      "a proxy whose address is a command",
      { proxy: { public_addr: "x;reboot" } },
      () => "fail address: the proxy's public address is none",
      "correct proxy_service.public_addr",
    ],
    [
      "one that colours its version",
      { server_version: "99.0.0\u001b[31m" },
      () => `warn version: the proxy has 99.0.0\\u001b[31m, and ${VERSION} is here`,
      "install this release",
    ],
  ];
  for (const [name, more, expected, fix] of cases) {
    test(name, async () => {
      const server = pretend(more, JSON.stringify({ t: "challenge", nonce: "n", version: VERSION }));
      const { findings } = await lookAt(server.port);
      const [first = ""] = wrong(findings);
      expect(first).toBe(expected(server.port ?? 0));
      expect(findings.find(({ state }) => state === "fail" || state === "warn")?.fix).toContain(fix);
      await server.stop(true);
    });
  }
});

describe("a WebSocket", () => {
  test("that an HTTP proxy in front does not pass on", async () => {
    const behind = await startOwnProxy({ tls: "off" });
    // as one does that knows requests and nothing else
    const front: Bun.Server<undefined> = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      tls,
      async fetch(request) {
        const { pathname } = new URL(request.url);
        const answer = await fetch(`http://127.0.0.1:${behind.address.port}${pathname}`, { method: request.method });
        if (pathname !== "/v1/webapi/find") return new Response(await answer.text(), { status: answer.status });
        return Response.json(find({ host: "127.0.0.1", port: front.port ?? 0 }));
      },
    });
    const { findings, reached } = await lookAt(front.port);
    expect(reached).toBe(true);
    expect(wrong(findings)).toEqual([
      expect.stringMatching(
        /^fail websocket: no WebSocket to 127\.0\.0\.1:\d+: the upgrade was answered with status 4\d\d$/,
      ),
    ]);
    expect(fixOf(findings, "websocket")).toContain("has to pass `Upgrade: websocket` on /v1/session");
    await Promise.all([front.stop(true), behind.stop()]);
  });

  test("to something that is no proxy", async () => {
    const server = pretend({}, "hello");
    expect(wrong((await lookAt(server.port)).findings)).toEqual([
      expect.stringContaining("fail websocket: no WebSocket to"),
    ]);
    await server.stop(true);
  });

  test("whose pings are swallowed", async () => {
    // The handshake by hand: whatever comes after it is not answered.
    const hello = Buffer.from(JSON.stringify({ t: "challenge", nonce: "n", version: VERSION }));
    const server = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      tls,
      socket: {
        data(socket, chunk) {
          const text = chunk.toString("latin1");
          const [, key] = /^Sec-WebSocket-Key: (\S+)/im.exec(text) ?? [];
          if (text.startsWith("GET /v1/webapi/find")) {
            const body = JSON.stringify(find({ host: "127.0.0.1", port: server.port }));
            const head = `HTTP/1.1 200 OK\r\ndate: ${new Date().toUTCString()}\r\nconnection: close\r\n`;
            socket.write(`${head}content-length: ${body.length}\r\n\r\n${body}`);
          } else if (key !== undefined) {
            const accept = new Bun.CryptoHasher("sha1")
              .update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
              .digest("base64");
            const head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n";
            socket.write(`${head}sec-websocket-accept: ${accept}\r\n\r\n`);
            socket.write(Buffer.concat([Buffer.from([0x81, hello.length]), hello]));
          }
        },
      },
    });
    const { findings } = await lookAt(server.port, { pongMs: 100 });
    expect(wrong(findings)).toEqual([
      expect.stringMatching(/^fail websocket: a WebSocket to .* opens, but pings do not come back$/),
    ]);
    server.stop(true);
  });
});
