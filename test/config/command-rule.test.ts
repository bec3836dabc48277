import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { isAllowedCommand, ruleFault } from "../../src/config/command-rule.ts";

const allows = (rule: string[], line: string[]): boolean => isAllowedCommand([rule], line[0] ?? "", line.slice(1));
const DOCKER = ["docker", "run", "-i", "--rm", "mcp/*"];

describe("a rule for docker images of one namespace", () => {
  test.each([["mcp/everything"], ["mcp/a"], ["mcp/git-2.0_x"]])("covers %s", (image) => {
    expect(allows(DOCKER, ["docker", "run", "-i", "--rm", image])).toBe(true);
  });

  test.each([
    ["another image", ["docker", "run", "-i", "--rm", "evil/everything"]],
    ["a registry in front", ["docker", "run", "-i", "--rm", "evil.example/mcp/everything"]],
    ["a folder more", ["docker", "run", "-i", "--rm", "mcp/everything/x"]],
    ["a tag, which the rule doesn't name", ["docker", "run", "-i", "--rm", "mcp/everything:evil"]],
    ["no name", ["docker", "run", "-i", "--rm", "mcp/"]],
    ["a parent", ["docker", "run", "-i", "--rm", "mcp/.."]],
    ["an option in the image's place", ["docker", "run", "-i", "--rm", "--privileged"]],
    ["an option more", ["docker", "run", "-i", "--rm", "--privileged", "mcp/everything"]],
    ["an option behind", ["docker", "run", "-i", "--rm", "mcp/everything", "--privileged"]],
    ["options together", ["docker", "run", "-i", "--rm --privileged", "mcp/everything"]],
    ["an argument less", ["docker", "run", "-i", "mcp/everything"]],
    ["an empty argument more", ["docker", "run", "-i", "--rm", "mcp/everything", ""]],
    ["an empty argument between", ["docker", "run", "", "-i", "--rm", "mcp/everything"]],
    ["another order", ["docker", "run", "--rm", "-i", "mcp/everything"]],
    ["another case", ["docker", "run", "-i", "--rm", "MCP/everything"]],
    ["another case of the command", ["Docker", "run", "-i", "--rm", "mcp/everything"]],
    ["a path of the command", ["/usr/bin/docker", "run", "-i", "--rm", "mcp/everything"]],
    ["a path relative to where it runs", ["./docker", "run", "-i", "--rm", "mcp/everything"]],
    ["a space", ["docker", "run", "-i", "--rm", "mcp/a b"]],
    ["a line feed", ["docker", "run", "-i", "--rm", "mcp/a\n"]],
    ["a letter that looks alike", ["docker", "run", "-i", "--rm", "mcp/\u0430"]],
    ["a letter of no ASCII", ["docker", "run", "-i", "--rm", "mcp/é"]],
  ])("does not cover %s", (_, line) => {
    expect(allows(DOCKER, line)).toBe(false);
  });
});

describe("a * never begins an option, and never leaves its segment", () => {
  test.each([
    [["x", "*"], ["x", "--privileged"], false],
    [["x", "*"], ["x", "-v"], false],
    [["x", "*"], ["x", "plain"], true],
    [["x", "*"], ["x", ""], false],
    [["x", "-*"], ["x", "--privileged"], true],
    [["x", "-*"], ["x", "privileged"], false],
    [["x", "--port=*"], ["x", "--port=80"], true],
    [["x", "--port=*"], ["x", "--port=80,host=0"], false],
    [["x", "/srv/*"], ["x", "/srv/.."], false],
    [["x", "/srv/*"], ["x", "/srv/."], false],
    [["x", "/srv/*"], ["x", "/srv/../etc"], false],
    [["x", "/srv/.*"], ["x", "/srv/.."], false],
    [["x", "/srv/*."], ["x", "/srv/.."], false],
    [["x", "/srv/*/*"], ["x", "/srv/../etc"], false],
    [["x", "/srv/*/data"], ["x", "/srv/a/data"], true],
    [["x", "/srv/../data"], ["x", "/srv/../data"], true],
    [["npx", "-y", "@acme/*"], ["npx", "-y", "@acme/tool"], true],
    [["npx", "-y", "@acme/*"], ["npx", "-y", "@acme/tool@npm:evil"], false],
    [["npx", "-y", "@acme/*"], ["npx", "-y", "@acme/tool@file:evil"], false],
    [["npx", "-y", "@acme/*@*"], ["npx", "-y", "@acme/tool@1.2.3"], true],
    [["npx", "-y", "@acme/*@*"], ["npx", "-y", "@acme/tool@npm:evil"], false],
    [["uvx", "acme-*"], ["uvx", "acme-x@git+https://evil.example/x"], false],
    [["x", "a*b*c"], ["x", "a1b2c"], true],
    [["x", "a*b*c"], ["x", "abbc"], false],
    [["x", "a*a"], ["x", "aa"], false],
    [["x", ""], ["x", ""], true],
    [["x", "*"], ["x", "__proto__"], true],
  ])("%j and %j: %p", (rule, line, expected) => {
    expect(allows(rule, line)).toBe(expected);
  });
});

