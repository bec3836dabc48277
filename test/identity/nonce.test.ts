import { expect, test } from "bun:test";
import { NONCE_TTL_MS, Nonces } from "../../src/identity/nonce.ts";

function clocked(options: { maxTaken?: number } = {}) {
  const clock = { now: 1000 };
  return { clock, nonces: new Nonces({ ...options, now: () => clock.now }) };
}

test("a nonce can be taken once", () => {
  const { nonces } = clocked();
  const [a, b] = [nonces.issue(), nonces.issue()];
  expect(a).not.toBe(b);
  expect([nonces.take(a), nonces.take(a), nonces.take(b), nonces.take(b)]).toEqual([true, false, true, false]);
});

test("within a minute, and never again at any time after", () => {
  const { clock, nonces } = clocked();
  const late = nonces.issue();
  clock.now += NONCE_TTL_MS + 1;
  expect(nonces.take(late)).toBe(false);
  // used at every moment of its life, wherever in a generation that falls, then tried at every moment after
  for (let phase = 0; phase <= NONCE_TTL_MS; phase += 9_973) {
    for (let wait = 0; wait <= NONCE_TTL_MS; wait += 7_919) {
      clock.now += 3 * NONCE_TTL_MS;
      nonces.take(nonces.issue()); // a generation begins
      clock.now += phase;
      const nonce = nonces.issue();
      clock.now += wait;
      expect(nonces.take(nonce)).toBe(true);
      for (let after = 0; after < 2 * NONCE_TTL_MS; after += 4_999) {
        expect(nonces.take(nonce)).toBe(false);
        nonces.take(nonces.issue()); // lets old ones be forgotten
        clock.now += 4_999;
      }
    }
  }
});

test("only its own: not another secret's, a changed one, a second spelling, or rubbish", () => {
  const { nonces } = clocked();
  const nonce = nonces.issue();
  expect(new Nonces({ now: () => 1000 }).take(nonce)).toBe(false);
  for (let i = 0; i < nonce.length; i++) {
    for (const c of ["A", "B"]) {
      const changed = nonce.slice(0, i) + c + nonce.slice(i + 1);
      if (changed !== nonce) expect(nonces.take(changed)).toBe(false);
    }
  }
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  expect(nonces.take(nonce.slice(0, -1) + alphabet[alphabet.indexOf(nonce.slice(-1)) + 1])).toBe(false);
  for (const rubbish of [
    "",
    "x",
    `${nonce}=`,
    ` ${nonce}`,
    nonce.slice(1),
    "\u0000".repeat(75),
    undefined,
    null,
    5,
    {},
  ]) {
    expect(nonces.take(rubbish as string)).toBe(false);
  }
  expect(nonces.take(nonce)).toBe(true);
});

test("a secret can be shared by processes that share a clock", () => {
  const secret = new Uint8Array(32).fill(7);
  const [a, b] = [new Nonces({ secret, now: () => 5 }), new Nonces({ secret, now: () => 6 })];
  expect(b.take(a.issue())).toBe(true);
  expect(a.take(b.issue())).toBe(false); // from its future
});

test("memory is bounded, and no used nonce is forgotten to make room", () => {
  const { clock, nonces } = clocked({ maxTaken: 100 });
  const used = Array.from({ length: 100 }, () => nonces.issue());
  expect(used.every((nonce) => nonces.take(nonce))).toBe(true);
  expect(nonces.take(nonces.issue())).toBe(false);
  expect(used.some((nonce) => nonces.take(nonce))).toBe(false);
  clock.now += 2 * NONCE_TTL_MS + 1;
  expect(nonces.take(nonces.issue())).toBe(true);
});
