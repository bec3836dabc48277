/** Logs are read by programs: their shape stays, and docs/watching.md has their keys. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createLog, type LogFields } from "../src/log.ts";

const root = join(import.meta.dir, "..");

function scene(format: "text" | "json") {
  const lines: string[] = [];
  const now = () => new Date("2026-11-23T08:00:00.123Z");
  return { lines, log: createLog({ severity: "DEBUG", format, now, write: (line) => void lines.push(line) }) };
}

test("a JSON line is an object that begins with time, severity and event", () => {
  const { log, lines } = scene("json");
  log.debug("a.b");
  log.info("session.start", { pid: 7, left_out: undefined, guard: true });
  log.child({ sid: "s", app: "db" }).warn("server.exit", { code: 1 });
  log.error("spool.refuses", { reason: "two\nlines" });
  const time = "2026-11-23T08:00:00.123Z";
  expect(lines).toEqual([
    `{"time":"${time}","severity":"DEBUG","event":"a.b"}\n`,
    `{"time":"${time}","severity":"INFO","event":"session.start","pid":7,"guard":true}\n`,
    `{"time":"${time}","severity":"WARN","event":"server.exit","sid":"s","app":"db","code":1}\n`,
    `{"time":"${time}","severity":"ERROR","event":"spool.refuses","reason":"two\\nlines"}\n`,
  ]);
});

test("no field takes the place of these three, and none shows a secret", () => {
  const { log, lines } = scene("json");
  const fields: LogFields = { time: "never", severity: "DEBUG", event: "forged", join_token: "t", api_key: "k" };
  log.info("real.event", fields);
  expect(JSON.parse(lines[0] ?? "")).toEqual({
    time: "2026-11-23T08:00:00.123Z",
    severity: "INFO",
    event: "real.event",
    join_token: "<redacted>",
    api_key: "<redacted>",
  });
});

test("a text line has the same in the same order, and nothing in it begins another line", () => {
  const { log, lines } = scene("text");
  log.warn("server.stderr", { line: "x\n2026-11-23T08:00:00.123Z ERROR forged \u202e", app: "db", n: "a=b" });
  const [line = ""] = lines;
  expect(lines).toHaveLength(1);
  expect(line.trimEnd().split("\n")).toHaveLength(1);
  expect(line).toStartWith("2026-11-23T08:00:00.123Z WARN  server.stderr line=");
  expect(line).toContain('app=db n="a=b"');
  expect(line).toContain("\\u202e");
});

test("below the severity nothing is written, and a child follows its root", () => {
  const { log, lines } = scene("json");
  const child = log.child({ app: "db" });
  log.setSeverity("ERROR");
  child.warn("a.b");
  child.error("c.d");
  expect(lines.map((line) => JSON.parse(line).event)).toEqual(["c.d"]);
});

/** What the sources hand to a log: names of events, and keys. */
function logged(): { events: Set<string>; keys: Set<string> } {
  const events = new Set<string>();
  const keys = new Set<string>();
  for (const file of new Bun.Glob("src/**/*.ts").scanSync(root)) {
    const text = readFileSync(join(root, file), "utf8");
    for (const call of text.matchAll(/\blog\.(?:debug|info|warn|error|child)\(/g)) {
      const given = argumentsAt(text, call.index + call[0].length);
      const event = /^\s*"([^"]+)"/.exec(given)?.[1];
      if (event !== undefined) events.add(event);
      const bare = given.replace(/"[^"]*"|`[^`]*`/g, '""');
      for (const [, key = ""] of bare.matchAll(/[{,]\s*([a-z_]+)\s*(?=[:,}])/g)) keys.add(key);
    }
  }
  return { events, keys };
}

/** Up to the bracket that closes the one before `from`. */
function argumentsAt(text: string, from: number): string {
  let depth = 1;
  let at = from;
  for (; depth > 0 && at < text.length; at++) {
    if ("([{".includes(text[at] ?? "")) depth += 1;
    else if (")]}".includes(text[at] ?? "")) depth -= 1;
  }
  return text.slice(from, at - 1);
}

const { events, keys } = logged();

test("events are named by what they are about and what happened", () => {
  expect(events.size).toBeGreaterThan(60);
  for (const event of events) expect(event).toMatch(/^[a-z_]+(\.[a-z_]+)+$/);
});

test("docs/watching.md has every key, and no other", () => {
  const told = readFileSync(join(root, "docs/watching.md"), "utf8").split("\n## Logs\n")[1]?.split("\n## ")[0] ?? "";
  const rows = told.split("\n").filter((line) => line.startsWith("| `"));
  const documented = new Set(rows.flatMap((row) => [...row.matchAll(/`([a-z_]+)`/g)].map(([, key]) => key)));
  expect([...keys].filter((key) => !documented.has(key)).toSorted()).toEqual([]);
  expect([...documented].filter((key) => key !== undefined && !keys.has(key)).toSorted()).toEqual([]);
});
