import { afterEach, beforeEach, expect, test } from "bun:test";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";
import { addToken, checkToken, listTokens, removeToken, TOKEN_TTL } from "../../src/store/tokens.ts";

let store: Store;
beforeEach(async () => {
  store = await openStore(":memory:");
});
afterEach(() => store.destroy());

const add = (o: { ttl?: number; now?: number } = {}) =>
  addToken(store, { type: "app", ttl: o.ttl, createdBy: "uid:0", now: o.now ?? 1000 });

test("a token has 128 bits, and the store keeps nothing that it can be made from", async () => {
  const token = await add();
  expect(token.secret).toMatch(/^[0-9a-f]{32}$/);
  expect(token.expiresAt).toBe(1000 + TOKEN_TTL.default * 1000);
  const rows = await store.selectFrom("tokens").selectAll().execute();
  expect(JSON.stringify(rows)).not.toContain(token.secret);
  expect(JSON.stringify(await listTokens(store, 1000))).not.toContain(token.secret);
  expect((await add()).secret).not.toBe(token.secret);
});

test("a token is good until it expires, more than once, and not a moment longer", async () => {
  const { secret, expiresAt, id } = await add({ ttl: 60 });
  for (const now of [1000, 1001, expiresAt - 1]) {
    expect((await checkToken(store, secret, { type: "app", now })).id).toBe(id);
  }
  await expect(checkToken(store, secret, { type: "app", now: expiresAt })).rejects.toMatchObject({
    code: "token_invalid",
    message: "the join token has expired",
  });
  expect(await listTokens(store, expiresAt)).toEqual([]);
});

test("tokens are removed by themselves or by their id; others stay", async () => {
  const first = await add();
  const second = await add();
  const third = await add();
  expect((await removeToken(store, first.secret)).id).toBe(first.id);
  expect((await removeToken(store, second.id)).id).toBe(second.id);
  for (const { secret } of [first, second]) {
    await expect(checkToken(store, secret, { type: "app", now: 1000 })).rejects.toMatchObject({
      code: "token_invalid",
    });
  }
  expect((await listTokens(store, 1000)).map((token) => token.id)).toEqual([third.id]);
  await expect(removeToken(store, first.secret)).rejects.toMatchObject({ code: "not_found" });
});

test("what is no token is refused as an unknown one is", async () => {
  await add();
  for (const secret of ["", "x", "0".repeat(32), "' or 1=1 --"]) {
    await expect(checkToken(store, secret, { type: "app", now: 1000 })).rejects.toMatchObject({
      code: "token_invalid",
    });
  }
});

test("a lifetime out of range is refused", async () => {
  expect((await add({ ttl: 1, now: 1000 })).expiresAt).toBe(2000);
  for (const ttl of [0, -5, TOKEN_TTL.max + 1, Number.NaN]) {
    await expect(add({ ttl })).rejects.toMatchObject({ code: "invalid" });
  }
});
