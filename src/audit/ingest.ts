/**
 * Lines that agents send. A line is stored byte for byte, so that its chain can be verified against the agent's signature;
 * beside it stands whose the event is. That is the proxy's word, not the agent's: it looks the session up. An honest agent's
 * line says the same; where one doesn't, the columns say what the proxy knows, the row says why they differ (`verdict`), and
 * an `audit.disputed` event in the proxy's own chain keeps that verdict from being changed later. What has no place in a
 * chain of this agent's becomes an event of the proxy's own.
 */
import { createHash } from "node:crypto";
import { AUDIT_SCHEMA_VERSION, type AuditEvent } from "../event.ts";
import { type Agent, findAgent } from "../store/agents.ts";
import { type Chain, createChain, findChain, updateChain } from "../store/chains.ts";
import { findSessions, type Session } from "../store/sessions.ts";
import { inTransaction, type Store } from "../store/store.ts";
import { type AgentEvent, type Attribution, isOfChain, type ParsedLine, parseAgentLine } from "./agent-event.ts";
import { hashLine } from "./chain.ts";
import { appendOwn, type EventRow, insertRows } from "./store.ts";
import { newUid } from "./uid.ts";

export { MAX_ITEM } from "./agent-event.ts";

/** How much of an item that does not fit is kept. */
const KEPT = 16 * 1024;

export interface Ingested {
  /** New in the store; the others were there already. */
  stored: number;
  /** Of the items: those that were not taken at their word. */
  invalid: number;
}

/**
 * Stores what an agent's spool holds: `items`, one line each. Everything is durable when it returns, so all items may be
 * acknowledged; it throws only when the store does, and then nothing was stored.
 */
export function ingest(store: Store, agentId: string, items: readonly string[], now: number): Promise<Ingested> {
  return inTransaction(store, async (tx) => {
    const agent = await findAgent(tx, { id: agentId });
    const parsed = items.map(parseAgentLine);
    const sids = new Set(parsed.flatMap((p) => (typeof p === "string" ? [] : [String(p.event.sid ?? "")])));
    const sessions = new Map((await findSessions(tx, [...sids])).map((session) => [session.sid, session]));
    const batch = new Batch(tx, { agentId, agent, sessions, now });
    for (const [i, item] of items.entries()) await batch.take(item, parsed[i] ?? "missing");
    return batch.store();
  });
}

class Batch {
  readonly #store: Store;
  readonly #o: { agentId: string; agent: Agent | undefined; sessions: Map<string, Session>; now: number };
  readonly #chains = new Map<string, Chain>();
  readonly #rows: EventRow[] = [];
  readonly #strays: AuditEvent[] = [];
  /** Sent before, as it seems. */
  readonly #again: { item: string; chain: string; n: number }[] = [];
  #invalid = 0;

  constructor(
    store: Store,
    o: { agentId: string; agent: Agent | undefined; sessions: Map<string, Session>; now: number },
  ) {
    this.#store = store;
    this.#o = o;
  }

