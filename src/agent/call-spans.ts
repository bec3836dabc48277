/**
 * The agent's part of the traces of one session's calls: a span from the moment that a call was announced, or read, to its
 * answer. It belongs to what the client said beside the frames, else to what the MCP client put in `_meta`.
 */
import type { EventDraft } from "../event.ts";
import type { GateObserver } from "../gate/state.ts";
import type { Connection } from "../link/dial.ts";
import { parseMessage } from "../link/protocol.ts";
import { MAX_TRACE, type TraceHint, trace } from "../link/trace-messages.ts";
import type { Id, Request, Response } from "../mcp/message.ts";
import { agreedRevision, callAttributes, contextOf, faultOf, spanName } from "../observe/call-attributes.ts";
import type { Span, Tracer } from "../observe/span.ts";
import { CLIENT_REQUESTS } from "../rbac/defaults.ts";

export interface CallSpansOptions {
  tracer: Tracer;
  sid: string;
  app: string;
}

interface Open {
  id: Request["id"];
  method: string;
  span: Span;
  /** The proxy waits to hear that it is answered. */
  announced: boolean;
  /** What kind of error the server answered with. */
  fault?: string;
}

/** Calls that were announced and have not come; what is announced beyond goes without. */
const MAX_ANNOUNCED = 1024;

export class CallSpans implements GateObserver {
  readonly #options: CallSpansOptions;
  /** `at`: milliseconds since the epoch. */
  readonly #announced = new Map<Id, { hint: TraceHint; at: number }>();
  /** By the uid of the request's event. */
  readonly #open = new Map<string, Open>();
  #connection: Connection | undefined;
  #revision: string | undefined;

  constructor(options: CallSpansOptions) {
    this.#options = options;
  }

  /** A text message that came beside the session's frames. */
  onText(from: Connection, text: string): void {
    this.#connection = from;
    const hint = text.length > MAX_TRACE ? undefined : parseMessage(trace, text);
    if (hint === undefined || this.#announced.size >= MAX_ANNOUNCED) return;
    this.#announced.set(hint.id, { hint, at: Date.now() });
  }

  onRequest(request: Request, { uid, success }: EventDraft): void {
    const { id, method } = request;
    const announced = this.#announced.get(id);
    this.#announced.delete(id);
    // A subscription is open for as long as there is a client: it is no call.
    if (uid === undefined || method === "subscriptions/listen") return;
    const { tracer, sid, app } = this.#options;
    const span = tracer.start({
      // What is refused is named by nobody but the client, and there is no end to names.
      name: success === true ? spanName(request) : CLIENT_REQUESTS.has(method) ? method : "other",
      kind: "server",
      parent: announced?.hint ?? contextOf(request),
      attributes: {
        ...callAttributes(request, this.#revision),
        "mcp.session.id": sid,
        "network.transport": "pipe",
        "mcpgate.app": app,
      },
      ...(announced === undefined ? {} : { at: announced.at }),
    });
    if (success === true) span.note("mcpgate.allowed");
    this.#open.set(uid, { id, method, span, announced: announced !== undefined });
  }

  onAnswer(response: Response, event: string): void {
    const open = this.#open.get(event);
    if (open === undefined) return;
    if (open.method === "initialize" && response.ok) this.#revision = agreedRevision(response);
    const fault = faultOf(response, open.method);
    if (fault?.code !== undefined) open.span.set({ "rpc.response.status_code": fault.code });
    if (fault !== undefined) open.fault = fault.type;
  }

  /** Of the events that were recorded, the ends of calls. */
  onEvents(events: readonly EventDraft[]): void {
    for (const { event, request, outcome } of events) {
      if (event === "mcp.session.response" && request !== undefined) this.#end(request, outcome ?? "unknown");
    }
  }

  /** The session is over. */
  close(): void {
    for (const uid of [...this.#open.keys()]) this.#end(uid, "unknown");
  }

  #end(uid: string, outcome: NonNullable<EventDraft["outcome"]>): void {
    const open = this.#open.get(uid);
    if (open === undefined) return;
    this.#open.delete(uid);
    open.span.set({ "mcpgate.outcome": outcome });
    open.span.end(outcome === "ok" ? undefined : (open.fault ?? outcome));
    if (open.announced) this.#connection?.sendText({ t: "traced", id: open.id });
  }
}
