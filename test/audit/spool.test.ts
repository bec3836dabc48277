import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GENESIS, hashLine } from "../../src/audit/chain.ts";
import { Spool, type SpoolOptions } from "../../src/audit/spool.ts";
import type { AuditEvent } from "../../src/event.ts";
import { createLog } from "../../src/log.ts";

const root = mkdtempSync(join(tmpdir(), "mcpgate-spool-"));
afterAll(() => rmSync(root, { recursive: true }));
let directory: string;
let logged: string[];
let count = 0;
beforeEach(() => {
  count += 1;
  directory = join(root, `case-${count}`);
  logged = [];
});

const open = (options: Partial<SpoolOptions> = {}) =>
  Spool.open(directory, { log: createLog({ write: (line) => logged.push(line) }), ...options });
const event = (uid: string, more: Partial<AuditEvent> = {}): AuditEvent => {
  return { event: "mcp.session.request", uid, time: "2026-01-01T00:00:00.000Z", v: 1, ...more };
};
/** Without its place in the chain. */
const bare = (line: string): AuditEvent => {
  const { chain: _, n: __, prev: ___, ...rest } = JSON.parse(line) as AuditEvent;
  return rest;
};
const uids = (items: string[]) => items.map((item) => (JSON.parse(item) as AuditEvent).uid);
const segments = () =>
  readdirSync(directory)
    .filter((name) => name.endsWith(".jsonl"))
    .sort();
/** The batch with its lines one by one. */
function next(spool: Spool, ...asked: Parameters<Spool["next"]>): { first: number; items: string[] } {
  const { first, count, lines } = spool.next(...asked);
  const items = count === 0 ? [] : lines.toString().split("\n");
  expect(items).toHaveLength(count);
  return { first, items };
}

/** Everything that waits, in batches of a few. */
function everything(spool: Spool, maxItems = 7, maxBytes = 1000): string[] {
  const all: string[] = [];
  let after: number | undefined;
  while (true) {
    const { first, items } = next(spool, maxItems, maxBytes, after);
    if (items.length === 0) return uids(all);
    all.push(...items);
    after = first + items.length - 1;
  }
}
const refused = expect.objectContaining({ code: "unavailable" });

test("events come out as they went in, whole and in order, until they are acknowledged", () => {
  const spool = open();
  expect(next(spool, 10, 1000)).toEqual({ first: 1, items: [] });
  const written = [event("a", { arguments: { text: "é\n\u2028😀" } }), event("b"), event("c")];
  spool.append(written.slice(0, 2));
  spool.append(written.slice(2));
  spool.append([]);
  const { first, items } = next(spool, 10, 10_000);
  expect([first, items.map(bare)]).toEqual([1, written]);
  expect(next(spool, 2, 10_000)).toEqual({ first: 1, items: items.slice(0, 2) });
  expect(next(spool, 10, 1).items).toHaveLength(1); // at least one, whatever its size
  expect(uids(next(spool, 10, 10_000, 2).items)).toEqual(["c"]);
  expect([spool.pending, spool.acked]).toEqual([3, 0]);
  spool.ack(2);
  spool.ack(1); // late
  expect(next(spool, 10, 10_000)).toEqual({ first: 3, items: items.slice(2) });
  spool.ack(3);
  expect([next(spool, 10, 10_000), spool.pending]).toEqual([{ first: 4, items: [] }, 0]);
  spool.close();
});

test("the file has an event when append returns, and onAppend is called after it", () => {
  const spool = open();
  let seen = "";
  spool.onAppend = () => {
    seen = readFileSync(join(directory, segments()[0] ?? ""), "utf8");
  };
  spool.append([event("a"), event("b")]);
  expect(seen.split("\n").slice(0, -1).map(bare)).toEqual([event("a"), event("b")]);
  spool.close();
});

