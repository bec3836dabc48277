/**
 * The gate of one session: a line in, a verdict out. It holds no stream and no clock; whoever does writes what the steps
 * say, events first.
 */
import type { EventDraft } from "../event.ts";
import { isBatch, splitBatch } from "../mcp/batch.ts";
import { encodeError, encodeNotification } from "../mcp/encode.ts";
import { BAD_SERVER_ANSWER, INVALID_REQUEST, OUTCOME_UNKNOWN, SERVER_GONE } from "../mcp/fault.ts";
import { guessAtEdges } from "../mcp/id.ts";
import type { LongLine } from "../mcp/lines.ts";
import type { Invalid, ListKind } from "../mcp/message.ts";
import { SUBSCRIPTION_ID } from "../mcp/params.ts";
import { compile, type Policy, type QueryKind } from "../rbac/decide.ts";
import type { AppRules } from "../rbac/rules.ts";
import * as client from "./from-client.ts";
import * as server from "./from-server.ts";
import { type GateCounts, type GateOptions, GateState } from "./state.ts";
import { emptyStep, type Step } from "./step.ts";
import { unlistedText } from "./texts.ts";

interface Side {
  read(state: GateState, line: Uint8Array, inBatch?: boolean): Step;
  refuse(state: GateState, invalid: Invalid, size: number): Step;
}
const CLIENT: Side = { read: client.fromClient, refuse: client.refuseInvalid };
const SERVER: Side = { read: server.fromServer, refuse: server.refuseInvalid };

/** How long a call waits for the list that the gate asks for itself (`tool_pinning: enforce`). Milliseconds. */
const OWN_LIST_MS = 30_000;

export class Gate {
  readonly #state: GateState;

  constructor(options: GateOptions) {
    this.#state = new GateState(options);
  }

  /** One line of the client, with its line feed. What is forwarded unchanged is this very array. */
  fromClient(line: Uint8Array): Step {
    return this.#each(CLIENT, line);
  }

  /** One line of the server. */
  fromServer(line: Uint8Array): Step {
    return this.#each(SERVER, line);
  }

