import { describe, expect, test } from "bun:test";
import { SignJWT } from "jose/jwt/sign";
import { Failure } from "../../src/errors.ts";
import { generateKeyPair, type KeyPair } from "../../src/identity/keys.ts";
import { Nonces } from "../../src/identity/nonce.ts";
import { proofUrl, signProof, verifyProof } from "../../src/identity/proof.ts";

const key = await generateKeyPair();
const other = await generateKeyPair();
const request = { key, method: "GET", url: "wss://gate.example.com:443/v1/link?x=1", nonce: "n-1" };
const check = { method: "GET", url: "https://gate.example.com/v1/link", nonce: "n-1" };

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "none";
  } catch (error) {
    expect(error).toBeInstanceOf(Failure);
    return (error as Failure).code;
  }
}

/** A proof with any header and claims: what an attacker can make with a key of their own. */
function forge(o: { header?: object; claims?: object; signer?: KeyPair }): Promise<string> {
  const claims = { jti: "j", iat: 1, htm: "GET", htu: check.url, nonce: "n-1", ...o.claims };
  const signer = o.signer ?? key;
  return new SignJWT(claims)
    .setProtectedHeader({ typ: "dpop+jwt", alg: "EdDSA", jwk: signer.publicJwk, ...o.header })
    .sign(signer.privateJwk);
}

describe("a proof", () => {
  test("names its key and carries its claims", async () => {
    const proof = await verifyProof(await signProof({ ...request, claims: { sid: "s", app: "a" } }), check);
    expect(proof).toEqual({ jkt: key.jkt, publicJwk: key.publicJwk, claims: { sid: "s", app: "a" } });
  });

  test("takes a nonce that the proxy issued, once", async () => {
    const nonces = new Nonces();
    const jwt = await signProof({ ...request, nonce: nonces.issue() });
    const take = (nonce: string) => nonces.take(nonce);
    expect((await verifyProof(jwt, { ...check, nonce: take })).jkt).toBe(key.jkt);
    expect(await codeOf(verifyProof(jwt, { ...check, nonce: take }))).toBe("bad_proof");
  });

  test("does not spend a nonce unless everything else holds", async () => {
    let asked = 0;
    const nonce = () => {
      asked += 1;
      return true;
    };
    const jwt = await signProof(request);
    const tampered = `${jwt.slice(0, -4)}AAAA`;
    for (const [bad, against] of [
      [tampered, check],
      [jwt, { ...check, method: "POST" }],
      [jwt, { ...check, url: "https://other.example.com/v1/link" }],
      [jwt, { ...check, jkt: (await generateKeyPair()).jkt }],
    ] as const) {
      expect(await codeOf(verifyProof(bad, { ...against, nonce }))).toBe("bad_proof");
    }
    expect(asked).toBe(0);
    await verifyProof(jwt, { ...check, nonce, jkt: key.jkt });
    expect(asked).toBe(1);
  });

  test("compares no clock: iat may say anything", async () => {
    for (const iat of [0, -1e9, 4e9])
      expect((await verifyProof(await forge({ claims: { iat } }), check)).jkt).toBe(key.jkt);
  });

  const faults: [string, object, object?][] = [
    ["another type", { header: { typ: "JWT" } }],
    ["no type", { header: { typ: undefined } }],
    ["the algorithm by another name", { header: { alg: "Ed25519" } }],
    ["a critical extension", { header: { crit: ["b64"], b64: true } }],
    ["no key", { header: { jwk: undefined } }],
    ["a private key", { header: { jwk: key.privateJwk } }],
    ["somebody else's key", { header: { jwk: other.publicJwk } }],
    ["a symmetric part", { header: { jwk: { ...key.publicJwk, k: "AAAA" } } }],
    ["a key of another kind", { header: { jwk: { kty: "EC", crv: "P-256", x: "AA", y: "AA" } } }],
    ["another method", { claims: { htm: "POST" } }],
    ["a method in lower case", { claims: { htm: "get" } }],
    ["another path", { claims: { htu: "https://gate.example.com/v1/other" } }],
    ["another host", { claims: { htu: "https://evil.example.com/v1/link" } }],
    ["another scheme", { claims: { htu: "http://gate.example.com/v1/link" } }],
    ["a URL that is none", { claims: { htu: "/v1/link" } }],
    ["a nonce of another connection", { claims: { nonce: "n-2" } }],
    ["no nonce", { claims: { nonce: undefined } }],
    ["no jti", { claims: { jti: undefined } }],
    ["no iat", { claims: { iat: undefined } }],
    ["a claim that is no string", { claims: { sid: 5 } }],
    ["a claim of a strange name", { claims: { "a b": "x" } }],
    ["too long a claim", { claims: { sid: "x".repeat(1025) } }],
    ["too many claims", { claims: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`c${i}`, "x"])) }],
    ["a length over the cap", { header: { pad: "x".repeat(4096) } }],
  ];
  test.each(faults)("with %s is refused", async (_, fault) => {
    expect(await codeOf(verifyProof(await forge(fault), check))).toBe("bad_proof");
  });

  test("unsigned, with another algorithm, or no JWT at all is refused", async () => {
    const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const [header, payload, signature] = (await signProof(request)).split(".");
    const claims = { jti: "j", iat: 1, htm: "GET", htu: check.url, nonce: "n-1" };
    const ec = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign"]);
    const byEc = await new SignJWT(claims)
      .setProtectedHeader({
        typ: "dpop+jwt",
        alg: "ES256",
        jwk: (await crypto.subtle.exportKey("jwk", ec.publicKey)) as object,
      })
      .sign(ec.privateKey);
    const hmac = await new SignJWT(claims)
      .setProtectedHeader({ typ: "dpop+jwt", alg: "HS256", jwk: key.publicJwk })
      .sign(Buffer.from(key.publicJwk.x, "base64url"));
    const none = `${part({ typ: "dpop+jwt", alg: "none", jwk: key.publicJwk })}.${part(claims)}.`;
    const ed = `${part({ typ: "dpop+jwt", alg: "Ed25519", jwk: key.publicJwk })}.${payload}.${signature}`;
    const swapped = `${header}.${part(claims)}.${signature}`;
    for (const jwt of [
      byEc,
      hmac,
      none,
      ed,
      swapped,
      "",
      "a.b",
      "a.b.c",
      "....",
      `${header}.${payload}`,
      undefined,
      5,
      {},
      null,
    ]) {
      expect(await codeOf(verifyProof(jwt, check))).toBe("bad_proof");
    }
  });

  test("is refused whichever byte of it was changed", async () => {
    const jwt = await signProof(request);
    for (let i = 0; i < jwt.length; i += 7) {
      const changed = jwt.slice(0, i) + (jwt[i] === "A" ? "B" : "A") + jwt.slice(i + 1);
      expect(await codeOf(verifyProof(changed, check))).toBe("bad_proof");
    }
  });

  test("is not signed with claims that no verifier takes", async () => {
    for (const claims of [{ nonce: "x" }, { Sid: "x" }, { sid: "x".repeat(2000) }]) {
      expect(await codeOf(signProof({ ...request, claims }))).toBe("internal");
    }
  });
});

test("a URL counts without query, fragment and default port, a WebSocket's as the handshake's", () => {
  expect(proofUrl("wss://Gate.Example.com:443/a?b#c")).toBe("https://gate.example.com/a");
  expect(proofUrl("ws://[::1]:80/")).toBe("http://[::1]/");
  expect(proofUrl("wss://h:3080/a")).toBe("https://h:3080/a");
});
