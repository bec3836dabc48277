import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { retire } from "../../src/audit/retention.ts";
import { verifyLog } from "../../src/audit/verify.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";
import { START, sampleLog, type TestAgent, type TestLog } from "./log.ts";

let store: Store;
beforeEach(async () => {
  store = await openStore(":memory:");
});
afterEach(() => store.destroy());

interface Row {
  seq: number;
  uid: string;
  chain: string;
  n: number;
  body: string;
}
const rows = async (db = store): Promise<Row[]> =>
  await db.selectFrom("events").select(["seq", "uid", "chain", "n", "body"]).orderBy("seq").execute();
const change = (row: Pick<Row, "seq">, set: Record<string, unknown>, db = store) =>
  db.updateTable("events").set(set).where("seq", "=", row.seq).execute();

test("a log that nobody touched verifies, whole and from a time on", async () => {
  const { log } = await sampleLog(store);
  const { found, problems, events, chains, unsigned } = await log.verify();
  expect({ found, problems, unsigned }).toEqual({ found: [], problems: 0, unsigned: 0 });
  expect(events).toBe((await rows()).length);
  expect(chains).toHaveLength(4);
  const since = await log.verify({ since: new Date(START + 20).toISOString() });
  expect(since.found).toEqual([]);
  expect(since.events).toBeLessThan(events);
});

test("a log that grows while it is verified is no fault", async () => {
  const { log, a } = await sampleLog(store);
  const source = log.source();
  const found: unknown[] = [];
  let reads = 0;
  const grows = {
    chains: source.chains,
    async lines(...args: Parameters<typeof source.lines>) {
      reads += 1;
      if (reads % 3 === 0) {
        if (reads % 9 === 0) await a.boot();
        await a.calls(2);
        await log.own(1);
        await a.sign();
        await log.seal();
      }
      return source.lines(...args);
    },
  };
  await verifyLog(grows, { report: (problem) => found.push(problem) });
  expect(found).toEqual([]);
  expect(reads).toBeGreaterThan(9);
});

/** What an editor of the database does to some event, and what is to be found then. */
type Tamper = "remove" | "body" | "whose" | "time" | "swap" | "order" | "cut";
const TAMPERS: Tamper[] = ["remove", "body", "whose", "time", "swap", "order", "cut"];

async function tamper(db: Store, kind: Tamper, at: number, other: number): Promise<Row | undefined> {
  const all = await rows(db);
  const row = all[at % all.length] as Row;
  const same = all.filter(({ chain, seq }) => chain === row.chain && seq !== row.seq);
  const second = same[other % Math.max(1, same.length)];
  switch (kind) {
    case "remove":
      await db.deleteFrom("events").where("seq", "=", row.seq).execute();
      return row;
    case "body": {
      // some character within some text of the line
      const places = [...row.body.matchAll(/[a-z](?=[a-z ]*")/g)].map(({ index }) => index);
      const place = places[other % places.length] ?? 0;
      const letter = row.body[place] === "x" ? "y" : "x";
      await change(row, { body: row.body.slice(0, place) + letter + row.body.slice(place + 1) }, db);
      return row;
    }
    case "whose":
      await change(row, { user: "mallory" }, db);
      return row;
    case "time":
      await change(row, { time: "2020-01-01T00:00:00.000Z" }, db);
      return row;
    case "swap":
      if (second === undefined) return undefined;
      await change(row, { body: second.body }, db);
      await change(second, { body: row.body }, db);
      return row;
    case "order": {
      if (second === undefined) return undefined;
      const [from, to] = [row.seq, second.seq];
      await change(row, { seq: 1_000_000 }, db);
      await change(second, { seq: from }, db);
      await change({ seq: 1_000_000 }, { seq: to }, db);
      return row.n > second.n ? row : second;
    }
    case "cut":
      await db.deleteFrom("events").where("chain", "=", row.chain).where("n", ">=", row.n).execute();
      return row;
  }
}

test("whatever is removed, changed, moved or cut off is found, and the place is named", async () => {
  const { log } = await sampleLog(store);
  const count = (await rows()).length;
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...TAMPERS), fc.nat(count - 1), fc.nat(10_000), async (kind, at, other) => {
      run += 1;
      const before = await store.selectFrom("events").selectAll().execute();
      const row = await tamper(store, kind, at, other);
      const { found } = await log.verify();
      await store.deleteFrom("events").execute();
      for (let i = 0; i < before.length; i += 50) {
        await store
          .insertInto("events")
          .values(before.slice(i, i + 50))
          .execute();
      }
      if (row === undefined) return;
      const named = found.filter(({ chain, n, to }) => chain === row.chain && n <= row.n && row.n <= (to ?? n));
      expect({ kind, row: row.n, found, named: named.length > 0 }).toMatchObject({ named: true });
      const kinds = new Set(named.map((problem) => problem.kind));
      if (kind === "remove") expect(kinds.has("removed") || kinds.has("cut_off")).toBe(true);
      if (kind === "cut") expect(kinds.has("cut_off")).toBe(true);
      if (kind === "swap" || kind === "order") expect(kinds.has("reordered")).toBe(true);
      if (kind === "whose") expect(kinds.has("misattributed")).toBe(true);
      if (kind === "remove" || kind === "whose" || kind === "time") {
        expect(found.filter((problem) => !named.includes(problem))).toEqual([]); // and nobody else is blamed
      }
    }),
    { numRuns: 250 },
  );
  expect(run).toBeGreaterThan(200);
  expect((await log.verify()).found).toEqual([]);
}, 60_000);

