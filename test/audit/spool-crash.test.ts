import { afterAll, describe, expect, test } from "bun:test";
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { Spool } from "../../src/audit/spool.ts";
import type { AuditEvent } from "../../src/event.ts";
import { createLog } from "../../src/log.ts";

const root = mkdtempSync(join(tmpdir(), "mcpgate-crash-"));
afterAll(() => rmSync(root, { recursive: true }));
const log = createLog({ write: () => {} });

const event = (uid: string, pad = 0): AuditEvent => {
  return { event: "mcp.session.request", uid, time: "", v: 1, arguments: { pad: "x".repeat(pad) } };
};

/** All that waits, with sequence numbers, in batches of random size. */
function shipped(spool: Spool, maxItems: number): { seq: number; uid: string }[] {
  const all: { seq: number; uid: string }[] = [];
  let after: number | undefined;
  while (true) {
    const { first, count, lines } = spool.next(maxItems, 2000, after);
    if (count === 0) return all;
    lines
      .toString()
      .split("\n")
      .forEach((item, i) => {
        all.push({ seq: first + i, uid: (JSON.parse(item) as AuditEvent).uid });
      });
    after = first + count - 1;
  }
}

describe("kill -9", () => {
  test("of a process that appends loses nothing that append returned from, again and again", async () => {
    const directory = join(root, "killed");
    const acknowledged = new Set<string>();
    let start = 1;
    for (let round = 0; round < 12; round++) {
      const child = Bun.spawn([process.execPath, join(import.meta.dir, "spool-child.ts"), directory, String(start)], {
        stdout: "pipe",
        stderr: "inherit",
      });
      // kill it at some moment of its work: when it has said so many lines, not so many milliseconds
      const limit = 1 + ((round * 7919) % 900);
      const decoder = new TextDecoder();
      let text = "";
      let lines = 0;
      for await (const chunk of child.stdout) {
        text += decoder.decode(chunk, { stream: true });
        lines = text.split("\n").length - 1;
        if (lines >= limit) child.kill("SIGKILL");
      }
      await child.exited;
      expect(lines).toBeGreaterThanOrEqual(limit);
      for (const line of text.split("\n").slice(0, -1)) {
        const [n = 0, size = 0] = line.split(" ").map(Number);
        for (let i = 0; i < size; i++) acknowledged.add(`${n}.${i}`);
        start = n + 1;
      }
      start += 1; // the append under way may have been made, or half of it

      const spool = Spool.open(directory, { log });
      const events = shipped(spool, 50 + round);
      expect(new Set(events.map(({ uid }) => uid)).size).toBe(events.length);
      expect(events.every(({ seq }, i) => i === 0 || seq > (events[i - 1]?.seq ?? 0))).toBe(true);
      const seen = new Set(events.map(({ uid }) => uid));
      expect([...acknowledged].filter((uid) => !seen.has(uid))).toEqual([]);
      expect(events.length - acknowledged.size).toBeLessThanOrEqual(3 * (round + 1)); // of the appends under way
      if (round % 4 === 3) {
        spool.ack(events.at(-1)?.seq ?? 0);
        acknowledged.clear();
      }
      spool.close();
      if (round % 4 !== 3) for (const { uid } of events) acknowledged.add(uid);
    }
  }, 30_000);
});

