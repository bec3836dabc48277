import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Budget } from "../../src/link/budget.ts";
import { chooseVersion, encodeData, encodeFrame, MAX_PAYLOAD } from "../../src/link/frame.ts";
import { MAX_WINDOW, MIN_WINDOW } from "../../src/link/window.ts";
import { bytes, end, Wire } from "./wire.ts";

const text = (value: string) => new TextEncoder().encode(value);

describe("a link on one connection", () => {
  test("delivers bytes both ways, in order, and its end after them", () => {
    const wire = new Wire(end(), end());
    wire.a.link.write(text("one\n"));
    wire.a.link.write(text("two\n"));
    wire.b.link.write(text("back\n"));
    wire.a.link.end();
    wire.deliver();
    expect(bytes(wire.b.received).toString()).toBe("one\ntwo\n");
    expect(bytes(wire.a.received).toString()).toBe("back\n");
    expect(wire.b.ended).toBe(true);
    expect(wire.a.ended).toBe(false);
  });

  test("stops at its window until the other end consumed, and then says so", async () => {
    const held: PromiseWithResolvers<void>[] = [];
    const slow = end({
      onData: () => {
        const gate = Promise.withResolvers<void>();
        held.push(gate);
        return gate.promise;
      },
    });
    const wire = new Wire(end({ window: 1000 }), slow);
    expect(wire.a.link.write(new Uint8Array(3000))).toBe(false);
    wire.deliver();
    expect(wire.a.link.held).toBe(3000);
    let drained = false;
    const waiting = wire.a.link.drained().then(() => {
      drained = true;
    });
    await Promise.resolve();
    expect(drained as boolean).toBe(false);
    while (!drained) {
      held.shift()?.resolve();
      await Bun.sleep(1); // the acknowledgement comes by a timer
      wire.deliver();
    }
    await waiting;
    expect(drained as boolean).toBe(true);
  });

  test("close reaches the other end with its reason, after the data before it", () => {
    const wire = new Wire(end(), end());
    wire.a.link.write(text("last words"));
    wire.a.link.close("server_exited", "exited with code 3");
    wire.deliver();
    expect(bytes(wire.b.received).toString()).toBe("last words");
    expect(wire.b.closed).toEqual({ code: "server_exited", message: "exited with code 3", by: "peer" });
    expect(wire.a.closed?.by).toBe("self");
  });

  test("flushed() waits for the acknowledgement, not for the sending", async () => {
    const wire = new Wire(end(), end());
    wire.a.link.write(text("x"));
    let flushed = false;
    const waiting = wire.a.link.flushed().then(() => {
      flushed = true;
    });
    await Promise.resolve();
    expect(flushed).toBe(false);
    wire.deliver();
    while (!flushed) {
      await Bun.sleep(1); // the acknowledgement may wait a moment for data to travel with
      wire.deliver();
    }
    await waiting;
  });
});

describe("the window", () => {
  const chunk = new Uint8Array(8 * 1024 * 1024);

  test("grows to its largest where it holds the bytes back, and goes back when all is delivered", () => {
    const taken: number[] = [];
    const budget = { take: (n: number) => taken.push(n) > 0, give: (n: number) => void taken.push(-n) };
    const wire = new Wire(end({ budget }), end());
    wire.a.link.write(chunk);
    while (wire.deliver(1));
    expect(wire.b.received.reduce((sum, { length }) => sum + length, 0)).toBe(chunk.length);
    expect(taken.filter((n) => n > 0).reduce((a, b) => a + b)).toBe(MAX_WINDOW - MIN_WINDOW);
    expect(taken.reduce((a, b) => a + b)).toBe(0);
  });

  test("stays at its smallest where the budget is used up, and the bytes still arrive", () => {
    const budget = new Budget({ total: 10_000_000, user: 1000 });
    let most = 0;
    const a = end({ budget: budget.of("alice") });
    const wire = new Wire(a, end());
    a.link.write(chunk);
    while (wire.deliver(1)) most = Math.max(most, wire.waitingForB * MAX_PAYLOAD);
    expect(wire.b.received.reduce((sum, { length }) => sum + length, 0)).toBe(chunk.length);
    expect(most).toBeLessThanOrEqual(MIN_WINDOW + MAX_PAYLOAD);
    expect(budget.used).toBe(0);
  });

  test("one user's budget is not another's, and what is given back can be taken again", () => {
    const budget = new Budget({ total: 300, user: 200 });
    const [alice, bob] = [budget.of("alice"), budget.of("bob")];
    expect([alice.take(200), alice.take(1), bob.take(100), bob.take(1)]).toEqual([true, false, true, false]);
    alice.give(200);
    expect([bob.take(100), budget.used]).toEqual([true, 200]);
  });
});

