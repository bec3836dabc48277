/** What the gate remembers of one session. No I/O: the clock and the maker of ids come in. */
import type { EventDraft, Outcome } from "../event.ts";
import {
  type CodecLimits,
  DEFAULT_CODEC_LIMITS,
  type Invalid,
  type ListKind,
  type Request,
  type Response,
} from "../mcp/message.ts";
import { compile, type Decision, decide, type Policy, type Query, type QueryKind } from "../rbac/decide.ts";
import type { AppRules } from "../rbac/rules.ts";
import { type OpenRequest, OpenRequests } from "./open-requests.ts";
import { Pinning, type ToolPins } from "./pinning.ts";
import type { Step } from "./step.ts";

export interface GateLimits extends CodecLimits {
  /** Requests that the client may have open at a time. */
  maxOpen: number;
  /** Requests of the client that were cancelled and whose late answer has not come. */
  maxGivenUp: number;
  /** Requests that the server may have open at a time. */
  maxServerOpen: number;
  /** Events about lines of the server that are dropped; after so many they are only counted. */
  maxJunkEvents: number;
}

export const DEFAULT_GATE_LIMITS: GateLimits = {
  ...DEFAULT_CODEC_LIMITS,
  maxOpen: 1024,
  maxGivenUp: 16_384,
  maxServerOpen: 256,
  maxJunkEvents: 20,
};

export interface GateOptions {
  app: string;
  rules: AppRules;
  newUid(): string;
  /** Monotonic milliseconds. */
  now(): number;
  /** `redactArguments`: a JSON object's bytes as the event's `arguments`. */
  redact(json: Uint8Array): Record<string, unknown>;
  limits?: Partial<GateLimits> | undefined;
  /** What is known of the app's tools; without it their definitions may be what they like. */
  pins?: ToolPins | undefined;
  observer?: GateObserver | undefined;
}

/** Hears of calls while they pass, and changes nothing about them. */
export interface GateObserver {
  /** A request of the client, and its event: let through, or not. */
  onRequest(request: Request, event: EventDraft): void;
  /** The server's answer to the request with this event. */
  onAnswer(answer: Response, event: string): void;
}

/** What the session's end event tells about the server's output. */
export interface GateCounts {
  /** Lines of the server that were no messages, or none that is forwarded. */
  junkLines: number;
  junkBytes: number;
  /** Answers to requests that were not open: second or made up. */
  strayAnswers: number;
  /** Requests and notifications of the client that were refused. */
  denied: number;
}

export class GateState {
  readonly app: string;
  readonly limits: GateLimits;
  readonly newUid: () => string;
  readonly now: () => number;
  readonly redact: (json: Uint8Array) => Record<string, unknown>;
  policy: Policy;
  /** What the client has asked the server. */
  readonly ofClient: OpenRequests;
  /** What the server has asked the client. */
  readonly ofServer: OpenRequests;
  /** The lists that the server has, as it said itself. The client was told that they may change. */
  lists: readonly ListKind[] = [];
  /** What `initialize` agreed on, where that is a revision that we know. */
  revision: string | undefined;
  /** `notifications/initialized` has passed: the client takes notifications now. */
  initialized = false;
  /** The server has sent an answer, to whatever. */
  answered = false;
  readonly pinning: Pinning | undefined;
  readonly observer: GateObserver | undefined;
  /** Requests are left alone: the session takes no more. */
  closed = false;
  /** Why nothing reaches the server any more. */
  gone: { text: string } | undefined;
  readonly counts: GateCounts = { junkLines: 0, junkBytes: 0, strayAnswers: 0, denied: 0 };

  constructor(options: GateOptions) {
    this.app = options.app;
    this.limits = { ...DEFAULT_GATE_LIMITS, ...options.limits };
    this.newUid = () => options.newUid();
    this.now = () => options.now();
    this.redact = (json) => options.redact(json);
    this.policy = compile(options.rules);
    this.observer = options.observer;
    this.pinning = options.pins && new Pinning(options.pins, this.newUid, this.limits);
    this.ofClient = new OpenRequests(this.limits.maxOpen, this.limits.maxGivenUp);
    this.ofServer = new OpenRequests(this.limits.maxServerOpen, this.limits.maxGivenUp);
  }

  allows(kind: QueryKind, name: string): boolean {
    return decide(this.policy, { kind, name }).allowed;
  }

  decide(query: Query): Decision {
    return decide(this.policy, query);
  }

  /** The event of a request that has ended. `size`: bytes of the answer as it came. */
  ended(request: OpenRequest, outcome: Outcome, size: number, extra: Partial<EventDraft> = {}): EventDraft {
    return {
      event: "mcp.session.response",
      uid: this.newUid(),
      request: request.event,
      method: request.method,
      outcome,
      success: outcome === "ok",
      duration_ms: Math.round((this.now() - request.at) * 10) / 10,
      size,
      ...extra,
    };
  }

  /** The event of a line that is not forwarded. */
  invalid(from: "client" | "server", reason: string, size: number): EventDraft {
    return { event: "mcp.session.invalid", uid: this.newUid(), from, success: false, error: reason, size };
  }

  /** Counts a line of the server that is dropped, and tells about the first ones. */
  junk(step: Step, reason: string, size: number): void {
    this.counts.junkLines += 1;
    this.counts.junkBytes += size;
    if (this.counts.junkLines <= this.limits.maxJunkEvents) step.events.push(this.invalid("server", reason, size));
  }
}

export const isInvalid = (message: { kind: string }): message is Invalid => message.kind === "invalid";
