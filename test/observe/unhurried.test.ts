import { expect, test } from "bun:test";
import { unhurried } from "../../src/observe/unhurried.ts";

function scene(cost: number) {
  let [now, made] = [0, 0];
  const make = async () => {
    now += cost;
    return ++made;
  };
  const wait = (ms: number) => {
    now += ms;
  };
  return { ask: unhurried(make, () => now), wait, made: () => made };
}

test("who asks now and then gets an answer of their own, however long it takes to make", async () => {
  const { ask, wait } = scene(150);
  for (let i = 1; i <= 10; i++) {
    expect(await ask()).toBe(i);
    wait(15_000);
  }
});

test("who asks in a few quick turns does, too", async () => {
  const { ask } = scene(3);
  for (let i = 1; i <= 50; i++) expect(await ask()).toBe(i);
});

test("who asks all the time has a tenth of it, and answers that are not old", async () => {
  const { ask, wait, made } = scene(20);
  let [newest, age] = [0, 0];
  for (let i = 0; i < 10_000; i++) {
    const before = made();
    const answer = await ask();
    expect(answer).toBe(made());
    wait(1);
    age = made() === before ? age + 1 : 0;
    newest = Math.max(newest, age);
  }
  // 10 s and what the answers took: a tenth, and the first ten.
  expect(made()).toBeLessThan(70);
  expect(newest).toBeLessThan(2_000);
});

test("what fails is asked for again", async () => {
  let fails = true;
  const ask = unhurried(async () => {
    if (fails) throw new Error("no");
    return 1;
  });
  await expect(ask()).rejects.toThrow("no");
  fails = false;
  expect(await ask()).toBe(1);
});
