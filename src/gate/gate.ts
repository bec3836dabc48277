/**
 * The gate of one session: a line in, a verdict out. It holds no stream and no clock; whoever does writes what the steps
 * say, events first.
 */
import { encodeError, encodeNotification } from "../mcp/encode.ts";
import { INVALID_REQUEST, OUTCOME_UNKNOWN, SERVER_GONE } from "../mcp/fault.ts";
import { guessAtEdges } from "../mcp/id.ts";
import type { Invalid, ListKind } from "../mcp/message.ts";
import { SUBSCRIPTION_ID } from "../mcp/params.ts";
import { compile, type Policy, type QueryKind } from "../rbac/decide.ts";
import type { AppRules } from "../rbac/rules.ts";
import * as client from "./from-client.ts";
import * as server from "./from-server.ts";
import { type GateCounts, type GateOptions, GateState } from "./state.ts";
import { emptyStep, type Step } from "./step.ts";

export class Gate {
  readonly #state: GateState;

  constructor(options: GateOptions) {
    this.#state = new GateState(options);
  }

  /** One line of the client, with its line feed. What is forwarded unchanged is this very array. */
  fromClient(line: Uint8Array): Step {
    return client.fromClient(this.#state, line);
  }

  /** One line of the server. */
  fromServer(line: Uint8Array): Step {
    return server.fromServer(this.#state, line);
  }

  /** A line over the cap, of which `LineSplitter` kept the edges; `bytes` is its length. */
  overflow(from: "client" | "server", bytes: number, edges?: { head: Uint8Array; tail: Uint8Array }): Step {
    const guess = edges === undefined ? {} : guessAtEdges(edges.head, edges.tail);
    const reason = `the line is longer than ${this.#state.limits.maxBytes} bytes`;
    const invalid: Invalid = { kind: "invalid", code: INVALID_REQUEST, reason, ...guess, blank: false };
    return from === "client"
      ? client.refuseInvalid(this.#state, invalid, bytes)
      : server.refuseInvalid(this.#state, invalid, bytes);
  }

  /** A role edit on a live session. The client hears of changed lists where the server said that it would tell. */
  update(rules: AppRules): Step {
    const state = this.#state;
    const before = state.policy;
    state.policy = compile(rules);
    const step = emptyStep();
    for (const list of ["tools", "prompts", "resources"] as const) {
      if (sameRules(before, state.policy, list)) continue;
      const method = `notifications/${list}/list_changed`;
      if (state.initialized && state.declared.includes(list)) step.toClient.push(encodeNotification(method));
      for (const request of state.ofClient) {
        if (!request.listens.includes(list)) continue;
        step.toClient.push(encodeNotification(method, { _meta: { [SUBSCRIPTION_ID]: request.id } }));
      }
    }
    return step;
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

  /** Requests of the client that wait for an answer. */
  openRequests(): number {
    return this.#state.ofClient.size;
  }

  /** For the session's end event. */
  counts(): GateCounts {
    return { ...this.#state.counts };
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
