import { afterAll, describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parsePin, requirePin, spkiPin } from "../../src/identity/pin.ts";
import { createCa, issueLeaf, leafServes, MAX_LEAF_DAYS } from "../../src/identity/pki.ts";

const DAY_MS = 86_400_000;
const directory = mkdtempSync(join(tmpdir(), "mcpgate-pki-"));
afterAll(() => rmSync(directory, { recursive: true }));

const ca = await createCa("gate.example.com");
const names = ["localhost", "gate.example.com", "*.apps.example.com", "127.0.0.1", "[::1]"];
const leaf = await issueLeaf({ ca, names });
const parsed = new X509Certificate(leaf.certPem);

describe("over TLS", () => {
  async function served(serving: typeof leaf, trusted: string, host: string): Promise<string> {
    const server = Bun.serve({
      port: 0,
      hostname: host.startsWith("[") ? "::1" : "127.0.0.1",
      tls: { cert: serving.certPem, key: serving.keyPem },
      fetch: () => new Response("hello"),
    });
    try {
      const response = await fetch(`https://${host}:${server.port}/`, {
        tls: { ca: trusted, rejectUnauthorized: true },
        keepalive: false,
      });
      return await response.text();
    } catch (error) {
      return String((error as { code?: unknown }).code);
    } finally {
      await server.stop(true);
    }
  }

  test("a client that trusts the CA reaches every name, and only these", async () => {
    expect(await served(leaf, ca.certPem, "localhost")).toBe("hello");
    expect(await served(leaf, ca.certPem, "127.0.0.1")).toBe("hello");
    const elsewhere = await issueLeaf({ ca, names: ["gate.example.com"] });
    expect(await served(elsewhere, ca.certPem, "localhost")).toBe("ERR_TLS_CERT_ALTNAME_INVALID");
  });

  test("an IPv6 address too", async () => {
    expect(await served(leaf, ca.certPem, "[::1]")).toBe("hello");
  });

  test("another CA of the same name, or an expired certificate, is refused", async () => {
    const impostor = await createCa("gate.example.com");
    expect(await served(await issueLeaf({ ca: impostor, names }), ca.certPem, "localhost")).not.toBe("hello");
    const expired = await issueLeaf({ ca, names, now: Date.now() - 2 * DAY_MS, days: 1 });
    expect(await served(expired, ca.certPem, "localhost")).toBe("CERT_HAS_EXPIRED");
  });

  test("a leaf is no CA: what it signs is refused", async () => {
    const forged = await issueLeaf({ ca: leaf, names });
    const chain = { ...forged, certPem: forged.certPem + leaf.certPem };
    expect(await served(chain, ca.certPem, "localhost")).not.toBe("hello");
  });
});

test("the leaf says what it should", () => {
  expect(parsed.subjectAltName).toBe(
    "DNS:localhost, DNS:gate.example.com, DNS:*.apps.example.com, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1",
  );
  expect(parsed.ca).toBe(false);
  expect(parsed.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]); // serverAuth
  const authority = new X509Certificate(ca.certPem);
  expect(authority.ca).toBe(true);
  expect(parsed.checkIssued(authority)).toBe(true);
  expect(parsed.verify(authority.publicKey)).toBe(true);
  const days = (Date.parse(parsed.validTo) - Date.parse(parsed.validFrom)) / DAY_MS;
  expect(days).toBeLessThanOrEqual(MAX_LEAF_DAYS);
  const years = (Date.parse(authority.validTo) - Date.now()) / DAY_MS / 365.25;
  expect(years).toBeCloseTo(10, 1);
});

test("serials are random and positive, 127 bits", async () => {
  const serials = new Set<string>();
  for (let i = 0; i < 20; i++) {
    const { serialNumber } = new X509Certificate((await issueLeaf({ ca, keyPem: leaf.keyPem, names })).certPem);
    expect(serialNumber).toMatch(/^[4-7][0-9A-F]{31}$/);
    serials.add(serialNumber);
  }
  expect(serials.size).toBe(20);
});

test("a renewal keeps the key", async () => {
  const renewed = await issueLeaf({ ca, keyPem: leaf.keyPem, names });
  expect(renewed.keyPem).toBe(leaf.keyPem);
  expect(spkiPin(renewed.certPem)).toBe(spkiPin(leaf.certPem));
  expect(renewed.certPem).not.toBe(leaf.certPem);
});