test("what is not acknowledged is there after a restart; numbers go on", () => {
  const first = open();
  first.append([event("a"), event("b"), event("c")]);
  first.ack(1);
  first.close();
  const second = open();
  second.append([event("d")]);
  expect(next(second, 1, 1000).first).toBe(2);
  expect(everything(second)).toEqual(["b", "c", "d"]);
  second.ack(4);
  second.close();
  const third = open();
  expect(next(third, 9, 1000)).toEqual({ first: 5, items: [] });
  third.append([event("e")]);
  expect(next(third, 9, 1000).first).toBe(5);
  third.close();
});

test("an acknowledgement of what was never sent is refused", () => {
  const spool = open();
  spool.append([event("a")]);
  for (const seq of [2, Number.NaN, 1.5, Number.POSITIVE_INFINITY]) {
    expect(() => spool.ack(seq)).toThrow(expect.objectContaining({ code: "invalid" }));
  }
  expect(spool.pending).toBe(1);
  spool.close();
});

test("segments rotate, are read across, and go as their last event is acknowledged", () => {
  const spool = open({ segmentBytes: 500 });
  for (let i = 1; i <= 100; i++) spool.append([event(`${i}`)]);
  const names = segments();
  expect(names.length).toBeGreaterThan(10);
  expect(everything(spool)).toEqual(Array.from({ length: 100 }, (_, i) => `${i + 1}`));
  const total = names.reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
  expect(spool.bytes).toBe(total);
  spool.ack(50);
  expect(segments()).toEqual(names.filter((_, i) => i === names.length - 1 || Number(names[i + 1]?.slice(0, 20)) > 51));
  spool.ack(100);
  expect(segments()).toHaveLength(1);
  spool.close();
});

describe("at its limit", () => {
  test("calls are refused, what ends a call still fits, and an acknowledgement makes room", () => {
    const spool = open({ maxBytes: 64_000 });
    const fill = (kind: AuditEvent["event"]) => {
      for (let i = 0; ; i++) {
        try {
          spool.append([event(`${i}`, { event: kind })]);
        } catch (error) {
          expect(error).toEqual(refused);
          return i;
        }
      }
    };
    const calls = fill("mcp.session.request");
    expect(calls).toBeGreaterThan(100);
    expect(spool.bytes).toBeLessThanOrEqual(60_000);
    expect(() => spool.append([event("r", { event: "mcp.session.response" }), event("x")])).toThrow(refused);
    const answers = fill("mcp.session.response");
    expect(answers).toBeGreaterThan(5);
    expect(spool.bytes).toBeLessThanOrEqual(64_000);
    expect(everything(spool)).toHaveLength(calls + answers); // what was refused left nothing
    expect(logged).toHaveLength(1); // and did not flood the log
    spool.ack(calls);
    spool.append([event("again")]);
    expect(everything(spool).at(-1)).toBe("again");
    spool.close();
  });

  test("it stays full after a restart", () => {
    const spool = open({ maxBytes: 1000 });
    spool.append([event("a".repeat(700))]);
    spool.close();
    const again = open({ maxBytes: 1000 });
    expect(() => again.append([event("b".repeat(300))])).toThrow(refused);
    again.close();
  });
});

