/** What systemd hands over stands in for the files that the configuration names. */
import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { agentCredentials, proxyCredentials } from "../../src/config/credentials.ts";
import { loadJoinToken } from "../../src/config/join-token.ts";
import { loadConfig } from "../../src/config/load.ts";

const dir = mkdtempSync(join(tmpdir(), "mcpgate-credentials-"));
afterAll(() => rmSync(dir, { recursive: true }));
const path = join(dir, "both.yaml");
writeFileSync(
  path,
  `\
mcpgate: {proxy_server: p, join_params: {token_name: ./token}}
proxy_service:
  public_addr: p
  cert_file: /etc/tls.crt
  key_file: /etc/tls.key
  audit:
    sinks:
      - {type: stdout}
      - {type: http, name: siem, url: "https://siem.example.com/in", token: "file:/etc/siem.token"}
      - {type: http, url: "https://other.example.com/in", token: "env:OTHER"}
`,
);

/** A directory with these credentials in it. */
function handed(files: Record<string, string>): string {
  const directory = join(dir, crypto.randomUUID());
  mkdirSync(directory);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  return directory;
}

const load = (directory?: string) => loadConfig({ path, env: { CREDENTIALS_DIRECTORY: directory }, uid: 1000 });

test("each is named as its key", () => {
  const config = load();
  expect(agentCredentials(config)).toEqual({ "mcpgate.join_params.token_name": join(dir, "token") });
  expect(proxyCredentials(config)).toEqual({
    "proxy_service.cert_file": "/etc/tls.crt",
    "proxy_service.key_file": "/etc/tls.key",
    "proxy_service.audit.sinks.siem.token": "/etc/siem.token",
  });
  expect([agentCredentials(undefined), proxyCredentials(undefined)]).toEqual([{}, {}]);
});

test("what was handed over is taken, the rest is as it was", () => {
  const directory = handed({
    "mcpgate.join_params.token_name": "t0ken\n",
    "proxy_service.key_file": "key",
    "proxy_service.audit.sinks.siem.token": "s1em",
  });
  const { join: joining, proxy, ...others } = load(directory);
  expect(joining && loadJoinToken(joining)).toBe("t0ken");
  expect(proxy?.certFile).toBe("/etc/tls.crt");
  expect(proxy?.keyFile).toBe(join(directory, "proxy_service.key_file"));
  expect(proxy?.audit?.sinks.map((sink) => (sink.type === "http" ? sink.token : sink.type))).toEqual([
    "stdout",
    { file: join(directory, "proxy_service.audit.sinks.siem.token") },
    { env: "OTHER" },
  ]);
  const { join: _, proxy: __, ...before } = load();
  expect(others).toEqual(before);
});

test("a lone line feed stands for a file that was not there, and a directory for nothing", () => {
  const directory = handed({ "mcpgate.join_params.token_name": "\n", "proxy_service.cert_file": "" });
  mkdirSync(join(directory, "proxy_service.key_file"));
  expect(load(directory)).toEqual(load());
  expect(load(join(dir, "none"))).toEqual(load());
  expect(load("relative")).toEqual(load());
});

test("a directory that this account can't look into hands over nothing, and the configuration's own paths count", () => {
  // a file in the place of the directory: stat(2) fails, for root as well
  writeFileSync(join(dir, "no-directory"), "");
  const nowhere = load("/nowhere/at/all");
  expect(load(join(dir, "no-directory"))).toEqual(nowhere);
  // longer than a path may be
  expect(load(`/${"x".repeat(5000)}`)).toEqual(nowhere);
});
