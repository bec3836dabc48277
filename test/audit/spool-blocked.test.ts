/** Whether the spool takes events, for whoever asks before there is one. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Spool, type SpoolOptions } from "../../src/audit/spool.ts";
import type { AuditEvent } from "../../src/event.ts";
import { createLog } from "../../src/log.ts";

const root = mkdtempSync(join(tmpdir(), "mcpgate-spool-blocked-"));
afterAll(() => rmSync(root, { recursive: true }));

const log = createLog({ write: () => {} });
const open = (name: string, more: Partial<SpoolOptions> = {}) =>
  Spool.open(join(root, name), { log, maxBytes: 4000, ...more });
const event: AuditEvent = { event: "mcp.session.request", uid: "u", time: "2026-01-01T00:00:00.000Z", v: 1 };

function fill(spool: Spool): void {
  for (let i = 0; i < 40; i++) spool.append([event]);
}

test("a spool that is full says so, until the proxy has stored some of it", () => {
  const spool = open("full");
  expect(spool.blocked).toBeUndefined();
  expect(() => fill(spool)).toThrow("none are let through");
  expect(spool.blocked).toBe("the audit spool is full");
  expect(spool.bytes).toBeLessThanOrEqual(spool.limit);
  spool.ack(spool.pending);
  spool.append([event]);
  expect(spool.blocked).toBeUndefined();
  expect(() => fill(spool)).toThrow("none are let through");
  spool.close();
  expect(spool.blocked).toBe("the spool is closed");
  expect(open("full").blocked).toBe("the audit spool is full");
});

test("one that drops the oldest is never full", () => {
  const spool = open("drops", { onFull: "drop_oldest" });
  fill(spool);
  expect(spool.blocked).toBeUndefined();
  spool.close();
});
