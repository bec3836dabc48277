import { afterEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PinsByApp } from "../../src/agent/pins-by-app.ts";
import { AppPins } from "../../src/agent/tool-pins.ts";
import type { AppConfig } from "../../src/config/config.ts";
import { recordingLog } from "./scene.ts";

const made: string[] = [];
afterEach(() => {
  for (const dir of made.splice(0)) rmSync(dir, { recursive: true });
});

function scene() {
  const dataDir = mkdtempSync(join(tmpdir(), "mcpgate-test-"));
  made.push(dataDir);
  mkdirSync(join(dataDir, "agent"), { mode: 0o700 });
  return { dir: join(dataDir, "agent"), pins: new PinsByApp({ dataDir, ...recordingLog(), send() {} }, new Map()) };
}

const app = (name: string): AppConfig => ({
  ...{ name, labels: {}, description: "", shared: true },
  mcp: { command: "x", args: [] },
});

test("pins with something in them are one object for ever, blank ones go with their app", () => {
  const { dir, pins } = scene();
  pins.keep([app("used"), app("blank")]);
  const [used, blank] = [pins.of("used"), pins.of("blank")];
  used?.begin();
  used?.save();
  pins.keep([]);
  expect(pins.of("used")).toBeUndefined();
  const other = new AppPins(dir, "blank", "warn");
  other.begin();
  other.save();
  pins.keep([app("used"), app("blank")]);
  expect(pins.of("used")).toBe(used as AppPins);
  expect(pins.of("blank")).not.toBe(blank as AppPins);
  // So it was read anew.
  expect(pins.of("blank")?.begun).toBe(true);
});

test("names that are only asked about leave nothing behind", () => {
  const { dir, pins } = scene();
  pins.keep([app("here")]);
  expect(pins.fault(app("there"))).toBeUndefined();
  pins.keep([app("here")]);
  const other = new AppPins(dir, "there", "warn");
  other.begin();
  other.save();
  pins.keep([app("here"), app("there")]);
  expect(pins.of("there")?.begun).toBe(true);
});