describe("what a cleverer editor does", () => {
  test("the end of a chain goes with its record and its head: the next checkpoint, or the next boot, tells", async () => {
    const { log, a } = await sampleLog(store);
    await store.deleteFrom("events").where("chain", "=", a.end.chain).where("n", ">", 3).execute();
    const third = (await rows()).find(({ chain, n }) => chain === a.end.chain && n === 3);
    const hash = new Bun.CryptoHasher("sha256").update(third?.body ?? "").digest("hex");
    await store
      .updateTable("chains")
      .set({ n: 3, hash, head: null, head_n: 0 })
      .where("chain", "=", a.end.chain)
      .execute();
    expect((await log.verify()).found).toEqual([
      expect.objectContaining({ kind: "cut_off", chain: a.end.chain, n: 4, to: 9, owner: "a" }),
    ]);
  });

  test("a whole chain goes, with its record", async () => {
    const { log, b } = await sampleLog(store);
    for (const table of ["events", "chains"] as const) {
      await store.deleteFrom(table).where("chain", "=", b.end.chain).execute();
    }
    expect((await log.verify()).found).toEqual([
      expect.objectContaining({ kind: "removed", chain: b.end.chain, n: 1, to: 12 }),
    ]);
  });

  test("a chain is written anew, with hashes that fit, and signed with another key", async () => {
    const { log, a } = await sampleLog(store);
    const forged = await forge(log, a);
    const { found } = await log.verify();
    expect(found.map(({ kind }) => kind)).toContain("bad_signature");
    await store
      .updateTable("chains")
      .set({ public_jwk: JSON.stringify(forged.publicJwk) })
      .where("chain", "=", a.end.chain)
      .execute();
    const kinds = (await log.verify()).found.map(({ kind }) => kind);
    expect(kinds).toContain("bad_signature"); // the checkpoint knows the key
    expect(kinds).toContain("changed"); // and the line
  });

  test("events behind the end of a chain that was closed", async () => {
    const { log, b } = await sampleLog(store);
    await b.calls(2);
    await log.seal();
    expect((await log.verify()).found).toEqual([expect.objectContaining({ kind: "added", n: 13, to: 14 })]);
  });

  test("the log is put back to an older state: who kept the ends finds it", async () => {
    const { log, a } = await sampleLog(store);
    const tables = ["events", "chains"] as const;
    const old = await Promise.all(tables.map((table) => store.selectFrom(table).selectAll().execute()));
    await a.calls(3);
    await log.own(2);
    await a.sign();
    await log.seal();
    const known = (await log.verify()).chains;
    for (const table of tables) await store.deleteFrom(table).execute();
    for (const row of old[1] ?? [])
      await store
        .insertInto("chains")
        .values(row as never)
        .execute();
    for (const row of old[0] ?? [])
      await store
        .insertInto("events")
        .values(row as never)
        .execute();
    expect((await log.verify()).found).toEqual([]);
    expect((await log.verify({ known })).found.map(({ kind, owner }) => [kind, owner]).sort()).toEqual([
      ["cut_off", "a"],
      ["cut_off", "proxy"],
    ]);
  });

  test("a verdict on whose an event is can't be taken back", async () => {
    const { log, a } = await sampleLog(store);
    await a.ship([a.event({ user: "mallory" })]);
    await log.seal();
    expect((await log.verify()).found).toEqual([]);
    const last = (await rows()).find(({ chain, n }) => chain === a.end.chain && n === a.end.n) as Row;
    await change(last, { verdict: null, user: "mallory" });
    expect((await log.verify()).found).toMatchObject([{ kind: "misattributed", n: a.end.n }]);
    await change(last, { verdict: "because", user: "bob" });
    expect((await log.verify()).found).toMatchObject([{ kind: "misattributed", n: a.end.n }]);
  });
});

