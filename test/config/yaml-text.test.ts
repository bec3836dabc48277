/** Any text survives the way through YAML, in block and in flow style, whichever version of YAML the reader knows. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { parse } from "yaml";
import { yamlText } from "../../src/config/yaml-text.ts";

const tricky = [
  "yes",
  "No",
  "null",
  "~",
  "y",
  "0x1",
  "1e3",
  ".5",
  "12:30:45",
  "2026-11-23",
  "- a",
  "a: b",
  "a #b",
  "*a",
  "&a",
];
const text = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.stringMatching(/^[\w .:/@+#'"{}[\],&*!|>%-]{0,12}$/),
  fc.constantFrom(...tricky),
);

test("any text", () => {
  fc.assert(
    fc.property(text, (value) => {
      for (const version of ["1.1", "1.2"] as const) {
        const scalar = yamlText(value);
        expect(parse(`key: ${scalar}\nnext: 1\n`, { version })).toEqual({ key: value, next: 1 });
        expect(parse(`[{${scalar}: 2}, ${scalar}, 1]`, { version })).toEqual([{ [value]: 2 }, value, 1]);
      }
    }),
    { numRuns: 1_000, examples: tricky.map((each): [string] => [each]) },
  );
});

test("what needs no quotes gets none", () => {
  for (const each of ["mcpgate.example.com:443", "/tmp/token", "mcp-tickets", "a_b", "two words"])
    expect(yamlText(each)).toBe(each);
});
