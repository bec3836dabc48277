/**
 * What storing audit events costs the proxy's relay: batches arrive as an agent's messages do and are stored with
 * synchronous=FULL, in the main thread and in the store's own thread; meanwhile the main thread asks every turn of its event
 * loop how long the last one took. `bun bench/ingest.ts`
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ChainEnd, chainLines, GENESIS } from "../src/audit/chain.ts";
import { ingest } from "../src/audit/ingest.ts";
import { newUid } from "../src/audit/uid.ts";
import type { AuditEvent } from "../src/event.ts";
import { openStoreThread } from "../src/proxy/store-thread.ts";
import { joinAgent } from "../src/store/agents.ts";
import { openStore } from "../src/store/open.ts";
import { createSession } from "../src/store/sessions.ts";
import type { Store } from "../src/store/store.ts";

const BATCHES = 200;
const EVENT_BYTES = 200;

async function prepare(store: Store): Promise<string> {
  const { id } = await joinAgent(store, { name: "bench", jkt: "bench", publicJwk: {}, now: 0 });
  const session = { sid: "s", user: "u", app: "a", agentId: id, agent: "bench", clientJkt: "k", remote: "" };
  await createSession(store, session, 0);
  return id;
}

/** Milliseconds that the main thread waited for a CPU: on a busy machine that is not ours (proc(5), schedstat). */
function waited(): number {
  if (process.platform !== "linux") return 0;
  const text = readFileSync(`/proc/self/task/${process.pid}/schedstat`, "latin1");
  return Number(text.split(" ")[1]) / 1e6;
}

let end: ChainEnd;
function batch(size: number): Buffer {
  const time = new Date().toISOString();
  const made = chainLines(
    Array.from({ length: size }, (): AuditEvent => {
      const whose = { user: "u", app: "a", agent: "bench", sid: "s" };
      const call = { method: "tools/call", tool: "read_file", arguments: { path: "x".repeat(EVENT_BYTES) } };
      return { event: "mcp.session.request", uid: newUid(), time, v: 1, ...whose, ...call, success: true };
    }),
    end,
  );
  end = made.end;
  return Buffer.from(made.lines.join("\n"));
}

async function measure(size: number, take: (lines: Uint8Array) => Promise<unknown>): Promise<string> {
  const turns: number[] = [];
  /** The longest turn while one batch was under way. */
  const stalls: number[] = [];
  let [last, lastWaited] = [performance.now(), waited()];
  let on = true;
  const turn = () => {
    const [now, all] = [performance.now(), waited()];
    turns.push(now - last - (all - lastWaited));
    [last, lastWaited] = [now, all];
    if (on) setImmediate(turn);
  };
  const messages = Array.from({ length: BATCHES }, () => batch(size));
  await take(messages[0] ?? Buffer.alloc(0)); // warm
  const began = performance.now();
  [last, lastWaited] = [performance.now(), waited()];
  setImmediate(turn);
  for (const message of messages.slice(1)) {
    await Bun.sleep(1);
    await take(message);
    await Bun.sleep(1);
    stalls.push(Math.max(...turns.splice(0)));
  }
  on = false;
  const ms = performance.now() - began - 2 * BATCHES;
  stalls.sort((a, b) => a - b);
  const at = (share: number) => (stalls[Math.floor(stalls.length * share)] ?? 0).toFixed(2).padStart(6);
  const rate = Math.round(((BATCHES - 1) * size * 1000) / ms);
  return `stall p50 ${at(0.5)} p90 ${at(0.9)} p99 ${at(0.99)} ms, ${rate} events/s`;
}

for (const size of [10, 100, 200, 500]) {
  for (const where of ["not stored ", "main thread", "store thread"] as const) {
    const dir = mkdtempSync(join(tmpdir(), "mcpgate-bench-"));
    end = { chain: crypto.randomUUID(), n: 0, hash: GENESIS };
    if (where === "not stored ") {
      console.log(`${size} events, ${where}: ${await measure(size, () => Bun.sleep(5))}`);
    } else if (where === "main thread") {
      const store = await openStore(join(dir, "db"));
      const agent = await prepare(store);
      console.log(
        `${size} events, ${where}: ${await measure(size, (lines) => ingest(store, agent, new TextDecoder().decode(lines).split("\n"), 0))}`,
      );
      await store.destroy();
    } else {
      const thread = await openStoreThread(join(dir, "db"));
      const agent = await prepare(thread.store);
      console.log(`${size} events, ${where}: ${await measure(size, (lines) => thread.ingest(agent, lines, 0))}`);
      await thread.store.destroy();
    }
    rmSync(dir, { recursive: true });
  }
}