/** Rewrites an agent's chain with another tool in its fourth line, and signs it with a key of our own. */
async function forge(log: TestLog, a: TestAgent) {
  const { chainLines, GENESIS } = await import("../../src/audit/chain.ts");
  const { signHead } = await import("../../src/audit/head.ts");
  const { generateKeyPair } = await import("../../src/identity/keys.ts");
  const own = (await rows()).filter(({ chain }) => chain === a.end.chain);
  const events = own.map(({ body }, i) => {
    const { chain: _, n: __, prev: ___, ...event } = JSON.parse(body);
    return i === 3 ? { ...event, tool: "harmless" } : event;
  });
  const { lines, end } = chainLines(events, { chain: a.end.chain, n: 0, hash: GENESIS });
  for (const [i, row] of own.entries()) await change(row, { body: lines[i] });
  const key = await generateKeyPair();
  const head = await signHead(end, key, log.now);
  await store.updateTable("chains").set({ hash: end.hash, head }).where("chain", "=", end.chain).execute();
  return key;
}

describe("gaps that are no fault", () => {
  test("what an agent dropped because its spool was full, and says so", async () => {
    const { log, a } = await sampleLog(store);
    const before = a.end;
    const lost = await a.ship([a.event(), a.event(), a.event()], () => false);
    const { hash } = a.end;
    const details = { reason: "spool_full", chain: before.chain, from: before.n + 1, to: a.end.n, hash };
    await a.ship([a.event(), { event: "audit.gap", agent: a.name, details }]);
    await a.sign();
    await log.seal();
    expect(await log.verify()).toMatchObject({ found: [], dropped: lost.length });
    // one more than it says
    await store.deleteFrom("events").where("chain", "=", before.chain).where("n", "=", before.n).execute();
    expect((await log.verify()).found).toMatchObject([{ kind: "removed", n: before.n, to: before.n }]);
  });

  test("an agent does not excuse what is missing in another's chain", async () => {
    const { log, a, b } = await sampleLog(store);
    const victim = (await rows()).find(({ chain, n }) => chain === a.end.chain && n === 4) as Row;
    const hash = new Bun.CryptoHasher("sha256").update(victim.body).digest("hex");
    await b.boot();
    await b.ship([
      { event: "audit.gap", agent: "b", details: { reason: "spool_full", chain: a.end.chain, from: 4, to: 4, hash } },
    ]);
    await store.deleteFrom("events").where("seq", "=", victim.seq).execute();
    expect((await log.verify()).found).toMatchObject([{ kind: "removed", n: 4, chain: a.end.chain }]);
  });

  test("retired events, again and again, by age and down to the last chain of an agent's", async () => {
    const { log, a, b } = await sampleLog(store);
    let total = (await rows()).length;
    let retired = 0;
    for (let round = 0; round < 30; round++) {
      await a.boot();
      await a.calls(4);
      if (round % 3 === 0) await b.boot();
      await log.own(1);
      await a.sign();
      await log.seal();
      log.now += 1_000;
      retired += await retire(store, { maxAgeMs: 3_500 }, () => log.now);
      const result = await log.verify();
      expect(result.found).toEqual([]);
      total = result.events;
    }
    expect(retired).toBeGreaterThan(150);
    expect(total).toBeLessThan(60);
    expect((await store.selectFrom("chains").select("chain").execute()).length).toBeLessThan(9);
    const result = await log.verify();
    expect(result.retired).toBeGreaterThan(0);
    const [oldest] = await rows();
    await store
      .deleteFrom("events")
      .where("seq", "=", oldest?.seq ?? 0)
      .execute();
    expect((await log.verify()).found).toMatchObject([{ kind: "removed", n: oldest?.n, to: oldest?.n }]);
  });
});
