/** `app_service.resources`, `allow_commands` and `allow_cwd`. */
import { expect, test } from "bun:test";
import { parseConfig } from "../../src/config/parse.ts";

const parse = (lines: string) =>
  parseConfig(`app_service:\n${lines.replace(/^/gm, "  ")}\n`, {
    ...{ file: "/etc/f", shownAs: "F", uid: 0, defaultDataDir: () => "/d" },
  }).app;

function refused(lines: string): string {
  try {
    parse(lines);
    return "taken";
  } catch (error) {
    const { message, hint } = error as { message: string; hint?: string };
    return `${message}\n${hint ?? ""}`;
  }
}

test("nothing unless told", () => {
  const { resources, allowCommands, allowCwd, allowHostUsers } = parse("enabled: yes") ?? {};
  expect([resources, allowCommands, allowCwd, allowHostUsers]).toEqual([undefined, undefined, undefined, undefined]);
});

test("what they may be", () => {
  const service = parse(
    [
      "resources:",
      "  - labels: { env: dev, team: [a, 'b*'] }",
      "  - labels: { '*': '*' }",
      "allow_commands:",
      "  - [docker, run, -i, --rm, 'mcp/*']",
      "  - [/opt/server, '**']",
      "allow_cwd: [/srv/data]",
    ].join("\n"),
  );
  expect(service).toMatchObject({
    resources: [{ env: "dev", team: ["a", "b*"] }, { "*": "*" }],
    allowCommands: [
      ["docker", "run", "-i", "--rm", "mcp/*"],
      ["/opt/server", "**"],
    ],
    allowCwd: ["/srv/data"],
  });
});

test.each([
  ["resources: {env: dev}", "F:2:14: app_service.resources: expected a list"],
  ["resources: [{}]", "app_service.resources[0].labels: is required"],
  ["resources: [{label: {}}]", "did you mean: labels"],
  ["resources: [{labels: {}}]", "is empty and takes nothing"],
  ["resources: [{labels: {'*': dev}}]", "has a key * with another value"],
  ["resources: [{labels: {env: '^dev$'}}]", "is a regular expression, which is for roles only"],
  ["allow_commands: [docker]", "app_service.allow_commands[0]: expected a list"],
  ["allow_commands: [[]]", "app_service.allow_commands[0]: names no command"],
  ["allow_commands: [['*']]", "app_service.allow_commands[0][0]: is no command"],
  [
    "allow_commands: [[x, '**', y]]",
    "F:2:24: app_service.allow_commands[0][1]: holds a **, which stands alone and last",
  ],
  ["allow_commands: [[x, 'a**']]", "holds a **"],
  ["allow_commands: [[x, 1]]", "expected a string, got 1"],
  ["allow_cwd: [data]", "is not an absolute path"],
  ["allow_command: [[x]]", "did you mean: allow_commands"],
])("%s", (lines, message) => {
  expect(refused(lines)).toContain(message);
});
