/**
 * Decode + decide + forward of one line against `JSON.parse` + `JSON.stringify` of the same line, with 20 allow and 20
 * deny patterns. Run by hand: `npm run bench:codec`, or `npm run bench:codec -- FILTER`. "text" parses a string that is already there and leaves the
 * result one; "bytes" also pays for UTF-8 in and out, as a gate that parses would have to.
 */
import { decode } from "../src/mcp/codec.ts";
import { compile, decide } from "../src/rbac/decide.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const patterns = (prefix: string) =>
  Array.from({ length: 20 }, (_, i) =>
    i % 3 === 0 ? `^${prefix}${i}_[a-z]+$` : i % 3 === 1 ? `${prefix}${i}_*` : `${prefix}${i}`,
  );

const policy = compile({
  v: 1,
  roles: [{ role: "bench", allow: { tools: [...patterns("read"), "echo"] }, deny: { tools: patterns("write") } }],
});

const call = (args: unknown) =>
  `${JSON.stringify({ method: "tools/call", params: { name: "echo", arguments: args }, jsonrpc: "2.0", id: 17 })}\n`;

const prose = "The quick brown fox jumps over the lazy dog, and the dog sleeps on.";
const row = (i: number) => ({
  id: i,
  name: `row ${i}`,
  price: i * 1.25,
  tags: ["a", "b"],
  ok: i % 2 === 0,
  note: prose,
});
const rows = (bytes: number) => call({ rows: Array.from({ length: Math.ceil(bytes / 150) }, (_, i) => row(i)) });
const text = (bytes: number) => call({ text: prose.repeat(Math.ceil(bytes / prose.length)).slice(0, bytes) });
const code = (bytes: number) =>
  call({ text: '\tconst a = "b";\n  // what is this?\n'.repeat(Math.ceil(bytes / 41)).slice(0, bytes * 0.88) });

const cases: [string, string][] = [];
for (const [size, bytes] of [
  ["200 B", 100],
  ["4 kB", 4e3],
  ["256 kB", 256e3],
  ["8 MB", 8e6],
] as const) {
  cases.push([`${size} text`, text(bytes)], [`${size} rows`, rows(bytes)], [`${size} code`, code(bytes)]);
}

function gate(line: Uint8Array): Uint8Array {
  const message = decode(line);
  if (message.kind !== "request" || message.target.kind !== "tool") throw new Error("not understood");
  if (!decide(policy, { kind: "tool", name: message.target.name }).allowed) throw new Error("denied");
  return message.bytes;
}

/** Microseconds a call: the best of some rounds. */
function measure(work: () => unknown, bytes: number): number {
  const calls = Math.max(1, Math.min(200_000, Math.floor(2e7 / bytes)));
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 12; round += 1) {
    const start = Bun.nanoseconds();
    for (let i = 0; i < calls; i += 1) work();
    best = Math.min(best, (Bun.nanoseconds() - start) / 1000 / calls);
  }
  return best;
}

console.log("case                 bytes      gate µs      text µs     bytes µs   gate/text  gate/bytes");
for (const [name, line] of cases.filter(([name]) => name.includes(process.argv[2] ?? ""))) {
  const bytes = encoder.encode(line);
  const ours = measure(() => gate(bytes), bytes.length);
  const plain = measure(() => JSON.stringify(JSON.parse(line)), bytes.length);
  const full = measure(() => encoder.encode(JSON.stringify(JSON.parse(decoder.decode(bytes)))), bytes.length);
  const cells = [ours, plain, full].map((us) => us.toFixed(2).padStart(12)).join(" ");
  const ratios = [ours / plain, ours / full].map((ratio) => ratio.toFixed(2).padStart(11)).join("");
  console.log(`${name.padEnd(14)}${String(bytes.length).padStart(12)}${cells}${ratios}`);
}
