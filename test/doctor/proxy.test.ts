/** A proxy's files, whether it runs or not: the certificate that it was given, its key, and who else gets at them. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Config, ProxyConfig } from "../../src/config/config.ts";
import type { Edges } from "../../src/doctor/edges.ts";
import { bounded, report } from "../../src/doctor/finding.ts";
import { checkProxy } from "../../src/doctor/proxy.ts";
import { createCa, issueLeaf } from "../../src/identity/pki.ts";
import { wrong } from "./proxy-in-here.ts";

const DAY_MS = 86_400_000;
const ca = await createCa("given");
let dir: string;
let service: ProxyConfig;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "mcpgate-doctor-"));
  const address = { host: "proxy.invalid", port: 443 };
  const files = { certFile: join(dir, "cert.pem"), keyFile: join(dir, "key.pem") };
  service = { listen: address, publicAddr: address, ...files, tls: true, trustedProxies: [], clusterName: "c" };
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function give(o: { names?: string[]; now?: number; days?: number } = {}): Promise<string> {
  const { certPem, keyPem } = await issueLeaf({ ca, names: ["proxy.invalid"], ...o });
  writeFileSync(service.certFile ?? "", certPem, { mode: 0o644 });
  writeFileSync(service.keyFile ?? "", keyPem, { mode: 0o600 });
  return keyPem;
}
const edges: Edges = {
  ...{ env: {}, uid: process.getuid?.() ?? -1, now: Date.now, statfs, booted: "/nowhere" },
  run: () => Promise.reject(new Error("asked")),
};
/** But for the way there, which ends at the name, and the process, which is not. */
async function look(more: Partial<Edges> = {}): Promise<string[]> {
  const config: Config = { file: undefined, dataDir: dir, log: { severity: "ERROR", format: "text" }, proxy: service };
  const findings = await checkProxy(config, service, { ...edges, ...more });
  expect(wrong(findings)).toContainEqual(
    expect.stringMatching(/^fail name: the name proxy\.invalid can't be resolved/),
  );
  expect(wrong(findings)).toContainEqual(expect.stringContaining("fail admin socket: no proxy runs here"));
  return wrong(findings.filter(({ check }) => ["certificate files", "permissions"].includes(check)));
}

test("a pair that fits", async () => {
  await give();
  expect(await look()).toEqual([]);
});

test("a key that others may read", async () => {
  await give();
  chmodSync(service.keyFile ?? "", 0o644);
  expect(await look()).toEqual([`fail permissions: other users may read ${service.keyFile}`]);
});

test("a certificate that is over, about to be, to come, or of another name", async () => {
  const now = Date.now();
  await give({ days: 5 });
  expect(await look()).toEqual([`warn certificate files: ${service.certFile} ends in 4 days`]);
  expect(await look({ now: () => now + 6 * DAY_MS })).toEqual([
    expect.stringContaining(`fail certificate files: ${service.certFile} ended on `),
  ]);
  expect(await look({ now: () => now - 60 * DAY_MS })).toEqual([
    expect.stringContaining(`fail certificate files: ${service.certFile} is valid from `),
  ]);
  await give({ names: ["other.example.com"] });
  expect(await look()).toEqual([
    expect.stringContaining(
      `${service.certFile} is not for proxy.invalid, which is public_addr (it is for DNS:other.example.com`,
    ),
  ]);
});

test("another's key, and files that are something else or nowhere", async () => {
  const other = await give();
  await give();
  writeFileSync(service.keyFile ?? "", other);
  expect(await look()).toEqual([`fail certificate files: ${service.keyFile} is not the key of ${service.certFile}`]);
  writeFileSync(service.keyFile ?? "", "hello");
  expect(await look()).toEqual([expect.stringContaining(`${service.keyFile} is no private key`)]);
  writeFileSync(service.certFile ?? "", "hello");
  expect(await look()).toEqual([expect.stringContaining(`${service.certFile} is no certificate in PEM form`)]);
  rmSync(service.certFile ?? "");
  expect(await look()).toEqual([expect.stringContaining("can't be read: ENOENT")]);
});

test("a check that throws, and one that never ends, are findings too", async () => {
  expect(await bounded("proxy", "disk", 1000, () => Promise.reject(new Error("EIO: i/o error, statfs")))).toEqual([
    { part: "proxy", check: "disk", state: "fail", message: "EIO: i/o error, statfs" },
  ]);
  const [late, ...more] = await bounded("proxy", "disk", 10, () => new Promise(() => {}));
  expect(late).toMatchObject({ check: "disk", state: "fail", message: "did not end within 0.01 s" });
  expect([late?.fix !== undefined, more]).toEqual([true, []]);
});

test("what was found before the end of the time is told", async () => {
  const first = report("proxy", "name").ok("here");
  const half = (end: Promise<never>) =>
    bounded("proxy", "way", 10, (soFar) => {
      soFar.push(first);
      return end;
    });
  expect(await half(new Promise(() => {}))).toMatchObject([first, { check: "way", state: "fail" }]);
  expect(await half(Promise.reject(new Error("no")))).toMatchObject([first, { check: "way", message: "no" }]);
});

test("a proxy that hangs: its socket takes connections and says nothing, which is told beside the way there", async () => {
  await give();
  mkdirSync(join(dir, "proxy"), { mode: 0o700 });
  const silent = Bun.listen({ unix: join(dir, "proxy", "admin.sock"), socket: { data() {} } });
  const config: Config = { file: undefined, dataDir: dir, log: { severity: "ERROR", format: "text" }, proxy: service };
  const findings = await checkProxy(config, service, { ...edges, answerMs: 20 });
  silent.stop(true);
  const said = findings.find(({ check }) => check === "admin socket");
  expect(said?.message).toBe(`the proxy does not answer on ${join(dir, "proxy", "admin.sock")} within 0.02 s`);
  expect(said?.fix).toContain("mcpgate proxy start");
  expect(wrong(findings)).toContainEqual(expect.stringMatching(/^fail name: the name proxy\.invalid/));
});
