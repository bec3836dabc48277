/** What `agent start` tells systemd, also while the proxy can't be reached: what it does then is in `e2e/notify.test.ts`. */
import { afterAll, afterEach, expect, jest, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RunningAgent } from "../../src/agent/agent.ts";
import { createNotifier } from "../../src/systemd/notify.ts";
import { capture } from "./capture.ts";

const dir = mkdtempSync(join(tmpdir(), "mcpgate-state-"));
const config = join(dir, "agent.yaml");
writeFileSync(config, "mcpgate: {proxy_server: p}\napp_service: {drain: 7s}\n");

afterEach(() => {
  jest.useRealTimers();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test("a proxy that can't be reached does not hold up the start of the host", async () => {
  const told: string[] = [];
  const started = Promise.withResolvers<void>();
  const stop = Promise.withResolvers<void>();
  const agent: Partial<RunningAgent> = {
    ready: new Promise(() => {}),
    closed: new Promise(() => {}),
    stop: async () => void told.push("stopped"),
  };
  jest.useFakeTimers();
  const ended = capture(["agent", "start", "-c", config], {
    stopped: stop.promise,
    services: {
      openGuard: async () => ({
        tell: () => {},
        lost: new Promise(() => {}),
        notifier: createNotifier((state) => void told.push(state)),
      }),
      startAgent: async () => {
        started.resolve();
        return agent as RunningAgent;
      },
    },
  });
  await started.promise;
  for (let turn = 0; turn < 50; turn++) await Promise.resolve(); // what comes after it without waiting for anything
  jest.advanceTimersByTime(19_000);
  expect(told).toEqual([]);
  jest.advanceTimersByTime(2_000);
  expect(told).toEqual(["READY=1\nSTATUS=the proxy can't be reached; dialling on"]);
  stop.resolve();
  expect(await ended).toMatchObject({ exitCode: 0, stdout: "" });
  expect(told.slice(1)).toEqual(["STOPPING=1\nEXTEND_TIMEOUT_USEC=22000000", "stopped"]);
});

test("systemd's line about an agent says when the proxy is gone, when it is back, and what else is offered then", async () => {
  const told: string[] = [];
  const running = Promise.withResolvers<void>();
  const stop = Promise.withResolvers<void>();
  let offers: string[] | undefined = ["demo"];
  const agent: Partial<RunningAgent> = {
    ready: Promise.resolve({ agent: "a", apps: ["demo"] }),
    closed: new Promise(() => {}),
    offers: () => offers,
    stop: async () => {},
  };
  const status = (): string[] => told.splice(0).map((each) => each.replace(/^READY=1\n/, ""));
  jest.useFakeTimers();
  const ended = capture(["agent", "start", "-c", config], {
    stopped: stop.promise,
    onPrint: () => running.resolve(),
    services: {
      openGuard: async () => ({
        tell: () => {},
        lost: new Promise(() => {}),
        notifier: createNotifier((state) => void told.push(state)),
      }),
      startAgent: async () => agent as RunningAgent,
    },
  });
  await running.promise;
  for (let turn = 0; turn < 50; turn++) await Promise.resolve();
  expect(status()).toEqual(["STATUS=offers demo"]);
  jest.advanceTimersByTime(5_000);
  expect(status()).toEqual([]);
  offers = undefined;
  jest.advanceTimersByTime(5_000);
  expect(status()).toEqual(["STATUS=not connected to the proxy; dialling on"]);
  offers = ["demo", "notes"];
  jest.advanceTimersByTime(5_000);
  expect(status()).toEqual(["STATUS=offers demo, notes"]);
  stop.resolve();
  expect(await ended).toMatchObject({ exitCode: 0 });
});
