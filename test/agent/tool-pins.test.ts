/** Tool definitions over time: what is trusted, what is told, what is held back, and what people see of it. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readDefinition } from "../../src/agent/tool-definition.ts";
import { diffDefinitions, showDefinition, visible } from "../../src/agent/tool-diff.ts";
import { AppPins } from "../../src/agent/tool-pins.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "mcpgate-pins-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const bytes = (value: unknown) => new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
const tool = (description: string, name = "read") => bytes({ name, description });
const names = (events: { event: string }[]) => events.map(({ event }) => event);

describe("a definition's hash", () => {
  const hash = (text: string) => readDefinition(bytes(text)).hash;
  test("is of all of it, whatever the order and spacing of its keys", () => {
    expect(hash('{"b":[1,{"d":1,"c":2}],"a":"x"}')).toBe(hash('{ "a" : "x", "b" : [1, {"c":2,"d":1}] }'));
    expect(hash('{"a":"x"}')).toBe(hash('{"a":"\\u0078"}'));
    expect(hash('{"a":[1,2]}')).not.toBe(hash('{"a":[2,1]}'));
    expect(hash('{"a":"x"}')).not.toBe(hash('{"a":"x\\u200b"}'));
    expect(hash('{"a":12345678901234567890}')).not.toBe(hash('{"a":12345678901234567891}'));
    expect(hash('{"_meta":{"a":1}}')).not.toBe(hash('{"_meta":{"a":2}}'));
  });
  test("of a huge one is of its bytes", () => {
    const huge = (char: string) => readDefinition(bytes({ a: char.repeat(300_000) }));
    expect(huge("x").text).toBeUndefined();
    expect(huge("x").hash).not.toBe(huge("y").hash);
  });
});

describe("what people see", () => {
  test("nothing invisible", () => {
    expect(visible("a\u200bb\u202ec\u{e0041}d\ufe0fe\u00a0f\u0007g\ufeff h ü 漢 😀")).toBe(
      "a<U+200B>b<U+202E>c<U+E0041>d<U+FE0F>e<U+00A0>f<U+0007>g<U+FEFF> h ü 漢 😀",
    );
  });
  test("a line for each value that changed, with a little around the change", () => {
    const before = JSON.stringify({ description: `${"a".repeat(500)} reads ${"b".repeat(500)}`, gone: 1, same: 2 });
    const after = JSON.stringify({
      description: `${"a".repeat(500)} reads\u200b and sends ${"b".repeat(500)}`,
      same: 2,
      inputSchema: { properties: { "x y": { type: "string" } } },
    });
    const lines = diffDefinitions(before, after);
    expect(lines[0]).toMatch(/^- description: …a{60} reads b{60}…$|^- description: …a+ reads b+…$/);
    expect(lines[1]).toContain("reads<U+200B> and sends ");
    expect(lines[1]?.length).toBeLessThan(250);
    expect(lines.slice(2)).toEqual(["- gone: 1", '+ inputSchema.properties."x y".type: "string"']);
  });
  test("within bounds", () => {
    const wide = JSON.stringify(
      Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`k${i}`, "\u200b".repeat(9000)])),
    );
    const lines = showDefinition(wide);
    expect(lines).toHaveLength(41);
    expect(lines.at(-1)).toBe("(460 more lines)");
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(400);
    expect(diffDefinitions(undefined, "{}")).toEqual(["(the definition is too long to be shown)"]);
  });
});

describe("warn", () => {
  test("tells once of each new and each changed definition, and holds nothing back", () => {
    const pins = new AppPins(dir, "notes", "warn");
    const first = pins.see("read", tool("reads"), false);
    expect(first.events).toMatchObject([
      { event: "mcp.tool.new", tool: "read", details: { first_use: true, hidden: false } },
    ]);
    expect(pins.see("read", tool("reads"), false).events).toEqual([]);
    pins.begin();
    const changed = pins.see("read", tool("reads, and sends"), false);
    expect(changed.events).toMatchObject([
      {
        event: "mcp.tool.changed",
        details: {
          was: first.hash,
          hash: changed.hash,
          diff: ['- description: "reads"', '+ description: "reads, and sends"'],
        },
      },
    ]);
    expect(pins.see("read", tool("reads, and sends"), false).events).toEqual([]);
    pins.save();
    // A new agent process remembers.
    expect(new AppPins(dir, "notes", "warn").see("read", tool("reads, and sends"), false).events).toEqual([]);
    expect(statSync(join(dir, "pins/notes.json")).mode & 0o777).toBe(0o600);
  });
});

describe("enforce", () => {
  test("trusts the first whole list, and after it only what was approved", () => {
    const pins = new AppPins(dir, "notes", "enforce");
    const first = pins.see("read", tool("reads"), true);
    expect(first.events).toMatchObject([{ event: "mcp.tool.new", details: { first_use: true, hidden: false } }]);
    expect(pins.holds("read", first.hash)).toBe(true);
    pins.begin();

    const changed = pins.see("read", tool("reads, and sends"), false);
    expect(changed.events).toMatchObject([{ event: "mcp.tool.changed", details: { hidden: true } }]);
    expect(pins.holds("read", changed.hash)).toBe(false);
    expect(pins.holds("read", first.hash)).toBe(true);
    const added = pins.see("write", tool("writes", "write"), false);
    expect(names(added.events)).toEqual(["mcp.tool.new"]);
    expect(pins.holds("write", added.hash)).toBe(false);
    // Once is enough.
    expect(pins.see("read", tool("reads, and sends"), false).events).toEqual([]);
    pins.save();

    const later = new AppPins(dir, "notes", "enforce");
    expect(later.report).toMatchObject([
      { tool: "read", pinned: first.hash, pending: changed.hash, diff: [expect.any(String), expect.any(String)] },
      { tool: "write", pinned: null, pending: added.hash },
    ]);
    expect(
      later.approve([
        { tool: "read", hash: first.hash },
        { tool: "nothing", hash: added.hash },
      ]),
    ).toBe(false);
    expect(later.approve([{ tool: "read", hash: changed.hash }])).toBe(true);
    expect(later.holds("read", changed.hash)).toBe(true);
    expect(later.holds("read", first.hash)).toBe(false);
    expect(later.holds("write", added.hash)).toBe(false);
  });

  test("an approval of what was there before does not let through what is there now", () => {
    const pins = new AppPins(dir, "notes", "enforce");
    pins.begin();
    const one = pins.see("read", tool("one"), false);
    const two = pins.see("read", tool("two"), false);
    expect(pins.approve([{ tool: "read", hash: one.hash }])).toBe(false);
    expect(pins.holds("read", one.hash) || pins.holds("read", two.hash)).toBe(false);
  });

  test("a tool that is what it was again waits no more", () => {
    const pins = new AppPins(dir, "notes", "enforce");
    const was = pins.see("read", tool("reads"), true);
    pins.begin();
    pins.see("read", tool("sends"), false);
    expect(pins.see("read", tool("reads"), false).events).toEqual([]);
    expect(pins.report).toMatchObject([{ pinned: was.hash, pending: null, diff: [] }]);
  });

  test("what is not in the first whole list is not trusted for being early", () => {
    const pins = new AppPins(dir, "notes", "enforce");
    const { hash } = pins.see("read", tool("reads"), false);
    expect(pins.holds("read", hash)).toBe(false);
  });
});

test("many long definitions still fit the file, and stay known by their hashes", () => {
  const pins = new AppPins(dir, "notes", "enforce");
  const all = Array.from({ length: 1100 }, (_, i) => pins.see(`t${i}`, tool("x".repeat(10_000), `t${i}`), true).hash);
  pins.begin();
  pins.save();
  const later = new AppPins(dir, "notes", "enforce");
  expect(later.holds("t0", all[0] ?? "")).toBe(true);
  expect(later.holds("t999", all[999] ?? "")).toBe(true);
  // Beyond the bound nothing is remembered, and so nothing is trusted.
  expect(later.holds("t1050", all[1050] ?? "")).toBe(false);
});

test("a file that can't be read is no fresh start", () => {
  const pins = new AppPins(dir, "notes", "enforce");
  pins.begin();
  pins.save();
  writeFileSync(join(dir, "pins/notes.json"), "{}");
  expect(() => new AppPins(dir, "notes", "enforce")).toThrow("is no file of tool pins");
});
