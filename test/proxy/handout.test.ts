/** Downloads by strangers: whole or in part, few at a time, no faster and no longer than told. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readlinkSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Handout, type HandoutOptions } from "../../src/proxy/handout.ts";

const SIZE = 700_000;
const bytes = Buffer.from(Uint8Array.from({ length: SIZE }, (_, i) => (i * 7 + (i >> 8)) & 255));
let dir: string;
let path: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "mcpgate-handout-"));
  path = join(dir, "program");
  writeFileSync(path, bytes);
});
afterAll(() => {
  expect(openFiles()).toBe(0);
  rmSync(dir, { recursive: true, force: true });
});

/** How often this process has the program open. */
function openFiles(): number {
  if (process.platform !== "linux") return 0;
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(dir);
    } catch {
      return false;
    }
  }).length;
}

const SUM = "ab".repeat(32);
const opened = async (file = path) => ({ file: await open(file, "r"), size: SIZE, sha256: SUM });

/** One that must be answered with something. */
async function get(handout: Handout, headers: Record<string, string> = {}, from = "192.0.2.1", method = "GET") {
  const request = new Request("https://mcpgate.example.com/downloads/x", { method, headers });
  const response = await handout.answer(request, from, () => opened());
  if (response === undefined) throw new Error("no answer");
  return response;
}

const handout = (options: HandoutOptions = {}) => new Handout({ pace: 1e12, ...options });

test("whole, with a tag that is its sum", async () => {
  const response = await get(handout());
  expect([response.status, response.headers.get("etag")]).toEqual([200, `"${SUM}"`]);
  expect(bytes.equals(Buffer.from(await response.arrayBuffer()))).toBe(true);
});

test.each([
  ["bytes=0-", 0, SIZE],
  ["bytes=650000-", 650_000, SIZE],
  ["bytes=5-9", 5, 10],
  [`bytes=${SIZE - 1}-`, SIZE - 1, SIZE],
  ["bytes=699000-99999999", 699_000, SIZE],
])("%s", async (range, from, to) => {
  const response = await get(handout(), { range });
  expect(response.status).toBe(206);
  expect(response.headers.get("content-range")).toBe(`bytes ${from}-${to - 1}/${SIZE}`);
  expect(bytes.subarray(from, to).equals(Buffer.from(await response.arrayBuffer()))).toBe(true);
});

test.each([["bytes=-5"], ["bytes=9-5"], ["bytes=0-1,5-9"], ["bytes=x-"], ["lines=1-"], [`bytes=${"9".repeat(16)}-`]])(
  "what is no range with a beginning is answered with all of it: %s",
  async (range) => {
    const response = await get(handout(), { range });
    expect([response.status, (await response.arrayBuffer()).byteLength]).toEqual([200, SIZE]);
  },
);

test("a part of another program than there is now is not given", async () => {
  const same = await get(handout(), { range: "bytes=699990-", "if-range": `"${SUM}"` });
  expect([same.status, (await same.arrayBuffer()).byteLength]).toEqual([206, 10]);
  const other = await get(handout(), { range: "bytes=699990-", "if-range": '"other"' });
  expect([other.status, (await other.arrayBuffer()).byteLength]).toEqual([200, SIZE]);
});

test("beyond its end there is nothing, and its length is said", async () => {
  const response = await get(handout(), { range: `bytes=${SIZE}-` });
  expect([response.status, response.headers.get("content-range")]).toEqual([416, `bytes */${SIZE}`]);
});

test("HEAD tells the length, and holds nothing", async () => {
  const one = handout({ inAll: 1 });
  for (let i = 0; i < 3; i++) {
    const response = await get(one, {}, "192.0.2.1", "HEAD");
    expect([response.status, response.headers.get("content-length"), response.body]).toEqual([200, `${SIZE}`, null]);
  }
  expect(openFiles()).toBe(0);
});

