import { expect, test } from "bun:test";
import { watchTerminal } from "../src/terminal.ts";

test("a terminal is lost once it was there and is not any more", () => {
  let there = true;
  const isLost = watchTerminal(() => there);
  expect(isLost()).toBe(false);
  there = false;
  expect(isLost()).toBe(true);
});

test("a service that was started without one loses none", () => {
  expect(watchTerminal(() => false)()).toBe(false);
});
