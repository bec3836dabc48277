/** sd_notify(3), to a real datagram socket. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDatagramSocket } from "../../src/systemd/datagram.ts";
import { createNotifier, giveSigns, openNotifier } from "../../src/systemd/notify.ts";
import { openReceiver } from "./receiver.ts";

const dir = mkdtempSync(join(tmpdir(), "mcpgate-notify-"));
afterAll(() => rmSync(dir, { recursive: true }));
const isLinux = process.platform === "linux";

describe.skipIf(!isLinux)("to a socket", () => {
  test.each([join(dir, "a.sock"), `@mcpgate-test-${process.pid}`])("%s hears everything", (address) => {
    const receiver = openReceiver(address);
    try {
      const env: Record<string, string | undefined> = { NOTIFY_SOCKET: address, WATCHDOG_USEC: "30000000", OTHER: "1" };
      const notifier = openNotifier(env);
      expect(env).toEqual({ OTHER: "1" }); // nobody whom we start is to speak for us
      expect(notifier.watchdogMs).toBe(30_000);
      notifier.ready("offers a, b");
      notifier.status("one line\nREADY=0");
      notifier.reloading();
      notifier.alive();
      notifier.stopping(25);
      const heard = receiver.messages();
      expect(new Set(heard.map(({ pid }) => pid))).toEqual(new Set([process.pid]));
      const [ready, status, reloading, ...rest] = heard.map(({ lines }) => lines);
      expect(ready).toEqual(["READY=1", "STATUS=offers a, b"]);
      expect(status).toEqual(["STATUS=one line\\u000aREADY=0"]);
      expect(rest).toEqual([["WATCHDOG=1"], ["STOPPING=1", "EXTEND_TIMEOUT_USEC=25000000"]]);
      expect(reloading?.[0]).toBe("RELOADING=1");
      // the kernel's clock since the start of the host, without the time that it slept
      const uptime = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
      const said = Number(/^MONOTONIC_USEC=(\d+)$/.exec(reloading?.[1] ?? "")?.[1]) / 1e6;
      expect(said).toBeGreaterThan(0);
      expect(said).toBeLessThanOrEqual(uptime + 0.1);
    } finally {
      receiver.close();
    }
  });

  test("what a busy manager does not take now, it gets later, in order", async () => {
    const receiver = openReceiver(join(dir, "busy.sock"));
    try {
      const address = join(dir, "busy.sock");
      // Fills the queue of a socket that nobody reads (net.unix.max_dgram_qlen); each sender may only have so much under way.
      for (let sender = openDatagramSocket(address); sender?.("X=1"); sender = openDatagramSocket(address)) {
        while (sender("X=1"));
      }
      const notifier = openNotifier({ NOTIFY_SOCKET: address });
      for (let index = 0; index < 5; index++) notifier.status(`${index}`);
      notifier.alive(); // a sign of life is not worth waiting for
      notifier.ready("at last");
      await receiver.heard("READY=1");
      const said = receiver.messages().flatMap(({ lines }) => lines.filter((line) => line !== "X=1"));
      expect(said).toEqual([...[0, 1, 2, 3, 4].map((each) => `STATUS=${each}`), "READY=1", "STATUS=at last"]);
    } finally {
      receiver.close();
    }
  });
});

test.each([
  ["nobody asks", {}],
  ["a kind of address that we don't know", { NOTIFY_SOCKET: "vsock:2:1234", WATCHDOG_USEC: "1000000" }],
  ["nobody is there", { NOTIFY_SOCKET: join(dir, "none.sock") }],
  ["a path that is too long", { NOTIFY_SOCKET: `/${"x".repeat(108)}` }],
])("%s: nothing happens", (_, env: Record<string, string | undefined>) => {
  const notifier = openNotifier(env);
  notifier.ready("ready");
  notifier.reloading();
  expect(notifier.watchdogMs).toBeUndefined();
  expect(giveSigns(notifier)).toBeFunction();
});

test("signs of life are given by the process that they are wanted of", () => {
  const ask = (pid: number, usec = "2000000") =>
    openNotifier({ NOTIFY_SOCKET: join(dir, "x"), WATCHDOG_USEC: usec, WATCHDOG_PID: `${pid}` }).watchdogMs;
  expect(ask(process.pid)).toBe(isLinux ? 2_000 : undefined);
  expect(ask(process.ppid)).toBeUndefined();
  expect(ask(process.pid, "0")).toBeUndefined();
  expect(ask(process.pid, "-5")).toBeUndefined();
});

describe("signs of life", () => {
  /** Counts them, and resolves at the `n`th. */
  function counted(n: number) {
    const enough = Promise.withResolvers<void>();
    let count = 0;
    const notifier = createNotifier((state) => {
      expect(state).toBe("WATCHDOG=1");
      if (++count === n) enough.resolve();
    }, 30);
    return { notifier, enough: enough.promise, count: () => count };
  }

  test("three in the time in which one is due, the first at once", async () => {
    const { notifier, enough, count } = counted(7);
    const began = performance.now();
    const stop = giveSigns(notifier);
    await enough;
    expect(performance.now() - began).toBeGreaterThan(50);
    stop();
    const then = count();
    await Bun.sleep(30);
    expect(count()).toBe(then);
  });

  test("none while the question is not answered, nor after one that can't be", async () => {
    const first = Promise.withResolvers<void>();
    const { notifier, enough, count } = counted(1);
    let asked = 0;
    const stop = giveSigns(notifier, () => (asked++ === 0 ? first.promise : Promise.reject(new Error("dead"))));
    await Bun.sleep(40);
    expect([asked, count()]).toEqual([1, 0]);
    first.resolve();
    await enough;
    await Bun.sleep(40);
    expect([asked, count()]).toEqual([2, 1]);
    stop();
  });
});
