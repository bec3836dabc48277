import { expect, test } from "bun:test";
import { AttemptLimits, addressKey } from "../../../src/proxy/api/limits.ts";
import { NOBODY, Passwords } from "../../../src/proxy/api/passwords.ts";

test("attempts are counted for each key and window, and given back", () => {
  let now = 0;
  const limits = new AttemptLimits({ max: 2, windowMs: 100, now: () => now });
  expect([limits.take("a"), limits.take("a"), limits.take("a"), limits.take("b")]).toEqual([true, true, false, true]);
  limits.giveBack("a");
  limits.giveBack("unknown");
  expect([limits.take("a"), limits.take("a")]).toEqual([true, false]);
  now = 99;
  expect(limits.take("a")).toBe(false);
  now = 100;
  expect([limits.take("a"), limits.take("a"), limits.take("a")]).toEqual([true, true, false]);
});

test("the table of keys is bounded, and forgets what began first", () => {
  const limits = new AttemptLimits({ max: 1, windowMs: 100, size: 3, now: () => 0 });
  for (const key of ["a", "b", "c", "d"]) expect(limits.take(key)).toBe(true);
  expect([limits.take("d"), limits.take("c"), limits.take("b"), limits.take("a")]).toEqual([false, false, false, true]);
});

test("an IPv6 host counts as one, whichever of its addresses it uses", () => {
  expect(addressKey("192.0.2.7")).toBe("192.0.2.7");
  expect(addressKey("::ffff:192.0.2.7")).toBe("192.0.2.7");
  const key = "2001:db8:0:1::/64";
  for (const address of [
    "2001:db8:0:1::1",
    "2001:0db8:0000:0001:ffff:1:2:3",
    "2001:DB8:0:1:0:0:0:9",
    "2001:db8:0:1::",
  ]) {
    expect([address, addressKey(address)]).toEqual([address, key]);
  }
  expect(addressKey("2001:db8::1")).toBe("2001:db8:0:0::/64");
  expect(addressKey("::1")).toBe("0:0:0:0::/64");
  expect(addressKey("admin socket")).toBe("admin socket");
});

test("an unknown user's password is compared at the same cost as a known one's", async () => {
  const passwords = new Passwords();
  const hash = await passwords.hash("correct horse battery");
  const cost = (phc: string) => phc.split("$").slice(0, 4);
  expect(cost(hash)).toEqual(cost(NOBODY));
  expect(await passwords.verify("correct horse battery", hash)).toBe(true);
  expect(await passwords.verify("correct horse battery", undefined)).toBe(false);
  expect(await passwords.verify("e\u0301", await passwords.hash("\u00e9"))).toBe(true);
});

test("hashes wait for each other, up to a bound, and the places are free again after it", async () => {
  const passwords = new Passwords();
  const all = await Promise.allSettled(Array.from({ length: 36 }, () => passwords.verify("x", "not a hash")));
  const reasons = all.map((one) => (one.status === "rejected" ? String(one.reason) : "fulfilled"));
  expect(reasons.filter((reason) => reason.includes("too many logins at once"))).toHaveLength(2);
  expect(await passwords.verify("x", NOBODY)).toBe(false);
});
