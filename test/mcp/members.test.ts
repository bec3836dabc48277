import { expect, test } from "bun:test";
import { decode } from "../../src/mcp/codec.ts";
import { memberAt, withMember } from "../../src/mcp/members.ts";

const lineOf = (text: string): Uint8Array => {
  const message = decode(new TextEncoder().encode(text));
  if (message.kind === "invalid") throw new Error(message.reason);
  return message.bytes;
};
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

const LINE = lineOf(
  ' { "id" : 7 , "params":{"big":12345678901234567890,"id":1,"_meta":{"progressToken":"é","id":[{"id":2}]}}, "jsonrpc":"2.0","method":"m"}\r\n',
);

test("a member is found at its own level only, and read", () => {
  expect(memberAt(LINE, ["id"])).toBe(7);
  expect(memberAt(LINE, ["params", "id"])).toBe(1);
  expect(memberAt(LINE, ["params", "_meta", "progressToken"])).toBe("é");
  expect(memberAt(LINE, ["params", "_meta", "id"])).toEqual([{ id: 2 }]);
  expect(memberAt(LINE, ["progressToken"])).toBeUndefined();
  expect(memberAt(LINE, ["params", "id", "x"])).toBeUndefined();
  expect(memberAt(LINE, ["params", "none", "x"])).toBeUndefined();
});

test("a member gets another value, and every other byte stays", () => {
  expect(textOf(withMember(LINE, ["id"], 'a"é'))).toBe(textOf(LINE).replace('"id" : 7 ', '"id" : "a\\"é" '));
  const token = withMember(LINE, ["params", "_meta", "progressToken"], 12);
  expect(textOf(token)).toBe(textOf(LINE).replace('"é"', "12"));
  expect(decode(token)).toMatchObject({ kind: "request", id: 7 });
});

test("a line without the member stays as it is", () => {
  expect(withMember(LINE, ["result"], 1)).toBe(LINE);
});