describe("the chain", () => {
  const ends = (items: string[]) => items.map((item) => JSON.parse(item) as AuditEvent);

  test("every line holds the hash of the one before it, across appends and segments", () => {
    const spool = open({ chain: "boot-1", segmentBytes: 300 });
    spool.append([event("a"), event("b")]);
    for (const uid of "cdefg") spool.append([event(uid)]);
    expect(segments().length).toBeGreaterThan(2);
    const lines: string[] = [];
    for (let after = 0; after < 7; after = lines.length) lines.push(...next(spool, 99, 99_999, after).items);
    let prev = GENESIS;
    for (const [i, line] of lines.entries()) {
      expect(JSON.parse(line)).toMatchObject({ chain: "boot-1", n: i + 1, prev });
      prev = hashLine(line);
    }
    spool.close();
  });

  test("a boot begins a chain, and says where the one before it ended, also when the proxy has all of that", () => {
    const first = open({ chain: "boot-1", agent: "web-1" });
    expect(first.previous).toBeUndefined();
    first.begin();
    first.append([event("a"), event("b")]);
    const last = next(first, 9, 9999).items.at(-1) ?? "";
    first.ack(3);
    first.close();
    const second = open({ chain: "boot-2", agent: "web-1" });
    second.begin();
    const [begin] = ends(next(second, 9, 9999).items);
    expect(begin).toMatchObject({ event: "audit.chain.start", agent: "web-1", chain: "boot-2", n: 1, prev: GENESIS });
    expect(begin?.details).toEqual({ previous: { chain: "boot-1", n: 3, hash: hashLine(last) } });
    second.close();
  });

  test("what could not be written leaves no gap", () => {
    const spool = open({ maxBytes: 2000, segmentBytes: 1000 });
    spool.append([event("a")]);
    expect(() => spool.append([event("x".repeat(3000))])).toThrow(refused);
    spool.append([event("b")]);
    expect(ends(next(spool, 9, 9999).items).map(({ n }) => n)).toEqual([1, 2]);
    spool.close();
  });
});

describe("drop_oldest", () => {
  test("the oldest events make room, and a gap event says which", () => {
    const spool = open({ maxBytes: 16_000, segmentBytes: 2_000, onFull: "drop_oldest", chain: "boot-1" });
    for (let i = 1; i <= 200; i++) spool.append([event(`${i}`)]);
    expect(spool.bytes).toBeLessThanOrEqual(16_000);
    const lines: string[] = [];
    for (let after: number | undefined; ; ) {
      const { first, items } = next(spool, 50, 99_999, after);
      if (items.length === 0) break;
      lines.push(...items);
      after = first + items.length - 1;
    }
    const kept = lines.map((line) => JSON.parse(line) as Required<AuditEvent>);
    expect(kept.at(-1)?.uid).toBe("200");
    const gaps = kept.filter((each) => each.event === "audit.gap").map(({ details }) => details);
    expect(gaps.length).toBeGreaterThan(1);
    // what is left goes on where the last gap ends
    expect(gaps.at(-1)).toMatchObject({ reason: "spool_full", chain: "boot-1", to: (kept[0]?.n ?? 0) - 1 });
    expect(gaps.at(-1)?.hash).toBe(kept[0]?.prev);
    expect(kept.every(({ n }, i) => i === 0 || n === (kept[i - 1]?.n ?? 0) + 1)).toBe(true);
    expect(logged.every((line) => line.includes("spool.dropped"))).toBe(true);
    spool.close();
  });

  test("a boot drops what the one before it left, under its name", () => {
    const first = open({ chain: "boot-1" });
    for (let i = 1; i <= 20; i++) first.append([event(`${i}`)]);
    const hash = hashLine(next(first, 99, 99_999).items.at(-1) ?? "");
    first.ack(5);
    first.close();
    const second = open({ maxBytes: 4_000, segmentBytes: 1000, onFull: "drop_oldest", chain: "boot-2" });
    second.append([event("new")]);
    const [gap, added] = next(second, 99, 99_999).items.map((line) => JSON.parse(line) as AuditEvent);
    expect(gap?.details).toEqual({ reason: "spool_full", chain: "boot-1", from: 6, to: 20, hash });
    expect(added).toMatchObject({ uid: "new", chain: "boot-2", n: 2 });
    second.close();
  });

  test("an event that is larger than the spool is refused all the same", () => {
    const spool = open({ maxBytes: 2000, onFull: "drop_oldest" });
    spool.append([event("a")]);
    expect(() => spool.append([event("x".repeat(3000))])).toThrow(refused);
    expect(everything(spool)).toEqual(["a"]);
    spool.close();
  });
});

