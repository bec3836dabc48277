/**
 * What each stage of the way costs here, alone: a pipe, a WebSocket, TLS, the JSON of one message, the gate, the spool.
 * `bun bench/stages.ts`; a few seconds. `codec.ts` and `ingest.ts` look closer at two of them.
 */
import { mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { redactArguments } from "../src/audit/redact.ts";
import { Spool } from "../src/audit/spool.ts";
import { newUid } from "../src/audit/uid.ts";
import type { AuditEvent } from "../src/event.ts";
import { Gate } from "../src/gate/gate.ts";
import { createCa, issueLeaf } from "../src/identity/pki.ts";
import { encodeData } from "../src/link/frame.ts";
import { createLog } from "../src/log.ts";
import { compileNative } from "./native.ts";
import { callLine } from "./requests.ts";
import { Session } from "./session.ts";
import { median, quantile } from "./statistics.ts";

const ROUND_TRIPS = 3_000;
const BURST_BYTES = 64 * 1024 * 1024;
const rows: [string, string, string][] = [];
const add = (stage: string, what: string, value: number, unit: string) =>
  rows.push([stage, what, `${value >= 100 ? Math.round(value) : value.toFixed(2)} ${unit}`]);

function pipe(echo: string, dir: string): void {
  const session = new Session({ argv: [echo], env: {}, cwd: dir, log: openSync("/dev/null", "w") }, 5_000);
  session.sequential(500, {}, 5_000);
  add("pipe", "there and back, 100 bytes", quantile(session.sequential(ROUND_TRIPS, {}, 20_000), 0.5) * 1000, "µs");
  const size = 4e6;
  add("pipe", "4 MB", size / 1e3 / median(session.sequential(20, { size }, 20_000)), "MB/s");
  void session.end();
}

async function webSocket(tls: { cert: string; key: string; ca: string } | undefined): Promise<void> {
  const name = tls === undefined ? "WebSocket" : "WebSocket, TLS";
  const files = tls === undefined ? [] : [tls.cert, tls.key];
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "stages-echo.ts"), ...files], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const { value } = await child.stdout.getReader().read();
  const port = new TextDecoder().decode(value).trim();
  const socket = new WebSocket(`${tls === undefined ? "ws" : "wss"}://127.0.0.1:${port}/`, {
    perMessageDeflate: false,
    ...(tls === undefined ? {} : { tls: { ca: tls.ca } }),
  } as Bun.WebSocketOptions);
  socket.binaryType = "nodebuffer";
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("no WebSocket"));
  });
  let take = () => {};
  socket.onmessage = () => take();
  const times = await new Promise<number[]>((resolve) => {
    const message = new Uint8Array(117);
    const found: number[] = [];
    let began = performance.now();
    take = () => {
      found.push(performance.now() - began);
      if (found.length === ROUND_TRIPS) return resolve(found);
      began = performance.now();
      socket.send(message);
    };
    socket.send(message);
  });
  add(name, "there and back, 117 bytes", quantile(times.slice(500), 0.5) * 1000, "µs");
  for (const size of [4096, 262_144]) {
    const count = BURST_BYTES / size;
    const began = performance.now();
    await new Promise<void>((resolve) => {
      const message = new Uint8Array(size);
      const window = Math.min(count, Math.max(8, (2 * 1024 * 1024) / size));
      let [sent, came] = [window, 0];
      take = () => {
        if (++came === count) return resolve();
        if (sent++ < count) socket.send(message);
      };
      for (let i = 0; i < window; i++) socket.send(message);
    });
    add(name, `${size} bytes there and back, many at once`, BURST_BYTES / 1e3 / (performance.now() - began), "MB/s");
  }
  socket.close();
  child.stdin.end();
  await child.exited;
}

/** Microseconds: the best of some rounds. */
function best(work: () => unknown, calls: number): number {
  let found = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 10; round++) {
    const began = Bun.nanoseconds();
    for (let i = 0; i < calls; i++) work();
    found = Math.min(found, (Bun.nanoseconds() - began) / 1000 / calls);
  }
  return found;
}

function json(): void {
  const encoder = new TextEncoder();
  const decoder = new TextDecoder();
  for (const [name, bytes] of [
    ["100 bytes", 0],
    ["4 kB", 4e3],
    ["256 kB", 256e3],
  ] as const) {
    const calls = Math.max(20, Math.round(2e7 / Math.max(bytes, 1000)));
    const text = callLine(1, { marker: "x".repeat(bytes) });
    const line = encoder.encode(text);
    add(
      "JSON",
      `parse and serialise, ${name}`,
      best(() => encoder.encode(JSON.stringify(JSON.parse(decoder.decode(line)))), calls),
      "µs",
    );
    const rules = { v: 1 as const, roles: [{ role: "bench", allow: { tools: ["echo"] }, deny: {} }] };
    const answer = encoder.encode('{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"hi"}]}}\n');
    const gate = new Gate({ app: "bench", rules, newUid, now: () => performance.now(), redact: redactArguments });
    const once = () => {
      gate.fromClient(line);
      gate.fromServer(answer);
    };
    add("gate", `a call of ${name} and its small answer, with their events`, best(once, Math.min(calls, 5_000)), "µs");
    const args = encoder.encode(JSON.stringify({ text: "x".repeat(bytes) }));
    add(
      "audit",
      `redact arguments of ${name}`,
      best(() => redactArguments(args), Math.min(calls, 5_000)),
      "µs",
    );
    add(
      "link",
      `frame of ${name}`,
      best(() => encodeData(0, 0, line), calls),
      "µs",
    );
  }
}

function spool(dir: string): void {
  const made = Spool.open(join(dir, "spool"), { log: createLog({ severity: "ERROR" }), maxBytes: 1024 ** 3 });
  const event: AuditEvent = {
    ...{ event: "mcp.session.request", uid: newUid(), time: new Date().toISOString(), v: 1, user: "u", app: "a" },
    ...{ agent: "bench", sid: "s", method: "tools/call", tool: "echo", arguments: { text: "hello" }, success: true },
  };
  add(
    "spool",
    "one event, chained and written",
    best(() => made.append([event]), 2_000),
    "µs",
  );
  made.close();
}

const dir = mkdtempSync(join(tmpdir(), "mcpgate-stages-"));
try {
  const native = await compileNative(dir);
  if (native !== undefined) pipe(native.echo, dir);
  await webSocket(undefined);
  const ca = await createCa("bench");
  const leaf = await issueLeaf({ ca, names: ["127.0.0.1"] });
  const [cert, key] = [join(dir, "cert.pem"), join(dir, "key.pem")];
  writeFileSync(cert, leaf.certPem);
  writeFileSync(key, leaf.keyPem, { mode: 0o600 });
  await webSocket({ cert, key, ca: ca.certPem });
  json();
  spool(dir);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
const widths = [0, 1, 2].map((i) => Math.max(...rows.map((row) => (row[i] ?? "").length)));
for (const [stage, what, value] of rows) {
  console.log(`${stage.padEnd(widths[0] ?? 0)}  ${what.padEnd(widths[1] ?? 0)}  ${value.padStart(widths[2] ?? 0)}`);
}
process.exit(0);
