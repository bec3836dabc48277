import { expect, test } from "bun:test";
import { type Lock, lockDocument, lockedText, lockOn, parseLock } from "../../src/rbac/lock.ts";

const NOW = Date.UTC(2026, 10, 23);
const lock = (kind: Lock["kind"], target: string): Lock => ({
  name: `${kind}-${target}`,
  kind,
  target,
  message: "",
  expiresAt: undefined,
});
const document = (spec: unknown, rest: object = {}) => ({ kind: "lock", version: "v2", spec, ...rest });

test("the original's document", () => {
  const spec = { target: { user: "alice" }, message: "stolen", expires: "2026-11-24T00:00:00Z" };
  const parsed = parseLock(document(spec, { metadata: { name: "l" } }), NOW);
  expect(parsed).toEqual({ name: "l", kind: "user", target: "alice", message: "stolen", expiresAt: NOW + 86_400_000 });
  const written = lockDocument({ ...parsed, name: "l", createdAt: NOW, createdBy: "uid:0" });
  expect(parseLock(written, NOW)).toEqual(parsed);
  expect(parseLock(document({ target: { app: "db" }, ttl_seconds: 60 }), NOW)).toEqual({
    name: undefined,
    kind: "app",
    target: "db",
    message: "",
    expiresAt: NOW + 60_000,
  });
});

test("what is refused", () => {
  for (const [spec, why] of [
    [{ target: {} }, "spec.target: takes one of user, role, app, agent"],
    [{ target: { user: "a", role: "b" } }, "spec.target: takes one of user, role, app, agent"],
    [{ target: { user: "" } }, "spec.target.user: is empty"],
    [{ target: { node: "a" } }, "spec.target.node: unknown key"],
    [{}, "spec.target: is missing"],
    [{ target: { user: "a" }, expires: "soon" }, "spec.expires: must be a time"],
    [{ target: { user: "a" }, expires: "2026-11-22T00:00:00Z" }, "spec.expires: is over already"],
    [{ target: { user: "a" }, expires: "2027-11-22T00:00:00Z", ttl_seconds: 1 }, "spec.ttl_seconds: "],
    [{ target: { user: "a" }, ttl_seconds: 0 }, "spec.ttl_seconds: at least 1"],
  ] as const) {
    expect(() => parseLock(document(spec), NOW)).toThrow(why);
  }
});

test("whom a lock shuts out", () => {
  const who = { user: "alice", roles: ["dev", "ops"], app: "db", agent: "web-1" };
  for (const hit of [lock("user", "alice"), lock("role", "ops"), lock("app", "db"), lock("agent", "web-1")]) {
    expect(lockOn([lock("user", "bob"), hit], who)).toBe(hit);
  }
  for (const miss of [lock("user", "dev"), lock("role", "alice"), lock("app", "web-1"), lock("agent", "db")]) {
    expect(lockOn([miss], who)).toBeUndefined();
  }
  expect(lockOn([lock("app", "db")], { user: "alice", roles: [] })).toBeUndefined();
});

test("what they hear", () => {
  expect(lockedText({ ...lock("user", "alice"), message: "stolen", expiresAt: NOW })).toBe(
    "the user alice is locked until 2026-11-23T00:00:00.000Z: stolen",
  );
  expect(lockedText(lock("app", "db"))).toBe("the app db is locked");
});
