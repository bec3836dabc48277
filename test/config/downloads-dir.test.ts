import { expect, test } from "bun:test";
import { waitingForRestart } from "../../src/config/changes.ts";
import { parseConfig } from "../../src/config/parse.ts";

const parse = (text: string) =>
  parseConfig(text, { file: "/etc/mcpgate.yaml", shownAs: "F", uid: 0, defaultDataDir: () => "/var/lib/mcpgate" });

test("downloads_dir starts from the file's directory, and counts from the next start on", () => {
  const before = parse("proxy_service: {public_addr: a.test}");
  const after = parse("proxy_service: {public_addr: a.test, downloads_dir: programs}");
  expect([before.proxy?.downloadsDir, after.proxy?.downloadsDir]).toEqual([undefined, "/etc/programs"]);
  expect(waitingForRestart("proxy", before, after)).toEqual(["proxy_service.downloads_dir"]);
});
