import { expect, test } from "bun:test";
import { generateKeyPair, parseKeyPair, parsePublicJwk, thumbprint } from "../../src/identity/keys.ts";

test("the thumbprint is RFC 8037's for its example key", async () => {
  const jwk = { kty: "OKP", crv: "Ed25519", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" } as const;
  expect(await thumbprint(jwk)).toBe("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
});

test("a key pair survives its file", async () => {
  const pair = await generateKeyPair();
  expect(await parseKeyPair(JSON.parse(JSON.stringify(pair.privateJwk)))).toEqual(pair);
  expect(Object.keys(pair.publicJwk)).toEqual(["kty", "crv", "x"]);
  expect((await generateKeyPair()).jkt).not.toBe(pair.jkt);
});

test("what is no private key is refused, and the message holds nothing of it", async () => {
  const { privateJwk, publicJwk } = await generateKeyPair();
  for (const value of [publicJwk, { ...privateJwk, crv: "X25519" }, { ...privateJwk, d: "abc" }, null, "x", 5, []]) {
    const failure = await parseKeyPair(value).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "invalid" });
    expect(String(failure)).not.toContain(privateJwk.d);
  }
});

test("a public key has one spelling, and other members are dropped", async () => {
  const { publicJwk } = await generateKeyPair();
  expect(parsePublicJwk({ ...publicJwk, use: "sig", kid: "k" })).toEqual(publicJwk);
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const last = alphabet.indexOf(publicJwk.x.slice(-1));
  const respelt = publicJwk.x.slice(0, -1) + alphabet[last + 1]; // the same 32 bytes to a lax decoder
  for (const x of [respelt, `${publicJwk.x}=`, publicJwk.x.slice(1), "", 5]) {
    expect(() => parsePublicJwk({ ...publicJwk, x })).toThrow(expect.objectContaining({ code: "bad_proof" }));
  }
});
