import { expect, test } from "bun:test";
import { isLookalike } from "../../src/gate/methods.ts";

test.each([
  "Tools/Call",
  "tools/call/",
  "//tools/call",
  "tools.call",
  "tools/call?x",
  "tools/call\u200b",
  "tools call",
])("%p looks like a known method", (method) => expect(isLookalike(method)).toBe(true));

test.each(["tools/call", "tools/callback", "acme/tools", "x/tools/call", "initialize"])("%p does not", (method) =>
  expect(isLookalike(method)).toBe(false),
);