describe("a link whose connections are cut", () => {
  test("goes on from the last byte that the other end consumed", () => {
    const a = end();
    const b = end();
    const first = new Wire(a, b);
    a.link.write(text("abc"));
    a.link.write(text("def"));
    first.deliver(2); // hello and "abc" arrive, "def" is lost
    first.cut();
    a.link.write(text("ghi"));
    const second = new Wire(a, b);
    second.deliver();
    expect(bytes(b.received).toString()).toBe("abcdefghi");
    expect(a.lost).toBe(1);
  });

  test("an older connection is fenced off", () => {
    const a = end();
    const b = end();
    const first = new Wire(a, b);
    first.deliver();
    const second = new Wire(a, b);
    second.deliver();
    first.inject(encodeData(0, 0, text("from the past")));
    expect(b.received).toEqual([]);
    a.link.write(text("now"));
    second.deliver();
    expect(bytes(b.received).toString()).toBe("now");
  });

  test("random cuts, sizes and orders: every byte once, in order, both ways, and the ends after them", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            {
              weight: 6,
              arbitrary: fc.record({
                do: fc.constant("write" as const),
                from: fc.boolean(),
                size: fc.integer({ min: 1, max: 5000 }),
              }),
            },
            {
              weight: 4,
              arbitrary: fc.record({ do: fc.constant("deliver" as const), frames: fc.integer({ min: 1, max: 6 }) }),
            },
            { weight: 1, arbitrary: fc.record({ do: fc.constant("cut" as const) }) },
          ),
          { maxLength: 80 },
        ),
        fc.integer({ min: 500, max: 4000 }),
        (steps, window) => {
          const a = end({ window });
          const b = end({ window });
          let wire = new Wire(a, b);
          const sent = { a: [] as Uint8Array[], b: [] as Uint8Array[] };
          let next = 0;
          for (const step of steps) {
            if (step.do === "deliver") wire.deliver(step.frames);
            else if (step.do === "cut") {
              wire.cut();
              wire = new Wire(a, b);
            } else {
              const chunk = Uint8Array.from({ length: step.size }, () => next++ & 0xff);
              (step.from ? sent.a : sent.b).push(chunk);
              (step.from ? a : b).link.write(chunk);
            }
          }
          a.link.end();
          b.link.end();
          // A last connection that holds: everything has to come through. Acknowledgements may wait for their timer,
          // and a new connection says at once what was consumed.
          for (let i = 0; i < 400 && !(a.ended && b.ended); i++) {
            if (!wire.deliver()) {
              wire.cut();
              wire = new Wire(a, b);
            }
          }
          expect(bytes(b.received).equals(bytes(sent.a))).toBe(true);
          expect(bytes(a.received).equals(bytes(sent.b))).toBe(true);
          expect([a.ended, b.ended]).toEqual([true, true]);
          a.link.close("end", "");
          b.link.close("end", "");
        },
      ),
      { numRuns: 300 },
    );
  });
});

test("of the versions that the client offers, the newest that the agent knows", () => {
  expect(chooseVersion([1, 2, 3], [1, 2])).toBe(2);
  expect(chooseVersion([3, 1], [1, 2])).toBe(1);
  expect(chooseVersion([3], [1, 2])).toBeUndefined();
});

describe("a peer that does not keep to it", () => {
  test.each([
    ["an empty frame", new Uint8Array(0)],
    ["an unknown type", new Uint8Array([99, 1, 2, 3])],
    ["a data frame without data", encodeData(0, 0, new Uint8Array(0))],
    ["a data frame over the size", encodeData(0, 0, new Uint8Array(MAX_PAYLOAD + 1))],
    ["a gap", encodeData(10, 0, text("x"))],
  ])("%s costs the connection, not the session", (_name, frame) => {
    const wire = new Wire(end(), end());
    wire.deliver();
    wire.inject(frame);
    expect(wire.b.lost).toBe(1);
    expect(wire.b.closed).toBeUndefined();
  });

  test("an acknowledgement of bytes that were never sent ends the session", () => {
    const wire = new Wire(end(), end());
    wire.deliver();
    wire.inject(encodeFrame({ type: "ack", received: 5 }));
    expect(wire.b.closed?.by).toBe("protocol");
  });

  test("an end that forgot what it had acknowledged ends the session: it is another process", () => {
    const a = end();
    const b = end();
    const first = new Wire(a, b);
    a.link.write(text("abc"));
    first.deliver();
    first.cut();
    const second = new Wire(a, b);
    second.deliver(); // now `a` knows that b holds 3
    second.cut();
    const third = new Wire(a, end());
    third.deliver();
    expect(a.closed?.by).toBe("protocol");
    expect(a.closed?.message).toContain("lost 3 bytes");
  });

  test("more than the largest window ends the session: memory stays bounded", () => {
    const stuck = end({ onData: () => new Promise(() => {}) });
    const wire = new Wire(end(), stuck);
    wire.deliver();
    const chunk = new Uint8Array(MAX_PAYLOAD);
    for (let offset = 0; offset <= MAX_WINDOW && stuck.closed === undefined; offset += chunk.length) {
      wire.inject(encodeData(offset, 0, chunk));
    }
    expect(stuck.closed?.message).toContain("more than its window");
  });
});
