/** What an agent that says too much can have of the proxy. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import type { Failure } from "../../src/errors.ts";
import { ConnectedAgent } from "../../src/proxy/connected-agent.ts";
import type { Socket } from "../../src/proxy/socket.ts";

let agent: ConnectedAgent;
let failures: Failure[];
const onFailed = (failure: Failure) => void failures.push(failure);
const MIB = 1024 * 1024;

beforeEach(() => {
  failures = [];
  const socket = { sendText() {}, close() {}, refuse() {} } as unknown as Socket;
  agent = new ConnectedAgent({ id: "a", name: "a" }, socket, [], Date.now);
});
afterEach(() => agent.ended());

test("messages wait for each other up to a size, and beyond it all that wait are dropped", async () => {
  const done: number[] = [];
  const gate = Promise.withResolvers<void>();
  agent.inOrder(() => gate.promise, onFailed, 4 * MIB);
  for (let i = 0; i < 100; i++) agent.inOrder(async () => void done.push(i), onFailed, 4 * MIB);
  expect(failures.map(({ code }) => code)).toEqual(["too_many_requests"]);
  gate.resolve();
  await agent.settled;
  expect(done).toEqual([]);
});

test("messages that say nothing count, too", () => {
  const gate = Promise.withResolvers<void>();
  for (let i = 0; i < 100_000 && failures.length === 0; i++) agent.inOrder(() => gate.promise, onFailed, 0);
  expect(failures.map(({ code }) => code)).toEqual(["too_many_requests"]);
  gate.resolve();
});

test("one that is dealt with in time may say any amount", async () => {
  let done = 0;
  for (let i = 0; i < 100; i++) {
    agent.inOrder(async () => void done++, onFailed, 4 * MIB);
    await agent.settled;
  }
  expect([done, failures.length]).toEqual([100, 0]);
});

test("health of apps that it names no more is forgotten", () => {
  const heap = () => {
    Bun.gc(true);
    return process.memoryUsage().heapUsed;
  };
  const tell = (round: number) =>
    agent.noteHealth(
      Array.from({ length: 1000 }, (_, i) => ({ app: `${round}-${i}-`.padEnd(512, "x"), state: "failing", at: "1" })),
    );
  tell(0);
  const before = heap();
  for (let round = 1; round <= 60; round++) tell(round);
  expect(heap() - before).toBeLessThan(10 * MIB);
  expect(agent.failing("60-1-".padEnd(512, "x"))).toBe(true);
  expect(agent.failing("59-1-".padEnd(512, "x"))).toBe(false);
});
