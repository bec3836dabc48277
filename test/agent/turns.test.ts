/** A server that floods its output leaves the event loop to the others. */
import { afterEach, expect, test } from "bun:test";
import { portions, Turns } from "../../src/agent/turns.ts";
import { isLinux, start, stopAll } from "./scene.ts";

afterEach(stopAll);

const busy = (ms: number): void => {
  const until = performance.now() + ms;
  while (performance.now() < until);
};

test("a chunk is handed over in parts of so many lines, and nothing of it is lost", () => {
  const parts = (text: string) => [...portions(Buffer.from(text), 2)].map((part) => Buffer.from(part).toString());
  expect(parts("a\nb\nc\nd\ne")).toEqual(["a\nb\n", "c\nd\n", "e"]);
  expect(parts("a\nb\n")).toEqual(["a\nb\n"]);
  expect(parts("a\nb\nc")).toEqual(["a\nb\n", "c"]);
  expect(parts("no end")).toEqual(["no end"]);
  expect(parts("")).toEqual([]);
  const whole = Buffer.from("one line\n");
  expect([...portions(whole)][0]).toBe(whole);
});

test("timers have their turn, whatever is ready at once; a stream that takes all there is has to rest", async () => {
  const turns = new Turns();
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  const began = performance.now();
  let spent = 0;
  while (performance.now() - began < 1_500) {
    await turns.take(() => busy(1));
    spent++;
  }
  clearInterval(timer);
  expect(ticks).toBeGreaterThan(100);
  // All of the first second, half of the rest.
  expect(spent).toBeLessThan(1_400);
});

test.skipIf(!isLinux)("of a server that prints without end, on stdout and on stderr", async () => {
  const onStdout = (chunk: Uint8Array): void => {
    // As costly as lines that are no messages are.
    for (const _ of portions(chunk, 1)) JSON.stringify(performance.now());
  };
  const { server } = await start({ command: "sh", args: ["-c", "yes >&2 & exec yes"], onStdout });
  let ticks = 0;
  const timer = setInterval(() => ticks++, 10);
  await Bun.sleep(500);
  clearInterval(timer);
  expect(ticks).toBeGreaterThan(5);
  await server.stop({ inputMs: 0, termMs: 100 });
});