describe("sync", () => {
  /** A disk that counts what it was asked for, and fails when told. */
  function watched() {
    const disk = {
      syncs: 0,
      fails: false,
      fdatasyncSync(_fd: number) {
        this.syncs += 1;
        if (this.fails) throw new Error("EIO: i/o error");
      },
      fdatasync(_fd: number, done: (error: Error | null) => void) {
        this.syncs += 1;
        setImmediate(done, this.fails ? new Error("EIO: i/o error") : null);
      },
    };
    return disk;
  }
  const turn = () => new Promise((resolve) => setTimeout(resolve, 2));

  test("always: the disk was asked before append returns, and what it did not take is refused", () => {
    const disk = watched();
    const spool = open({ sync: "always", segmentBytes: 300, disk });
    for (let i = 1; i <= 10; i++) {
      spool.append([event(`${i}`), event(`${i}b`)]);
      expect(disk.syncs).toBe(i);
    }
    disk.fails = true;
    expect(() => spool.append([event("x")])).toThrow(refused);
    disk.fails = false;
    expect(() => spool.append([event("y")])).toThrow(refused); // what a disk lost once it does not tell twice
    spool.close();
  });

  test("group: many appends, one sync, within the time; the last ones too", async () => {
    const disk = watched();
    const spool = open({ syncMs: 1, disk });
    for (let i = 0; i < 100; i++) spool.append([event(`${i}`)]);
    expect(disk.syncs).toBe(0);
    while (disk.syncs === 0) await turn();
    spool.append([event("during")]);
    while (disk.syncs === 1) await turn();
    await turn();
    expect(disk.syncs).toBe(2); // and none when nothing is new
    spool.close();
  });

  test("group: after a sync that failed nothing is let through; what waits is still shipped", async () => {
    const disk = watched();
    const spool = open({ syncMs: 0, disk });
    disk.fails = true;
    spool.append([event("a")]);
    while (logged.length === 0) await turn();
    expect(() => spool.append([event("b")])).toThrow(refused);
    expect(everything(spool)).toEqual(["a"]);
    spool.ack(1);
    spool.close();
  });

  test("group: closing while one is under way, with segments that rotated and went, harms nothing", async () => {
    for (let round = 0; round < 20; round++) {
      const spool = open({ syncMs: 0, segmentBytes: 300 });
      for (let i = 0; i < 10; i++) spool.append([event(`${round}.${i}`)]);
      if (round % 2 === 0) await new Promise((resolve) => setTimeout(resolve, round % 3));
      spool.ack(next(spool, 1, 1).first + (round % 5));
      if (round % 3 === 0) await new Promise(setImmediate);
      spool.close();
      spool.close();
      expect(() => spool.append([event("late")])).toThrow(refused);
      expect(next(spool, 10, 1000).items).toEqual([]);
    }
    const spool = open();
    expect(everything(spool).length).toBe(spool.pending);
    expect(logged).toEqual(Array(20).fill(expect.stringContaining("the spool is closed")));
    spool.close();
  });
});

describe.skipIf(process.platform !== "linux" || process.getuid?.() !== 0)("on a disk that fills up", () => {
  test("an append that does not fit leaves nothing, and there is room again once there is room", () => {
    const mount = join(root, "small");
    rmSync(mount, { recursive: true, force: true });
    const setUp = Bun.spawnSync(["sh", "-c", `mkdir '${mount}' && mount -t tmpfs -o size=72k tmpfs '${mount}'`]);
    if (setUp.exitCode !== 0) return; // no right to mount here
    try {
      directory = join(mount, "spool");
      const spool = open({ segmentBytes: 8192 });
      let kept = 0;
      const batch = () => Array.from({ length: 7 }, (_, i) => event(`${kept}.${i}`, { error: "x".repeat(397) }));
      expect(() => {
        for (; ; kept++) spool.append(batch());
      }).toThrow(expect.objectContaining({ code: "unavailable", message: expect.stringContaining("disk is full") }));
      expect(kept).toBeGreaterThan(10);
      const uidsKept = Array.from({ length: kept * 7 }, (_, i) => `${Math.floor(i / 7)}.${i % 7}`);
      expect(everything(spool)).toEqual(uidsKept);
      const lines = segments().map((name) => readFileSync(join(directory, name), "utf8").split("\n").length - 1);
      expect(lines.reduce((a, b) => a + b)).toBe(uidsKept.length); // of the one that failed no whole line is left
      spool.ack(25);
      spool.append([event("after")]);
      spool.close();
      const again = open();
      expect(everything(again)).toEqual([...uidsKept.slice(25), "after"]);
      again.close();
    } finally {
      Bun.spawnSync(["umount", "-l", mount]);
    }
  });
});

