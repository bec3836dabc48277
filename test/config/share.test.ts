/** `mcp.share`, `mcp.linger` and `mcp.warm`. */
import { expect, test } from "bun:test";
import { stringify } from "yaml";
import type { McpConfig } from "../../src/config/config.ts";
import { parseConfig } from "../../src/config/parse.ts";

const OWN = "{{user.traits.unix_login}}";

function parse(mcp: object): McpConfig | undefined {
  const text = stringify({
    app_service: { allow_host_users: ["alice"], apps: [{ name: "a", mcp: { command: "x", ...mcp } }] },
  });
  return parseConfig(text, { file: "/etc/f", shownAs: "F", uid: 1000, defaultDataDir: () => "/d" }).app?.apps[0]?.mcp;
}

test("what they may be", () => {
  expect(parse({})).toEqual({ command: "x", args: [] });
  expect(parse({ share: "user", linger: "0s", warm: 2, run_as_host_user: "docker" })).toMatchObject({
    ...{ share: "user", linger: 0, warm: 2 },
  });
  expect(parse({ share: "app", linger: "1h" })).toMatchObject({ share: "app", linger: 3600 });
  expect(parse({ share: "user", run_as_host_user: OWN })).toMatchObject({ share: "user" });
  expect(() => parse({ share: "team" })).toThrow('mcp.share: expected session, user, app, got "team"');
  expect(() => parse({ share: "app", linger: "25h" })).toThrow("mcp.linger: ");
  expect(() => parse({ warm: 1.5 })).toThrow("mcp.warm: ");
});

test("what would be one person's is not shared by all, nor started before it is known whose it is", () => {
  expect(() => parse({ share: "app", run_as_host_user: OWN })).toThrow("mcp.share: is refused: run_as_host_user gives");
  expect(() => parse({ warm: 1, run_as_host_user: OWN })).toThrow("mcp.warm: is refused: a spare would have to run as");
  expect(() => parse({ linger: "1m" })).toThrow("mcp.linger: goes with share: user and share: app only");
});
