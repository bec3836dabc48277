/** The benchmark works: every call is answered, nothing is left, the report is whole. Its figures here mean nothing. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Answers } from "../../bench/answers.ts";
import type { Report } from "../../bench/report.ts";
import { ROOT } from "../e2e/harness.ts";
import { processesWith, runCommand } from "../e2e/processes.ts";

const here = process.platform === "linux" && Bun.which("cc") !== null && existsSync(join(ROOT, "dist/mcpgate"));

describe.skipIf(!here)("a run", () => {
  const dir = mkdtempSync(join(tmpdir(), "mcpgate-bench-test-"));
  const file = join(dir, "report.json");
  let report: Report;
  let ended: Awaited<ReturnType<typeof runCommand>>;

  beforeAll(async () => {
    const parts = "--only=start,sequential,pipelined,sizes,progress,cpu,sessions,relay";
    const options = ["--quick", "--tiny", parts, "--contenders=direct,floor,runtime,mcpgate", `--results=${file}`];
    const env = { PATH: process.env.PATH ?? "", TMPDIR: dir, HOME: "/nonexistent" };
    ended = await runCommand([process.execPath, join(ROOT, "bench/bench.ts"), ...options], { env, cwd: dir });
    if (ended.code === 0) report = JSON.parse(readFileSync(file, "utf8"));
  }, 30_000);

  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  test("ends well, and leaves no process and no directory", () => {
    expect(ended.stderr.split("\n").filter((line) => line !== "" && !/^bench: +\d+ s {2}[\w ]+$/.test(line))).toEqual(
      [],
    );
    expect(ended.code).toBe(0);
    expect(report.left).toEqual([]);
    expect(report.skipped).toEqual([]);
    expect(processesWith(dir)).toEqual([]);
    expect(readdirSync(dir)).toEqual(["report.json"]);
  });

  test("has a figure for everybody in every row, and their ratios", () => {
    const ids = report.rows.map(({ id }) => id);
    expect(ids).toEqual(
      expect.arrayContaining(["start", "sequential-p50", "pipelined-16", "pipelined-256", "result-4MB", "progress"]),
    );
    expect(new Set(ids).size).toBe(ids.length);
    for (const { id, cells } of report.rows) {
      const roles = /^cpu-\w+-(client|proxy|agent)$/.test(id);
      const names = [
        ...(roles ? [] : ["direct"]),
        ...(id.startsWith("sessions-") ? [] : ["floor", "floor in Bun"]),
        "mcpgate",
      ];
      expect([id, Object.keys(cells)]).toEqual([id, names]);
      for (const [name, cell] of Object.entries(cells)) {
        if ("failed" in cell) throw new Error(`${id}: ${name}: ${cell.failed}`);
        expect(cell.values.length).toBeGreaterThan(0);
        expect(cell.values.every((each) => Number.isFinite(each) && each >= 0)).toBe(true);
        expect(cell.toDirect === undefined).toBe(name === "direct" || roles);
      }
    }
  });

  test("says what was measured besides", () => {
    const ids = report.facts.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toEqual(
      expect.arrayContaining(["first-byte", "client-rss", "memory-4-idle-agent", "churn-8", "relay-tls-4096-bytes"]),
    );
    expect(report.facts.every(({ value }) => Number.isFinite(value))).toBe(true);
    expect(report.calls).toBeGreaterThan(300);
    expect(ended.stdout).toContain("tools/call, one by one: p50");
    expect(ended.stdout).toContain("sequential p50, against the floor");
  });
});

/** Feeds it in pieces of `step` bytes. */
function taken(text: string, step: number): (number | string)[] {
  const answers = new Answers(step);
  const seen: (number | string)[] = [];
  const to = { answer: (id: number) => seen.push(id), notification: () => seen.push("n") };
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length; at += step) {
    const part = bytes.subarray(at, at + step);
    answers.buffer.set(part, answers.offset);
    answers.take(part.length, to);
  }
  return seen;
}

test("ids are read wherever they stand, whatever the pieces", () => {
  const text = [
    '{"jsonrpc":"2.0","id":17,"result":{"content":[]}}',
    '{"method":"notifications/progress","params":{"progressToken":5,"progress":1},"jsonrpc":"2.0"}',
    `{"result":{"content":[{"type":"text","text":"${"x".repeat(5000)}"}]},"jsonrpc":"2.0","id":4096}`,
    '{"id":0,"result":{}}',
    "",
  ].join("\n");
  for (const step of [1, 2, 7, 64, 96, 97, 1000, 100_000]) expect(taken(text, step)).toEqual([17, "n", 4096, 0]);
});

test("an answer without an id is no answer", () => {
  expect(() => taken('{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}\n', 10)).toThrow(
    "without an id",
  );
});
