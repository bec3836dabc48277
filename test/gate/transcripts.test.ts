/**
 * Attacks as transcripts (`transcripts/*.txt`): one file an attack, with what a naive gate would do. Every line that
 * either side sends is followed by all that the other side, and the sender, get for it; what is not written there must
 * not happen.
 *
 *     role          {"allow": {"tools": ["read"]}, "deny": {}}
 *     client sends  {"jsonrpc": …}        `<0d>` is the byte 0x0d, `<repeat 3 ab>` is ababab
 *       server sees  same                 the very bytes; or `error ID CODE text`, or the JSON text itself
 *       client sees  error null -32600 a key is there twice
 */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Step } from "../../src/gate/step.ts";
import { openSession, type Session, text } from "./session.ts";

const folder = join(import.meta.dir, "transcripts");

interface Expected {
  server: string[];
  client: string[];
  events: string[];
}

interface Exchange {
  from: "client" | "server";
  line: Uint8Array;
  place: string;
  expected: Expected;
}

function readTranscript(name: string) {
  let role = {};
  let naive = "";
  const exchanges: Exchange[] = [];
  readFileSync(join(folder, name), "utf8")
    .split("\n")
    .forEach((row, i) => {
      const [, word, rest = ""] =
        /^\s*(role|naive|client sends|server sends|client sees|server sees|event)\s+(.*)$/.exec(row) ?? [];
      const last = exchanges.at(-1);
      if (word === "role") role = JSON.parse(rest) as object;
      else if (word === "naive") naive += rest;
      else if (word === "client sends" || word === "server sends") {
        const from = word === "client sends" ? "client" : "server";
        const expected = { server: [], client: [], events: [] };
        exchanges.push({ from, line: rawBytes(rest), place: `${name}:${i + 1}`, expected });
      } else if (last && word === "client sees") last.expected.client.push(rest);
      else if (last && word === "server sees") last.expected.server.push(rest);
      else if (last && word === "event") last.expected.events.push(rest);
      else if (row.trim() !== "" && !row.startsWith("#")) throw new Error(`${name}:${i + 1}: what is this?`);
    });
  return { role: role as { allow?: object; deny?: object; limits?: object }, naive, exchanges };
}

/** The line's bytes, with a line feed. */
function rawBytes(row: string): Uint8Array {
  const parts = row
    .replace(/<repeat (\d+) ([^>]+)>/g, (_, n: string, what: string) => what.repeat(Number(n)))
    .split(/<([0-9a-f]{2})>/);
  return Buffer.concat([
    ...parts.map((part, i) => (i % 2 === 0 ? Buffer.from(part) : Buffer.from(part, "hex"))),
    Buffer.from("\n"),
  ]);
}

function check(seen: Uint8Array[], expected: string[], sent: Uint8Array, place: string): void {
  const wanted = expected.filter((row) => row !== "nothing");
  expect(
    seen.map((line) => text(line).trimEnd()),
    place,
  ).toHaveLength(wanted.length);
  wanted.forEach((row, i) => {
    const line = seen[i] as Uint8Array;
    expect(line[line.length - 1], place).toBe(0x0a);
    const [, id, code, message] = /^error (\S+) (-?\d+) (.*)$/.exec(row) ?? [];
    if (row === "same") expect(Buffer.compare(line, sent), place).toBe(0);
    else if (id === undefined) expect(text(line).trimEnd(), place).toBe(row);
    else {
      const error = JSON.parse(text(line)) as { id: unknown; error: { code: number; message: string } };
      expect({ id: JSON.stringify(error.id), code: error.error.code }, place).toEqual({ id, code: Number(code) });
      expect(error.error.message, place).toContain(message as string);
    }
  });
}

function play({ gate }: Session, { from, line, place, expected }: Exchange): void {
  const step: Step = from === "client" ? gate.fromClient(line) : gate.fromServer(line);
  check(step.toServer, expected.server, line, `${place} server`);
  check(step.toClient, expected.client, line, `${place} client`);
  for (const row of expected.events) {
    if (row === "nothing") {
      expect(step.events, place).toEqual([]);
      continue;
    }
    const found = step.events.some((event) => row.split(" ").every((word) => JSON.stringify(event).includes(word)));
    expect({ place, found, events: step.events }).toMatchObject({ found: true });
  }
  // Whatever reaches the server is in the log first.
  if (from === "client" && step.toServer.length > 0) expect(step.events.length, place).toBeGreaterThan(0);
}

describe("attacks", () => {
  for (const name of readdirSync(folder).sort()) {
    test(name.replace(".txt", "").replaceAll("-", " "), () => {
      const { role, naive, exchanges } = readTranscript(name);
      expect(naive).not.toBe("");
      const session = openSession(role.allow ?? {}, role.deny ?? {}, role.limits ?? {});
      for (const exchange of exchanges) play(session, exchange);
    });
  }
});