test("few for each address, few in all, and who has ended makes room", async () => {
  const few = handout({ inAll: 3, perAddress: 2 });
  const first = await get(few);
  const second = await get(few);
  const third = await get(few);
  expect([first.status, second.status, third.status]).toEqual([200, 200, 429]);
  expect(third.headers.get("retry-after")).toBe("10");
  // one host's IPv6 addresses are one
  const sixth = await get(few, {}, "2001:db8::1");
  expect([sixth.status, (await get(few, {}, "2001:db8:1::1")).status]).toEqual([200, 429]);
  expect(openFiles()).toBe(3);

  await first.arrayBuffer();
  const next = await get(few);
  expect(next.status).toBe(200);
  await Promise.all([second.body?.cancel(), next.body?.cancel()]);
  const again = [await get(few), await get(few), await get(few)];
  expect(again.map(({ status }) => status)).toEqual([200, 200, 429]);
  await Promise.all([...again, sixth].map(({ body }) => body?.cancel()));
});

test("where there are too many, not even the file is looked for", async () => {
  const none = handout({ inAll: 0 });
  const request = new Request("https://mcpgate.example.com/downloads/x");
  const response = await none.answer(request, "192.0.2.1", () => Promise.reject(new Error("opened")));
  expect(response?.status).toBe(429);
});

test("what can't be opened holds no place", async () => {
  const one = handout({ inAll: 1 });
  const request = new Request("https://mcpgate.example.com/downloads/x");
  expect(await one.answer(request, "192.0.2.1", async () => undefined)).toBeUndefined();
  const failing = one.answer(request, "192.0.2.1", () => Promise.reject(new Error("disk")));
  expect(await failing?.catch((error: Error) => error.message)).toBe("disk");
  const response = await get(one);
  expect((await response.arrayBuffer()).byteLength).toBe(SIZE);
});

test("who does not read is cut, and its place is free", async () => {
  const one = handout({ inAll: 1, deadlineMs: 50 });
  const reader = (await get(one)).body?.getReader();
  await reader?.read();
  expect((await get(one)).status).toBe(429);
  const outcome = await reader?.closed.then(
    () => "whole",
    () => "an error",
  );
  expect(outcome).toBe("an error");
  const next = await get(one);
  expect((await next.arrayBuffer()).byteLength).toBe(SIZE);
});

test("all downloads together are no faster than told", async () => {
  const slow = handout({ pace: 4 * SIZE });
  const begun = performance.now();
  const both = await Promise.all([get(slow), get(slow, {}, "192.0.2.2")]);
  await Promise.all(both.map((response) => response.arrayBuffer()));
  // two of them at four a second: half a second, less the last piece of it
  expect(performance.now() - begun).toBeGreaterThan(350);
});

test("those who ask and leave put nobody off", async () => {
  const slow = handout({ pace: 4 * SIZE });
  for (let i = 0; i < 60; i++) {
    const reader = (await get(slow)).body?.getReader();
    void reader?.read();
    await reader?.cancel();
  }
  const begun = performance.now();
  await (await get(slow, { range: "bytes=0-99" })).arrayBuffer();
  // sixty pieces at that pace are three seconds
  expect(performance.now() - begun).toBeLessThan(500);
});

test("a program that is cut short while it is read ends in an error, and not as if it were whole", async () => {
  const short = join(dir, "short");
  writeFileSync(short, bytes);
  const slow = handout({ pace: 8 * SIZE });
  const request = new Request("https://mcpgate.example.com/downloads/x");
  const response = await slow.answer(request, "192.0.2.1", () => opened(short));
  truncateSync(short, 1000);
  const outcome = await response?.arrayBuffer().then(
    () => "whole",
    () => "an error",
  );
  expect(outcome).toBe("an error");
});

test("a client that goes in the middle makes room", async () => {
  const one = handout({ inAll: 1 });
  using server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => get(one) });
  const gone = new AbortController();
  const first = await fetch(server.url, { signal: gone.signal });
  expect(first.status).toBe(200);
  gone.abort();
  for (let status = 429; status === 429; ) {
    const next = await fetch(server.url);
    status = next.status;
    await next.arrayBuffer();
  }
});
