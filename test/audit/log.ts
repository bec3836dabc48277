/** An audit log of two agents and a proxy, made the way the real one is, and a way into it for `verifyLog`. */
import { type ChainEnd, chainLines, GENESIS } from "../../src/audit/chain.ts";
import { signHead } from "../../src/audit/head.ts";
import { checkpoint, jktOf, keepHead, sealOwn } from "../../src/audit/heads.ts";
import { ingest } from "../../src/audit/ingest.ts";
import { linesOf, recordEvents } from "../../src/audit/store.ts";
import { newUid } from "../../src/audit/uid.ts";
import {
  type ChainSource,
  type Problem,
  type Verified,
  type VerifyOptions,
  verifyLog,
} from "../../src/audit/verify.ts";
import type { AuditEvent } from "../../src/event.ts";
import { generateKeyPair, type KeyPair } from "../../src/identity/keys.ts";
import { joinAgent } from "../../src/store/agents.ts";
import { listChains } from "../../src/store/chains.ts";
import { createSession } from "../../src/store/sessions.ts";
import type { Store } from "../../src/store/store.ts";

export const START = Date.UTC(2026, 10, 23);

export class TestAgent {
  readonly log: TestLog;
  readonly name: string;
  readonly id: string;
  readonly key: KeyPair;
  readonly sid: string;
  end: ChainEnd = { chain: "", n: 0, hash: GENESIS };

  constructor(log: TestLog, name: string, id: string, key: KeyPair) {
    this.log = log;
    this.name = name;
    this.id = id;
    this.key = key;
    this.sid = `session-of-${name}`;
  }

  /** A new boot, whose first event tells where the one before it ended. */
  async boot(): Promise<void> {
    const previous = this.end.n === 0 ? {} : { previous: this.end };
    this.end = { chain: crypto.randomUUID(), n: 0, hash: GENESIS };
    await this.ship([{ event: "audit.chain.start", agent: this.name, details: { ...previous } }]);
  }

  event(more: Partial<AuditEvent> = {}): Partial<AuditEvent> {
    const { sid, name: agent } = this;
    return { event: "mcp.session.request", user: "alice", app: "files", agent, sid, tool: "read", ...more };
  }

  /** Appends to its chain; the proxy gets what `keep` lets through. */
  async ship(events: Partial<AuditEvent>[], keep: (line: string) => boolean = () => true): Promise<string[]> {
    const whole = events.map((event) => ({ uid: newUid(), time: this.log.time(), v: 1, ...event }) as AuditEvent);
    const { lines, end } = chainLines(whole, this.end);
    this.end = end;
    await ingest(this.log.store, this.id, lines.filter(keep), this.log.now);
    return lines;
  }

  calls(count: number): Promise<string[]> {
    return this.ship(Array.from({ length: count }, (_, i) => this.event({ arguments: { i } })));
  }

  async sign(final = false): Promise<void> {
    await keepHead(this.log.store, this.id, await signHead({ ...this.end, final }, this.key));
  }
}

export class TestLog {
  readonly store: Store;
  readonly key: KeyPair;
  now = START;

  private constructor(store: Store, key: KeyPair) {
    this.store = store;
    this.key = key;
  }

  static async make(store: Store): Promise<TestLog> {
    return new TestLog(store, await generateKeyPair());
  }

  time(): string {
    this.now += 1;
    return new Date(this.now).toISOString();
  }

  async agent(name: string): Promise<TestAgent> {
    const key = await generateKeyPair();
    const { id } = await joinAgent(this.store, { name, jkt: key.jkt, publicJwk: { ...key.publicJwk }, now: this.now });
    const agent = new TestAgent(this, name, id, key);
    const session = {
      sid: agent.sid,
      user: "alice",
      app: "files",
      agentId: id,
      agent: name,
      clientJkt: "k",
      remote: "",
    };
    await createSession(this.store, session, this.now);
    return agent;
  }

  async own(count = 1): Promise<void> {
    for (let i = 0; i < count; i++) {
      await recordEvents(this.store, [{ event: "user.login", user: `user-${i}`, success: true }], ++this.now);
    }
  }

  async seal(): Promise<void> {
    await checkpoint(this.store, ++this.now);
    await sealOwn(this.store, this.key, this.now);
  }

  source(page = 7): ChainSource {
    const { store, key } = this;
    return {
      async chains(before) {
        const all = await listChains(store, { limit: 1000 });
        const from = before === undefined ? 0 : all.findIndex(({ chain }) => chain === before) + 1;
        const rows = all.slice(from, from + 2);
        const chains = await Promise.all(
          rows.map(async ({ chain, owner, kind, public_jwk, n, hash, head }) => ({
            chain,
            owner,
            kind: kind === "agent" ? ("agent" as const) : ("proxy" as const),
            public_jwk: public_jwk === null ? null : JSON.parse(public_jwk),
            jkt: await jktOf(public_jwk),
            n,
            hash,
            head,
          })),
        );
        return { chains, more: from + 2 < all.length, signing_keys: [key.publicJwk] };
      },
      async lines(chain, { after, since, limit = page }) {
        const rows = await linesOf(store, chain, { after, since, limit });
        return rows.map(({ body, stored_at: _, chain: __, ...row }) => ({ ...row, line: body }));
      },
    };
  }

  async verify(o: Omit<VerifyOptions, "report"> = {}): Promise<Verified & { found: Problem[] }> {
    const found: Problem[] = [];
    const result = await verifyLog(this.source(), { ...o, report: (problem) => found.push(problem) });
    return { ...result, found };
  }
}

/** A log with two boots of one agent, another agent, and the proxy's own events, all signed. */
export async function sampleLog(store: Store): Promise<{ log: TestLog; a: TestAgent; b: TestAgent }> {
  const log = await TestLog.make(store);
  const a = await log.agent("a");
  const b = await log.agent("b");
  await a.boot();
  await log.own(3);
  await a.calls(9);
  await b.boot();
  await b.calls(5);
  await a.sign();
  await log.seal();
  await a.calls(4);
  await a.boot();
  await a.calls(8);
  await b.calls(6);
  await log.own(4);
  await a.sign();
  await b.sign(true);
  await log.seal();
  return { log, a, b };
}
