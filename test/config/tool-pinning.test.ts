import { expect, test } from "bun:test";
import { parseConfig } from "../../src/config/parse.ts";

const pinning = (value: string) =>
  parseConfig(`app_service: {apps: [{name: a, tool_pinning: ${value}, mcp: {command: x}}]}`, {
    file: "/etc/mcpgate.yaml",
    shownAs: "F",
    uid: 1000,
    defaultDataDir: () => "/data",
  }).app?.apps[0]?.toolPinning;

test("tool_pinning: off, warn or enforce; YAML 1.1's off is meant as the word", () => {
  expect(["off", "false", "warn", "enforce", "null"].map(pinning)).toEqual([
    "off",
    "off",
    "warn",
    "enforce",
    undefined,
  ]);
  expect(() => pinning("enforced")).toThrow("F:1:46: app_service.apps[0].tool_pinning: expected off, warn, enforce");
  expect(() => pinning("true")).toThrow("tool_pinning");
});
