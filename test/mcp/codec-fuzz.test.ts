/**
 * The codec against `JSON.parse`: what it accepts, JSON.parse accepts with the same meaning; a line without the faults
 * that JSON.parse does not see is accepted by both or by none. `FUZZ_LINES` for a longer run.
 */
import { expect, test } from "bun:test";
import { decode } from "../../src/mcp/codec.ts";
import type { Message } from "../../src/mcp/message.ts";

const LINES = Number(process.env.FUZZ_LINES ?? 1_000_000);
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A small generator with a seed (mulberry32), so that a failure can be repeated. */
function randomFrom(seed: number) {
  let state = seed;
  return (below: number): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (((t ^ (t >>> 14)) >>> 0) % below) | 0;
  };
}

type Random = ReturnType<typeof randomFrom>;
const pick = <T>(random: Random, from: readonly T[]): T => from[random(from.length)] as T;

const STRINGS = [
  `"${"x".repeat(150)}\\"${"é".repeat(99)}\\\\"`,
  '"a"',
  '"name"',
  '"\\u006e"',
  '"é"',
  '"\\n\\t"',
  '""',
  '"\\ud83d\\ude00"',
  '"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\\"y"',
  '"\\ud800"',
];
const NUMBERS = ["0", "1", "-1", "1.5", "1e5", "-0", "12345678901234567890", "01", "1.", "-"];
const METHODS = [
  '"tools/call"',
  '"ping"',
  '"tools/list"',
  '"resources/read"',
  '"x"',
  '"tools\\/call"',
  "1",
  '"notifications/cancelled"',
];
const SPACE = ["", "", "", " ", "\t", "  "];

function value(random: Random, depth: number): string {
  const space = pick(random, SPACE);
  switch (random(depth > 3 ? 3 : 5)) {
    case 0:
      return pick(random, STRINGS);
    case 1:
      return pick(random, NUMBERS.slice(0, random(8) === 0 ? 10 : 7));
    case 2:
      return pick(random, ["true", "false", "null", "{}", "[]"]);
    case 3:
      return `[${space}${Array.from({ length: random(4) }, () => value(random, depth + 1)).join(`,${space}`)}]`;
    default:
      return object(random, depth);
  }
}

function object(random: Random, depth: number): string {
  const members = Array.from(
    { length: random(5) },
    (_, i) =>
      `${random(10) === 0 ? pick(random, STRINGS) : `"k${i}"`}:${pick(random, SPACE)}${value(random, depth + 1)}`,
  );
  return `{${members.join(",")}}`;
}

function message(random: Random): string {
  const members = ['"jsonrpc":"2.0"'];
  if (random(4) > 0)
    members.push(
      `"id":${random(6) === 0 ? value(random, 3) : pick(random, ["1", '"a"', "-7", '"\\u0061"', "9007199254740991"])}`,
    );
  if (random(3) > 0) members.push(`"method":${pick(random, METHODS)}`);
  if (random(3) > 0)
    members.push(
      `"params":${random(3) === 0 ? value(random, 1) : `{"name":${pick(random, STRINGS)},"uri":"a:b","arguments":${object(random, 2)}}`}`,
    );
  if (random(3) === 0)
    members.push(`"${pick(random, ["result", "error", "extra", "Params", "__proto__"])}":${value(random, 1)}`);
  for (let i = members.length - 1; i > 0; i -= 1) {
    const j = random(i + 1);
    [members[i], members[j]] = [members[j] as string, members[i] as string];
  }
  return `{${pick(random, SPACE)}${members.join(`${pick(random, SPACE)},`)}}`;
}

const MARKS = [...'{}[]":,\\u0e-. \t\r1'].map((mark) => mark.charCodeAt(0));

/** Now and then a byte or two are changed, taken out or put in. */
function mutate(random: Random, bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes.length + 3);
  out.set(bytes);
  let length = bytes.length;
  for (let n = random(3); n > 0; n -= 1) {
    const at = random(length + 1);
    const byte = random(3) === 0 ? random(256) : pick(random, MARKS);
    if (byte === 0x0a) continue;
    const edit = at === length ? 2 : random(3);
    if (edit === 0) {
      out.copyWithin(at, at + 1, length);
      length -= 1;
      continue;
    }
    if (edit === 2) {
      out.copyWithin(at + 1, at, length);
      length += 1;
    }
    out[at] = byte;
  }
  out[length] = 0x0a;
  return out.subarray(0, length + 1);
}

function parse(line: Uint8Array): { value?: unknown } {
  try {
    return { value: JSON.parse(decoder.decode(line)) as unknown };
  } catch {
    return {};
  }
}

/** `expect` a million times takes longer than what is tested. */
function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not the same: ${what}`);
}

/** What the codec read, from JSON.parse's reading of the same line. */
function sameMeaning(read: Message, value: unknown): void {
  const { id, method, params, result, error } = value as Record<string, unknown>;
  must(read.kind === "notification" ? id === undefined : Object.is(read.id, id), "id");
  if (read.kind === "response") {
    must(method === undefined, "kind");
    const body = (read.ok ? result : error) as Record<string, unknown>;
    const keys = Array.from({ length: read.body.places.length / 4 }, (_, i) => read.body.keyAt(i * 4));
    // JSON.parse puts integer keys first.
    must(Bun.deepEquals(keys.sort(), Object.keys(body).sort()), "keys");
    return;
  }
  must(read.method === method, "method");
  const { name, arguments: args, uri, requestId } = (params ?? {}) as Record<string, unknown>;
  const { target } = read;
  if (target.kind === "tool" || target.kind === "prompt") {
    must(target.name === name, "name");
    const span = target.arguments;
    const own: unknown = span && JSON.parse(decoder.decode(read.bytes.subarray(span.start, span.end)));
    must(Bun.deepEquals(own, args), "arguments");
  }
  if (target.kind === "resource") must(target.uri === uri, "uri");
  if (target.kind === "cancelled") must(target.id === requestId, "requestId");
}

/** What the codec refuses and JSON.parse takes. */
const STRICTER =
  /key|carriage return|jsonrpc|id|object|array|response|nested|string|surrogate|missing|empty|batch|type|control character|2\^53|task|longer/;

test(`${LINES} generated and mutated lines mean the same to both`, () => {
  const seed = Number(process.env.FUZZ_SEED ?? Date.now() & 0xffffff);
  const random = randomFrom(seed);
  let acceptedLines = 0;
  for (let i = 0; i < LINES; i += 1) {
    const text = message(random);
    const line = random(2) === 0 ? encoder.encode(`${text}\n`) : mutate(random, encoder.encode(text));
    const read = decode(line);
    const parsed = parse(line);
    try {
      if (read.kind === "invalid") {
        if ("value" in parsed) must(STRICTER.test(read.reason), read.reason);
        continue;
      }
      acceptedLines += 1;
      must("value" in parsed, "whether it is JSON");
      must(read.bytes === line, "bytes");
      sameMeaning(read, parsed.value);
    } catch (error) {
      throw new Error(`seed ${seed}, line ${i}: ${JSON.stringify(Buffer.from(line).toString("latin1"))}`, {
        cause: error,
      });
    }
  }
  expect(acceptedLines).toBeGreaterThan(LINES / 10);
}, 86_400_000);