describe("**", () => {
  test("stands for the rest, whatever it is", () => {
    const rule = ["/opt/server", "--safe", "**"];
    for (const rest of [[], ["x"], ["--anything", "", "a b", "*", "**"]]) {
      expect(allows(rule, ["/opt/server", "--safe", ...rest])).toBe(true);
    }
    expect(allows(rule, ["/opt/server"])).toBe(false);
    expect(allows(rule, ["/opt/server", "--unsafe"])).toBe(false);
  });

  test.each([
    [["x", "**", "y"], 1],
    [["x", "a**"], 1],
    [["x", "--a=**"], 1],
    [["**"], 0],
    [["*"], 0],
    [["dock*"], 0],
    [["/opt/*/bin"], 0],
    [["./*"], 0],
    [["/opt/*/*"], 0],
    [[""], 0],
    [[], 0],
  ])("%j is no rule, and covers nothing", (rule, index) => {
    expect(ruleFault(rule)?.index).toBe(index);
    expect(allows(rule, ["x", "anything", "y"])).toBe(false);
    expect(allows(rule, rule)).toBe(false);
  });

  test("a folder of commands", () => {
    const rule = ["/opt/mcp/*", "stdio"];
    expect(ruleFault(rule)).toBeUndefined();
    expect(allows(rule, ["/opt/mcp/files", "stdio"])).toBe(true);
    expect(allows(rule, ["/opt/mcp/../bin/sh", "stdio"])).toBe(false);
    expect(allows(rule, ["/opt/mcp/..", "stdio"])).toBe(false);
    expect(allows(rule, ["files", "stdio"])).toBe(false);
  });
});

test("no rules cover nothing", () => {
  expect(isAllowedCommand([], "true", [])).toBe(false);
});

// --- for every rule and every command line ---

const piece = fc.constantFrom("", "a", "b", "*", "/", "-", ".", "..", ":", "@", "aa", "mcp", "=", " ");
const argument = fc.array(piece, { maxLength: 6 }).map((pieces) => pieces.join("").replace(/\*+/g, "*"));
const given = argument.map((text) => text.replaceAll("*", "x"));
const command = fc.constantFrom("docker", "/opt/mcp/x");

/** The rule's words as a regular expression: slow, and written another way. */
function naive(part: string, text: string): boolean {
  if (!part.includes("*")) return part === text;
  const pattern = part.replace(/[^*]+/g, (literal) => RegExp.escape(literal)).replaceAll("*", "[A-Za-z0-9._-]+");
  if (!new RegExp(`^(?:${pattern})$`).test(text)) return false;
  if (text.startsWith("-") && !part.startsWith("-")) return false;
  const wanted = part.split("/");
  return text.split("/").every((segment, i) => !/^\.\.?$/.test(segment) || wanted[i] === segment);
}

test("an argument matches as the words above say", () => {
  fc.assert(
    fc.property(argument, given, (part, text) => {
      expect(allows(["x", part], ["x", text])).toBe(naive(part, text));
    }),
    { numRuns: 3000 },
  );
});

test("without ** the number of arguments is the rule's, and each matches alone", () => {
  fc.assert(
    fc.property(
      command,
      fc.array(argument, { maxLength: 4 }),
      fc.array(given, { maxLength: 4 }),
      (name, rule, line) => {
        const each = rule.length === line.length && rule.every((part, i) => naive(part, line[i] as string));
        expect(allows([name, ...rule], [name, ...line])).toBe(each);
      },
    ),
    { numRuns: 1000 },
  );
});

test("nothing that is covered holds an option that the rule does not begin", () => {
  fc.assert(
    fc.property(fc.array(argument, { maxLength: 4 }), fc.array(given, { maxLength: 4 }), (rule, line) => {
      if (!allows(["x", ...rule], ["x", ...line])) return;
      for (const [i, text] of line.entries()) {
        if (text.startsWith("-")) expect(rule[i]?.startsWith("-")).toBe(true);
        expect(text.split("/").length).toBe((rule[i] ?? "").split("/").length);
      }
    }),
    { numRuns: 1000 },
  );
});

test("a long argument takes no time", () => {
  const rule = ["x", `${"*a".repeat(30)}*b`];
  const began = performance.now();
  expect(allows(rule, ["x", "a".repeat(4096)])).toBe(false);
  expect(performance.now() - began).toBeLessThan(100);
});
