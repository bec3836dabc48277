import { describe, expect, test } from "bun:test";
import { changedApps, waitingForRestart } from "../../src/config/changes.ts";
import { parseConfig } from "../../src/config/parse.ts";

const parse = (text: string) =>
  parseConfig(text, { file: "/f.yaml", shownAs: "f.yaml", uid: 1000, defaultDataDir: () => "/d" });
const apps = (...names: string[]) => parse(`app_service: {apps: [${names.join(", ")}]}`).app?.apps ?? [];
const app = (name: string, more = "") => `{name: ${name}, mcp: {command: x}${more}}`;

test("apps: by name, whatever their order", () => {
  const before = apps(app("a"), app("b"), app("c"));
  const after = apps(app("d"), app("c"), app("a", ", labels: {env: dev}"));
  expect(changedApps(before, after)).toEqual({ added: ["d"], changed: ["a"], removed: ["b"] });
  expect(changedApps(before, apps(app("c"), app("b"), app("a")))).toEqual({ added: [], changed: [], removed: [] });
});

describe("what waits for a restart", () => {
  test("of an agent", () => {
    const before = parse("mcpgate: {proxy_server: a.test}\napp_service: {}");
    const after = parse("mcpgate: {proxy_server: b.test, data_dir: /e}\napp_service: {resume_window: 1m, drain: 1s}");
    expect(waitingForRestart("agent", before, after)).toEqual(["mcpgate.data_dir", "mcpgate.proxy_server"]);
    expect(waitingForRestart("agent", before, before)).toEqual([]);
  });

  test("of a proxy", () => {
    const before = parse("proxy_service: {public_addr: a.test, cert_file: c, key_file: k}");
    const after = parse(
      "proxy_service: {public_addr: a.test, cert_file: d, key_file: l, audit: {retention: {max_age: 1d}}}",
    );
    expect(waitingForRestart("proxy", before, after)).toEqual([]);
    const other = parse("proxy_service: {public_addr: b.test, cluster_name: a.test, tls: off}");
    expect(waitingForRestart("proxy", before, other)).toEqual([
      "proxy_service.public_addr",
      "proxy_service.tls",
      "proxy_service.cert_file",
    ]);
  });
});