test("files are 0600 in a directory 0700", () => {
  open().close();
  expect(statSync(directory).mode & 0o777).toBe(0o700);
  for (const name of readdirSync(directory)) expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600);
});

describe("after a loss of power", () => {
  const name = "00000000000000000001.jsonl";
  function spooled(n: number): string[] {
    const spool = open();
    const names = Array.from({ length: n }, (_, i) => `u${i + 1}`);
    spool.append(names.map((uid) => event(uid)));
    spool.close();
    return names;
  }

  test("lines of zeros are left out and logged; nothing behind them is, though it was counted as acknowledged", () => {
    spooled(10);
    const before = open();
    before.ack(6);
    before.close();
    const bytes = readFileSync(join(directory, name));
    const width = bytes.length / 10;
    bytes.fill(0, Math.floor(width * 2.5), Math.floor(width * 4.5)); // lines 3, 4 and 5 become one
    writeFileSync(join(directory, name), bytes);
    const spool = open();
    expect(logged.join()).toContain("spool.spoilt");
    expect(everything(spool)).toEqual(["u1", "u2", "u6", "u7", "u8", "u9", "u10"]);
    spool.append([event("new")]);
    spool.ack(next(spool, 100, 1e6).first + 1);
    expect(everything(spool)).toEqual(["u6", "u7", "u8", "u9", "u10", "new"]);
    spool.close();
  });

  test("a file of nothing but a spoilt line is done with", () => {
    open().close();
    writeFileSync(join(directory, name), "\0\0\0\0\n");
    const spool = open();
    expect(next(spool, 10, 1000).items).toEqual([]);
    expect(spool.pending).toBe(0);
    spool.append([event("a")]);
    expect(everything(spool)).toEqual(["a"]);
    spool.close();
  });

  test("events that the proxy has and the disk lost don't take new ones with them", () => {
    spooled(10);
    const before = open();
    before.ack(10);
    before.append([event("lost")]);
    before.close();
    for (const segment of segments()) rmSync(join(directory, segment));
    const spool = open();
    spool.append([event("new")]);
    expect(next(spool, 9, 1000)).toMatchObject({ first: 11, items: [expect.stringContaining('"new"')] });
    spool.close();
  });

  test.each(["", "0", "00000000000000000009 00000000000000000003\n", "\0".repeat(42)])(
    "an acknowledgement that makes no sense (%j) is taken for none",
    (text) => {
      const names = spooled(10);
      writeFileSync(join(directory, "acked"), text);
      const spool = open();
      expect(everything(spool)).toEqual(names);
      spool.close();
    },
  );

  test("strange files in the directory are left alone", () => {
    const names = spooled(3);
    for (const strange of ["x.jsonl", "00000000000000000000.jsonl", "99999999999999999999.jsonl", "1.jsonl", "core"]) {
      appendFileSync(join(directory, strange), "{}\n");
    }
    const spool = open();
    expect(everything(spool)).toEqual(names);
    spool.close();
    expect(readdirSync(directory)).toContain("core");
  });
});

test("a spool that can't be opened says so", () => {
  open().close();
  rmSync(join(directory, "00000000000000000001.jsonl"));
  Bun.spawnSync(["mkdir", join(directory, "00000000000000000001.jsonl")]);
  expect(() => open()).toThrow(expect.objectContaining({ code: "data_dir" }));
});
