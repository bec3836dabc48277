/** What the port says to requests that are none, and where something of ours fails. */
import { afterEach, expect, test } from "bun:test";
import { connect } from "node:net";
import { createLog } from "../../src/log.ts";
import { Listener } from "../../src/proxy/listener.ts";

let listener: Listener;
let logged: string[];
function open(): void {
  logged = [];
  const log = createLog({ write: (line) => void logged.push(line) });
  listener = new Listener({ listen: { host: "127.0.0.1", port: 0 }, trustedProxies: [] }, {}, log);
}
afterEach(() => listener.close());

/** All that comes back until the other side closes. */
function say(text: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = connect(listener.port, "127.0.0.1", () => socket.end(Buffer.from(text, "latin1")));
  let heard = "";
  socket.setEncoding("latin1");
  socket.on("data", (chunk) => {
    heard += chunk;
  });
  socket.on("close", () => resolve(heard));
  socket.on("error", reject);
  return promise;
}

test.each([
  "GET / HTTP/1.0\r\n\r\n",
  ...["a/b", "a?b", "a@b", "[::1", "%%", "x y", "a:99999", "x/scripts/install.sh?"].map(
    (host) => `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
  ),
])("without a Host, or with one that is none, the answer is a short no: %j", async (request) => {
  open();
  const routed: string[] = [];
  listener.serve(({ url }) => {
    routed.push(url);
    return () => new Response("here");
  });
  const answer = await say(request);
  expect(answer).toStartWith("HTTP/1.1 400 ");
  expect(answer).toEndWith("\r\n\r\nno valid Host header\n");
  expect([routed, logged]).toEqual([[], []]);
});

test("what fails inside is told to the log, and nothing of it to whoever asked", async () => {
  open();
  listener.serve(({ url }) => {
    if (url.endsWith("/now")) throw new Error("the inner works");
    return () => Promise.reject(new Error("the inner works"));
  });
  for (const path of ["/now", "/later"]) {
    const answer = await say(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    expect(answer).toStartWith("HTTP/1.1 500 ");
    expect(answer.length).toBeLessThan(300);
    expect(answer).not.toContain("works");
  }
  expect(logged).toHaveLength(2);
  expect(logged[0]).toContain('http.failed error="the inner works"');
});

test("a port that is taken is not shared", () => {
  open();
  const { port } = listener;
  const log = createLog({ write: () => {} });
  const second = () => new Listener({ listen: { host: "127.0.0.1", port }, trustedProxies: [] }, {}, log);
  expect(second).toThrow(`127.0.0.1:${port} is in use by another process`);
});