  get #name(): string {
    return this.#o.agent?.name ?? this.#o.agentId;
  }

  async take(item: string, parsed: ParsedLine | string): Promise<void> {
    if (typeof parsed === "string") return this.#stray(item, parsed);
    const { event, fault } = parsed;
    const chain = await this.#chain(event.chain);
    if (chain.agent_id !== this.#o.agentId) return this.#stray(item, "the chain is not this agent's");
    if (event.n <= chain.n) {
      this.#again.push({ item, chain: chain.chain, n: event.n });
      return;
    }
    chain.n = event.n;
    chain.hash = item; // hashed when the batch is through: only the last one counts
    const by = this.#attribution(event, fault);
    if (by.verdict !== null) this.#invalid += 1;
    const { uid, time, event: kind } = event;
    this.#rows.push({ ...by, uid, time, event: kind, body: item, chain: chain.chain, n: event.n });
  }

  async store(): Promise<Ingested> {
    const { now } = this.#o;
    for (const again of this.#again) await this.#compare(again);
    let stored = await insertRows(this.#store, this.#rows, now);
    if (stored < this.#rows.length) stored += await this.#insertRenamed();
    for (const [chain, { n, hash }] of this.#chains) {
      if (this.#rows.some((row) => row.chain === chain))
        await updateChain(this.#store, chain, { n, hash: hashLine(hash) });
    }
    const strays = await this.#newStrays();
    // behind the rows that they are about, so that they are not retired before them
    await appendOwn(this.#store, [...strays, ...disputes(this.#rows, this.#name, now)], now);
    return { stored: stored + strays.length, invalid: this.#invalid };
  }

  async #chain(id: string): Promise<Chain> {
    const { agentId, agent, now } = this.#o;
    const known = this.#chains.get(id) ?? (await findChain(this.#store, id));
    const publicJwk = JSON.stringify(agent?.publicJwk ?? null);
    const made = { chain: id, owner: this.#name, agent: { id: agentId, publicJwk }, now };
    const chain = known ?? (await createChain(this.#store, made));
    this.#chains.set(id, chain);
    return chain;
  }

  #attribution(event: AgentEvent, fault: string | undefined): Attribution {
    const nobody = { user: null, app: null, agent: this.#name, sid: null };
    if (isOfChain(event.event)) return withVerdict(event, nobody, fault);
    const session = this.#o.sessions.get(String(event.sid));
    if (session?.agentId !== this.#o.agentId) {
      return { ...nobody, verdict: "the session is not one of this agent's" };
    }
    const { user, app, agent, sid } = session;
    return withVerdict(event, { user, app, agent, sid }, fault);
  }

  #stray(item: string, reason: string): void {
    this.#invalid += 1;
    this.#strays.push(unreadable(item, reason, this.#name, this.#o.now));
  }

  async #compare({ item, chain, n }: { item: string; chain: string; n: number }): Promise<void> {
    if (this.#rows.some((row) => row.chain === chain && row.n === n && row.body === item)) return;
    const row = await this.#store
      .selectFrom("events")
      .select("body")
      .where("chain", "=", chain)
      .where("n", "=", n)
      .executeTakeFirst();
    if (row?.body === item || n <= (this.#chains.get(chain)?.retired_n ?? 0)) return;
    this.#stray(item, "another line stands at its place");
  }

  /** Some `uid` was used before, by another event: the line keeps its place under an id of the proxy's. */
  async #insertRenamed(): Promise<number> {
    const missing: EventRow[] = [];
    for (const row of this.#rows) {
      const { chain, n } = row;
      const query = this.#store.selectFrom("events").select("seq").where("chain", "=", chain).where("n", "=", n);
      if ((await query.executeTakeFirst()) === undefined) missing.push(row);
    }
    for (const row of missing) {
      row.uid = newUid();
      row.verdict ??= "its uid was used before";
    }
    this.#invalid += missing.length;
    return insertRows(this.#store, missing, this.#o.now);
  }

  async #newStrays(): Promise<AuditEvent[]> {
    if (this.#strays.length === 0) return [];
    const uids = [...new Set(this.#strays.map(({ uid }) => uid))];
    const rows = await this.#store.selectFrom("events").select("uid").where("uid", "in", uids).execute();
    const known = new Set(rows.map(({ uid }) => uid));
    return this.#strays.filter(({ uid }) => !known.has(uid) && known.add(uid));
  }
}

function withVerdict(event: AgentEvent, whose: Omit<Attribution, "verdict">, fault: string | undefined): Attribution {
  if (fault !== undefined) return { ...whose, verdict: fault };
  const wrong = (["user", "app", "agent", "sid"] as const).find((key) => (event[key] ?? null) !== whose[key]);
  return { ...whose, verdict: wrong === undefined ? null : `${wrong} is not what the session's record says` };
}

/** One event for each run of lines about which the same is to be said. */
function disputes(rows: readonly EventRow[], agent: string, now: number): AuditEvent[] {
  const runs: { first: EventRow; to: number }[] = [];
  for (const row of rows) {
    if (row.verdict === null) continue;
    const last = runs.at(-1);
    const same =
      last !== undefined &&
      last.to === row.n - 1 &&
      (["chain", "verdict", "user", "app", "agent", "sid"] as const).every((key) => last.first[key] === row[key]);
    if (same) last.to = row.n;
    else runs.push({ first: row, to: row.n });
  }
  return runs.map(({ first, to }) => ({
    event: "audit.disputed",
    uid: newUid(),
    time: new Date(now).toISOString(),
    v: AUDIT_SCHEMA_VERSION,
    agent,
    details: {
      chain: first.chain,
      from: first.n,
      to,
      reason: first.verdict,
      whose: [first.user, first.app, first.agent, first.sid],
    },
  }));
}

/** Its id comes from its bytes, so that a retry is no duplicate. */
function unreadable(item: string, reason: string, agent: string, now: number): AuditEvent {
  const sha256 = createHash("sha256").update(agent).update("\0").update(item).digest("hex");
  const hex = `${sha256.slice(0, 12)}8${sha256.slice(13, 16)}8${sha256.slice(17, 32)}`; // UUIDv8, RFC 9562
  return {
    event: "mcp.session.invalid",
    uid: hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"),
    time: new Date(now).toISOString(),
    v: AUDIT_SCHEMA_VERSION,
    agent,
    details: { invalid: reason, length: item.length, raw: item.slice(0, KEPT).toWellFormed() },
  };
}
