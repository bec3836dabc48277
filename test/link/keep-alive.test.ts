import { expect, test } from "bun:test";
import { KeepAlive, WATCH_MS } from "../../src/link/keep-alive.ts";

/** Looks as often as a client does, from `from` to `to`; answers with when what was found. */
function watch(alive: KeepAlive, lastHeard: () => number, to: number) {
  const found: [number, string][] = [];
  for (let now = 0; now <= to; now += WATCH_MS) {
    const verdict = alive.look(now, lastHeard());
    if (verdict !== "fine") found.push([now, verdict]);
    if (verdict === "lost") break;
  }
  return found;
}

test("an idle connection is never silent for half of what load balancers allow (30 s)", () => {
  let heard = 0;
  const asked: number[] = [];
  const alive = new KeepAlive();
  for (let now = 0; now <= 600_000; now += WATCH_MS) {
    if (alive.look(now, heard) !== "ask") continue;
    asked.push(now);
    heard = now + 50; // the answer
  }
  const gaps = asked.map((at, i) => at - (asked[i - 1] ?? 0));
  expect(Math.max(...gaps)).toBeLessThanOrEqual(15_000 + WATCH_MS);
  expect(asked.length).toBeGreaterThan(600_000 / 20_000);
});

test("a peer that says nothing is asked, and given up well under a minute", () => {
  const found = watch(new KeepAlive(), () => 0, 120_000);
  expect(found.map(([, verdict]) => verdict)).toEqual(["ask", "lost"]);
  expect(found.at(-1)?.[0]).toBeLessThan(30_000);
});

test("one that is heard is not asked; a new connection is asked anew", () => {
  const alive = new KeepAlive();
  expect([alive.look(10_000, 9_000), alive.look(20_000, 7_000), alive.look(21_000, 7_000)]).toEqual([
    "fine",
    "ask",
    "fine",
  ]);
  alive.reset();
  expect(alive.look(21_000, 7_000)).toBe("ask");
});