test("a leaf serves while it is of this CA, for these names, and not about to end", async () => {
  const serves = (need: object, certPem = leaf.certPem) => leafServes(certPem, { ca, names, ...need });
  expect(await serves({})).toBe(true);
  expect(await serves({ names: [...names].reverse() })).toBe(true);
  expect(await serves({ names: ["localhost"] })).toBe(false);
  expect(await serves({ ca: await createCa("gate.example.com") })).toBe(false);
  expect(await serves({ now: Date.now() + 310 * DAY_MS })).toBe(false);
  expect(await serves({ now: Date.now() - 31 * DAY_MS })).toBe(false);
});

test("names that are none are refused", async () => {
  for (const bad of [
    "",
    "a b",
    "gate.example.com:443",
    "https://x",
    "-x.com",
    "x..com",
    "*",
    "a.*.com",
    "x\u0000.com",
    "é.com",
  ]) {
    await expect(issueLeaf({ ca, names: [bad] })).rejects.toMatchObject({ code: "invalid" });
  }
  await expect(issueLeaf({ ca, names: [] })).rejects.toMatchObject({ code: "invalid" });
  await expect(issueLeaf({ ca, names, days: 368 })).rejects.toMatchObject({ code: "invalid" });
});

describe("a pin", () => {
  test("is of the CA's key, and stays when the certificate is another", async () => {
    const pin = spkiPin(ca.certPem);
    expect(pin).toMatch(/^sha256:[0-9a-f]{64}$/);
    requirePin(ca.certPem, pin);
    requirePin(ca.certPem, pin.toUpperCase());
    const mismatch = expect.objectContaining({ code: "pin_mismatch" });
    expect(() => requirePin(leaf.certPem, pin)).toThrow(mismatch);
    expect(() => requirePin(leaf.certPem, spkiPin(leaf.certPem))).toThrow(mismatch); // its key, but no CA
  });

  test("has one form", () => {
    const pin = spkiPin(ca.certPem);
    expect(parsePin(` ${pin.toUpperCase()}\n`)).toBe(pin);
    for (const bad of ["", pin.slice(7), pin.slice(0, -1), `${pin}0`, `sha1:${pin.slice(7)}`, pin.replace(/.$/, "g")]) {
      expect(() => parsePin(bad)).toThrow(expect.objectContaining({ code: "usage" }));
    }
  });

  test("of something that is no certificate fails", () => {
    expect(() => spkiPin("hello")).toThrow(expect.objectContaining({ code: "tls" }));
  });
});

const openssl = Bun.which("openssl");
describe.skipIf(openssl === null)("openssl agrees", () => {
  const run = (...args: string[]) => {
    const { exitCode, stdout, stderr } = Bun.spawnSync([openssl ?? "", ...args]);
    return { exitCode, output: `${stdout}${stderr}` };
  };
  const file = (name: string, text: string) => {
    writeFileSync(join(directory, name), text, { mode: 0o600 });
    return join(directory, name);
  };
  const caFile = file("ca.pem", ca.certPem);
  const leafFile = file("leaf.pem", leaf.certPem);

  test("on the chain, by the strict rules of RFC 5280", () => {
    const verify = (...more: string[]) =>
      run("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", caFile, ...more, leafFile);
    expect(verify("-verify_hostname", "localhost")).toMatchObject({ exitCode: 0 });
    expect(verify("-verify_hostname", "a.apps.example.com")).toMatchObject({ exitCode: 0 });
    expect(verify("-verify_ip", "::1")).toMatchObject({ exitCode: 0 });
    expect(verify("-verify_hostname", "example.com").exitCode).not.toBe(0);
    expect(run("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", caFile, leafFile).exitCode).not.toBe(0);
  });

  test("on keys and extensions", () => {
    const { output } = run("x509", "-in", leafFile, "-noout", "-text");
    expect(output).toContain("NIST CURVE: P-256");
    expect(output).toContain("X509v3 Authority Key Identifier");
    expect(output).toContain("X509v3 Subject Key Identifier");
    expect(output).toMatch(/Basic Constraints: critical\s+CA:FALSE/);
    expect(output).toMatch(/Key Usage: critical\s+Digital Signature\n/);
    expect(run("x509", "-in", caFile, "-noout", "-text").output).toMatch(
      /Basic Constraints: critical\s+CA:TRUE, pathlen:0/,
    );
    expect(run("pkey", "-in", file("key.pem", leaf.keyPem), "-check", "-noout")).toMatchObject({ exitCode: 0 });
  });

  test("on the pin", () => {
    const der = join(directory, "spki.der");
    const spki = run("x509", "-in", caFile, "-pubkey", "-noout").output;
    run("pkey", "-pubin", "-in", file("spki.pem", spki), "-outform", "der", "-out", der);
    expect(run("dgst", "-sha256", der).output).toContain(spkiPin(ca.certPem).slice(7));
  });
});
