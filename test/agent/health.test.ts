/** How apps do, and how long the next start waits after failures. */
import { expect, test } from "bun:test";
import { AppHealth } from "../../src/agent/health.ts";

function open(now: { ms: number }) {
  const changes: string[] = [];
  const health = new AppHealth(
    ["a", "b"],
    () =>
      changes.push(
        health
          .list()
          .map(({ state }) => state)
          .join(),
      ),
    () => now.ms,
  );
  return { health, changes };
}

test("is unknown, then what the last start was", () => {
  const { health, changes } = open({ ms: 0 });
  expect(health.list()).toEqual([
    { app: "a", state: "unknown" },
    { app: "b", state: "unknown" },
  ]);
  health.ok("a");
  health.ok("a");
  health.failed("b", "exited with code 3");
  health.failed("not configured", "x");
  expect(changes).toEqual(["ok,unknown", "ok,failing"]);
  expect(health.list()[1]).toMatchObject({ state: "failing", error: "exited with code 3" });
  health.ok("b");
  expect(health.list()[1]).not.toHaveProperty("error");
});

test("one failure costs the next start nothing; from the second on it waits, longer each time, up to ten seconds", () => {
  const now = { ms: 1_000 };
  const { health } = open(now);
  const waits = Array.from({ length: 9 }, () => {
    health.failed("a", "x");
    return health.waitMs("a");
  });
  expect(waits).toEqual([0, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000]);
  now.ms += 9_000;
  expect(health.waitMs("a")).toBe(1_000);
  expect(health.waitMs("b")).toBe(0);
  health.ok("a");
  expect(health.waitMs("a")).toBe(0);
});

test("sessions that shared a server all tell of its end, and it counts once", () => {
  const now = { ms: 0 };
  const { health } = open(now);
  for (let i = 0; i < 5; i++) health.failed("a", "the server exited with code 3", 77);
  expect(health.waitMs("a")).toBe(0);
  health.failed("a", "the server exited with code 3", 78);
  expect(health.waitMs("a")).toBeGreaterThan(0);
});
