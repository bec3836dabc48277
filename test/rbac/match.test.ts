import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Failure } from "../../src/errors.ts";
import { compilePattern } from "../../src/rbac/match.ts";

describe("compilePattern", () => {
  test.each([
    ["read", "read", true],
    ["read", "Read", false],
    ["read", "read_file", false],
    ["read.file", "readxfile", false],
    ["*", "", true],
    ["*", "anything/at all", true],
    ["read_*", "read_", true],
    ["read_*", "xread_", false],
    ["*_file", "read_file", true],
    ["r*_f*e", "read_file", true],
    ["a*a", "a", false],
    ["a*b*a", "aba", true],
    ["a*b*b*a", "aba", false],
    ["**", "x", true],
    ["file:///data/*", "file:///data/a/b?c#d", true],
    ["a?c", "abc", false],
    ["^read_[a-z]+$", "read_file", true],
    ["^read_[a-z]+$", "read_File", false],
    // As in the original: searched for, so that each branch has its own anchor.
    ["^write_|_delete$", "write_file", true],
    ["^write_|_delete$", "force_delete", true],
    ["^write_|_delete$", "undelete_x", false],
    ["^(?i)read$", "READ", true],
    // Not a regular expression without both.
    ["^read", "^read", true],
    ["read$", "read", false],
  ])("%s on %s", (pattern, text, matches) => {
    expect(compilePattern(pattern)(text)).toBe(matches);
  });

  test("a glob means what the same regular expression means", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "*"), maxLength: 8 });
    fc.assert(
      fc.property(letters, fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 10 }), (glob, text) => {
        expect(compilePattern(glob)(text)).toBe(new RegExp(`^${glob.replaceAll("*", ".*")}$`).test(text));
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    "^(a$",
    "^a{2,1}$",
    "^(?=a)$",
    "^((a{1000}){1000}){1000}$",
    `^${"a{999}".repeat(100)}$`,
    `^${"a".repeat(2000)}$`,
    "x".repeat(1025),
  ])("refuses %s", (pattern) => {
    expect(() => compilePattern(pattern)).toThrow(Failure);
  });

  test("is linear where a backtracking engine is not", () => {
    const matches = compilePattern("^(a+)+$");
    const glob = compilePattern(`${"*a".repeat(100)}*b`);
    const started = performance.now();
    expect(matches(`${"a".repeat(4000)}b`)).toBe(false);
    expect(glob("a".repeat(4000))).toBe(false);
    expect(performance.now() - started).toBeLessThan(1000);
  });
});
