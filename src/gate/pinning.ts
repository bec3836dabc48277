/**
 * Tools whose definitions must not change silently. What a definition was before, and what an admin approved, is known
 * outside (`ToolPins`); here is what this session's server says its tools are, and that a call is held to it: before the
 * first call of a tool that no list has shown yet, the gate asks the server for the whole list itself.
 */
import type { EventDraft } from "../event.ts";
import { encodeRequest } from "../mcp/encode.ts";
import { Fault } from "../mcp/fault.ts";
import { readTools } from "../mcp/lists.ts";
import type { CodecLimits, Id, Request, Response } from "../mcp/message.ts";

/** Definitions of one app as they were seen before. */
export interface ToolPins {
  /** Whether what is not approved is hidden; otherwise it is only told about. */
  readonly enforce: boolean;
  /** False: nothing is known of the app yet, and the first whole list is to be trusted. */
  readonly begun: boolean;
  /**
   * Notes the definition of a tool (JSON), and says by which hash it goes and what the audit log is to hear. `own`: it
   * stands in a list that the gate itself asked for.
   */
  see(tool: string, definition: Uint8Array, own: boolean): { hash: string; events: EventDraft[] };
  /** A whole list was seen. */
  begin(): void;
  /** Whether this definition is one to be shown and called. */
  holds(tool: string, hash: string): boolean;
}

export interface Verdict {
  /** `wait`: until `answer` releases it. */
  verdict: "pass" | "refuse" | "wait";
  /** The gate's own request, for the server. */
  ask?: Uint8Array | undefined;
}

/** A server that pages without end, or has so many tools. */
const MAX_PAGES = 100;
const MAX_TOOLS = 10_000;
/** What 2026-07-28 wants in every request. */
const ENVELOPE = ["protocolVersion", "clientCapabilities", "clientInfo"].map((key) => `io.modelcontextprotocol/${key}`);

export class Pinning {
  readonly #pins: ToolPins;
  readonly #newUid: () => string;
  readonly #limits: CodecLimits;
  /** By which hash each tool goes in this session, since the server last said that its tools changed. */
  #seen = new Map<string, string>();
  /** The whole list is in `#seen`. */
  #complete = false;
  /** The gate's own request that is open, and the pages before it. */
  #asking: { id: Id; pages: number; envelope: string } | undefined;
  /** Calls that wait for the list, and since when. */
  readonly #waiting: { call: Request; since: number }[] = [];

  constructor(pins: ToolPins, newUid: () => string, limits: CodecLimits) {
    this.#pins = pins;
    this.#newUid = newUid;
    this.#limits = limits;
  }

  /** A definition in a list that the client asked for: whether the client may see it. */
  shows(tool: string, definition: Uint8Array, events: EventDraft[]): boolean {
    this.#see(tool, definition, false, events);
    return this.#allowed(tool);
  }

  /** The tools have changed, the server says. */
  forget(): void {
    this.#seen = new Map();
    this.#complete = false;
  }

  /** What becomes of a call or a list that the rules allow. Where nothing is hidden, nothing waits. `now`: milliseconds. */
  judge(request: Request, now: number): Verdict {
    const { target, method } = request;
    const { enforce, begun } = this.#pins;
    if (target.kind === "tool") {
      if (this.#seen.has(target.name) || this.#complete)
        return { verdict: this.#allowed(target.name) ? "pass" : "refuse" };
    } else if (method !== "tools/list" || !enforce || begun || this.#complete) return { verdict: "pass" };
    const ask = this.#asking === undefined ? this.#ask(envelopeOf(request), undefined, 0) : undefined;
    if (!enforce) return { verdict: "pass", ask };
    this.#waiting.push({ call: request, since: now });
    return { verdict: "wait", ask };
  }

  /** Whether this session's server has shown the tool. */
  hasSeen(tool: string): boolean {
    return this.#seen.has(tool);
  }

  /** Whether this answers the gate's own request. */
  isOwn(id: Id): boolean {
    return this.#asking?.id === id;
  }

  /** Takes those out that wait since `before` or longer. The question stays open: its answer is as good when it is late. */
  overdue(before: number): Request[] {
    const late = this.#waiting.filter(({ since }) => since <= before);
    this.#waiting.splice(0, late.length); // they are in the order of their coming
    return late.map(({ call }) => call);
  }

  /** Takes a call out of those that wait; false: it is none of them. */
  withdraw(id: Id): boolean {
    const at = this.#waiting.findIndex(({ call }) => call.id === id);
    if (at !== -1) this.#waiting.splice(at, 1);
    return at !== -1;
  }

  /**
   * The answer to the gate's own request; undefined: it can't be read. Either there is another page to ask for, or the
   * calls that waited go on, each to be sent or to be refused.
   */
  answer(
    answer: Response | undefined,
    events: EventDraft[],
  ): { ask: Uint8Array } | { released: { call: Request; allowed: boolean }[] } {
    const { pages, envelope } = this.#asking ?? { pages: 0, envelope: "" };
    this.#asking = undefined;
    try {
      if (answer?.ok === true) {
        const { tools, cursor } = readTools(answer, this.#limits);
        for (const [tool, definition] of tools) this.#see(tool, definition, true, events);
        if (cursor !== undefined && pages < MAX_PAGES) return { ask: this.#ask(envelope, cursor, pages + 1) };
        if (cursor === undefined) this.#pins.begin();
      }
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
    }
    // A server that gives no list has no tool that anybody approved.
    this.#complete = true;
    return {
      released: this.#waiting.splice(0).map(({ call }) => ({
        call,
        allowed: call.target.kind !== "tool" || this.#allowed(call.target.name),
      })),
    };
  }

  #see(tool: string, definition: Uint8Array, own: boolean, events: EventDraft[]): void {
    if (this.#seen.size >= MAX_TOOLS && !this.#seen.has(tool)) return;
    const { hash, events: told } = this.#pins.see(tool, definition, own);
    this.#seen.set(tool, hash);
    events.push(...told);
  }

  #allowed(tool: string): boolean {
    if (!this.#pins.enforce) return true;
    const hash = this.#seen.get(tool);
    return hash !== undefined && this.#pins.holds(tool, hash);
  }

  #ask(envelope: string, cursor: string | undefined, pages: number): Uint8Array {
    const id = `mcpgate-${this.#newUid()}`;
    this.#asking = { id, pages, envelope };
    const members = [cursor === undefined ? "" : `"cursor":${JSON.stringify(cursor)}`, envelope].filter(Boolean);
    return encodeRequest(id, "tools/list", `{${members.join(",")}}`);
  }
}

/** The members of a request's `_meta` that this revision's servers want in any request, as they stand there. */
function envelopeOf({ params, bytes }: Request): string {
  const span = params?.span("_meta");
  if (span === undefined) return "";
  const meta = JSON.parse(new TextDecoder().decode(bytes.subarray(span.start, span.end))) as Record<string, unknown>;
  const kept = ENVELOPE.filter((key) => Object.hasOwn(meta, key));
  if (kept.length === 0) return "";
  return `"_meta":${JSON.stringify(Object.fromEntries(kept.map((key) => [key, meta[key]])))}`;
}