  /**
   * A line, or each message of a batch (2025-03-26) as a line of its own. So are the answers, as they come: a client of
   * that revision takes both, and one slow call holds up nothing.
   */
  #each(side: Side, line: Uint8Array): Step {
    const state = this.#state;
    if (state.revision !== "2025-03-26" || !isBatch(line)) return side.read(state, line);
    const lines = splitBatch(line, state.limits);
    if (!Array.isArray(lines)) return side.refuse(state, lines, line.length);
    const step = emptyStep();
    for (const own of lines) {
      const { toServer, toClient, events } = side.read(state, own, true);
      step.toServer.push(...toServer);
      step.toClient.push(...toClient);
      step.events.push(...events);
    }
    return step;
  }

  /** A line over the cap, or one that there was no room for, of which `LineSplitter` kept the edges; `bytes` is its length. */
  overflow(from: "client" | "server", bytes: number, edges?: Partial<LongLine>): Step {
    const guess = edges?.head && edges.tail ? guessAtEdges(edges.head, edges.tail) : {};
    const reason =
      edges?.crowded === true
        ? `no room for a line of ${bytes} bytes: too many large messages are under way, try again later`
        : `the line is longer than ${this.#state.limits.maxBytes} bytes`;
    const invalid: Invalid = { kind: "invalid", code: INVALID_REQUEST, reason, ...guess, blank: false };
    return (from === "client" ? CLIENT : SERVER).refuse(this.#state, invalid, bytes);
  }

  /** A role edit on a live session. The client hears of changed lists, whether or not the server itself would tell. */
  update(rules: AppRules): Step {
    const state = this.#state;
    const before = state.policy;
    state.policy = compile(rules);
    const step = emptyStep();
    for (const list of ["tools", "prompts", "resources"] as const) {
      if (!sameRules(before, state.policy, list)) this.#announce(list, step);
    }
    return step;
  }

  /** Tools that were held back have been approved. */
  toolsApproved(): Step {
    const step = emptyStep();
    this.#announce("tools", step);
    return step;
  }

  #announce(list: "tools" | "prompts" | "resources", step: Step): void {
    const state = this.#state;
    const method = `notifications/${list}/list_changed`;
    if (state.initialized && state.lists.includes(list)) step.toClient.push(encodeNotification(method));
    for (const request of state.ofClient) {
      if (!request.listens.includes(list)) continue;
      step.toClient.push(encodeNotification(method, { _meta: { [SUBSCRIPTION_ID]: request.id } }));
    }
  }

  /**
   * The server or the link is gone: every open request of the client ends now, and those that come later are answered
   * with the same error. `unknown`: the server may have acted on them.
   */
  abandon(reason: string, outcome: "unknown" | "error", hint?: string): Step {
    const state = this.#state;
    const step = emptyStep();
    const tail = hint === undefined ? "" : `; ${hint}`;
    state.gone ??= { text: `${reason}${tail}` };
    for (const request of state.ofClient.drain()) {
      const text =
        outcome === "unknown" ? `${reason}; the outcome of this request is unknown${tail}` : `${reason}${tail}`;
      step.events.push(state.ended(request, outcome, 0, { error: reason }));
      step.toClient.push(encodeError(request.id, outcome === "unknown" ? OUTCOME_UNKNOWN : SERVER_GONE, text));
    }
    for (const request of state.ofServer.drain()) {
      step.events.push(state.ended(request, "unknown", 0, { from: "client", error: reason }));
    }
    return step;
  }

  /** Called about once a second: who waits for a list that the gate asked for and that does not come is told so. */
  overdue(): Step | undefined {
    const state = this.#state;
    const late = state.pinning?.overdue(state.now() - OWN_LIST_MS) ?? [];
    if (late.length === 0) return undefined;
    const step = emptyStep();
    const text = unlistedText(state.app, OWN_LIST_MS / 1000);
    for (const { id } of late) {
      const request = state.ofClient.answer(id);
      if (request === undefined || request === "late") continue;
      step.events.push(state.ended(request, "error", 0, { error: text }));
      step.toClient.push(encodeError(id, BAD_SERVER_ANSWER, text));
    }
    return step;
  }

  /** Whether the server has answered anything yet; a banner, a log message or a question is no answer. */
  get answered(): boolean {
    return this.#state.answered;
  }

  /** Requests of the client that wait for an answer. */
  openRequests(): number {
    return this.#state.ofClient.size;
  }

  /** The same without subscriptions, which wait for ever. */
  openCalls(): number {
    let calls = 0;
    for (const { method } of this.#state.ofClient) if (method !== "subscriptions/listen") calls += 1;
    return calls;
  }

  /**
   * No request of the client is taken any more, and none answered: it has not reached the server, which the end of the link
   * tells its client. Answers and notifications pass, as what is open may need them.
   */
  close(): void {
    this.#state.closed = true;
  }

  counts(): GateCounts {
    return { ...this.#state.counts };
  }

  /** At the session's end: all that the server said and nobody got, of which only the first lines had events. */
  summary(): EventDraft[] {
    const { junkLines: lines, junkBytes: bytes, strayAnswers: stray_answers } = this.#state.counts;
    if (lines === 0) return [];
    const event = this.#state.invalid("server", `${lines} lines of the server's were dropped in this session`, bytes);
    return [{ ...event, details: { session: true, lines, bytes, stray_answers } }];
  }
}

const KINDS: Record<Exclude<ListKind, "templates">, QueryKind[]> = {
  tools: ["tool"],
  prompts: ["prompt"],
  resources: ["resource", "template"],
};

function sameRules(a: Policy, b: Policy, list: keyof typeof KINDS): boolean {
  const entries = (policy: Policy) =>
    JSON.stringify(
      KINDS[list].map((kind) => [
        policy.compiled[kind].allow.map(({ rule }) => rule),
        policy.compiled[kind].deny.map(({ rule }) => rule),
      ]),
    );
  return entries(a) === entries(b);
}