describe("cut off at any byte", () => {
  /** What a test does to a spool: appends, acknowledgements, restarts, and crashes. */
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant("append" as const),
        sizes: fc.array(fc.nat(400), { minLength: 1, maxLength: 4 }),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant("ack" as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("restart" as const) }) },
    // a process that died within an append: the last write went through in part
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant("crash" as const),
        sizes: fc.array(fc.nat(400), { minLength: 1, maxLength: 4 }),
        at: fc.double({ min: 0, max: 1, noNaN: true }),
      }),
    },
  );

  test("nothing that append returned from is lost, doubled, or out of order; what is acknowledged does not come back", () => {
    let run = 0;
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 40 }),
        fc.integer({ min: 200, max: 1500 }),
        fc.integer({ min: 1, max: 9 }),
        (steps, segmentBytes, maxItems) => {
          run += 1;
          const directory = join(root, `run-${run}`);
          const opened = () => Spool.open(directory, { log, segmentBytes });
          let spool = opened();
          let next = 0;
          let waiting: string[] = []; // must all be there, in this order
          let torn = new Set<string>(); // may be there: append never returned
          const fresh = (sizes: number[]) => sizes.map((size) => event(`${++next}`, size));
          for (const s of steps) {
            if (s.do === "append") {
              const events = fresh(s.sizes);
              spool.append(events);
              waiting.push(...events.map(({ uid }) => uid));
            } else if (s.do === "ack") {
              const sent = shipped(spool, maxItems);
              const upTo = sent[Math.floor(s.share * sent.length) - 1];
              if (upTo === undefined) continue;
              spool.ack(upTo.seq);
              const stored = new Set(sent.filter(({ seq }) => seq <= upTo.seq).map(({ uid }) => uid));
              waiting = waiting.filter((uid) => !stored.has(uid));
              torn = torn.difference(stored);
            } else if (s.do === "restart") {
              spool.close();
              spool = opened();
            } else {
              spool = crash(directory, spool, fresh(s.sizes), s.at, torn, opened);
            }
            const there = shipped(spool, maxItems);
            expect(there.map(({ uid }) => uid).filter((uid) => !torn.has(uid))).toEqual(waiting);
            expect(there.every(({ uid }, i) => i === 0 || Number(uid) > Number(there[i - 1]?.uid))).toBe(true);
            expect(there.every(({ seq }, i) => i === 0 || seq > (there[i - 1]?.seq ?? 0))).toBe(true);
          }
          spool.close();
          rmSync(directory, { recursive: true });
        },
      ),
      { numRuns: 150 },
    );
  }, 60_000);

  /** Makes the append, then puts the directory back to what a process leaves that died with `at` of it written. */
  function crash(
    directory: string,
    spool: Spool,
    events: AuditEvent[],
    at: number,
    torn: Set<string>,
    opened: () => Spool,
  ): Spool {
    const sizes = () => new Map(readdirSync(directory).map((name) => [name, statSync(join(directory, name)).size]));
    const before = sizes();
    spool.append(events);
    for (const { uid } of events) torn.add(uid);
    spool.close();
    for (const [name, size] of sizes()) {
      const had = before.get(name) ?? 0;
      if (size > had && name !== "acked") truncateSync(join(directory, name), had + Math.floor(at * (size - had)));
    }
    return opened();
  }

  test("every single byte of a spool's end: whole lines stay, and new events go on behind them", () => {
    const [source, copy] = [join(root, "whole"), join(root, "cut")];
    const first = Spool.open(source, { log, segmentBytes: 300 });
    for (let i = 1; i <= 8; i++) first.append([event(`${i}`, i * 5)]);
    first.ack(2);
    first.close();
    const names = readdirSync(source)
      .filter((name) => name.endsWith(".jsonl"))
      .sort();
    const last = names.at(-1) ?? "";
    const { size } = statSync(join(source, last));
    expect(size).toBeGreaterThan(100);
    for (let length = 0; length <= size; length++) {
      rmSync(copy, { recursive: true, force: true });
      mkdirSync(copy, { mode: 0o700 });
      cpSync(source, copy, { recursive: true });
      copyFileSync(join(source, last), join(copy, last));
      truncateSync(join(copy, last), length);
      const spool = Spool.open(copy, { log });
      spool.append([event("new")]);
      const there = shipped(spool, 3).map(({ uid }) => uid);
      const whole = Array.from({ length: there.length - 1 }, (_, i) => `${i + 3}`);
      expect(there).toEqual([...whole, "new"]);
      expect(there.length).toBeGreaterThanOrEqual(Number(last.slice(0, 20)) - 2);
      if (length === size) expect(there).toHaveLength(7);
      spool.close();
    }
  });
});
