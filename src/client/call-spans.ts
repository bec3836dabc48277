/**
 * The client's part of the traces of calls: a span from a request's line on stdin to its answer's on stdout. The request goes
 * on as it came; which trace it belongs to is said beside it, on the session's connection.
 */
import type { TraceHint } from "../link/trace-messages.ts";
import { decode } from "../mcp/codec.ts";
import type { Line } from "../mcp/lines.ts";
import type { Id, Request } from "../mcp/message.ts";
import { agreedRevision, callAttributes, contextOf, faultOf, spanName } from "../observe/call-attributes.ts";
import type { Span, Tracer } from "../observe/span.ts";
import { LAST_SPANS_MS } from "../observe/tracing.ts";

/** The session that requests go to just now. */
export interface TracedSession {
  readonly sid: string;
  /** Says it to the other end, now or as soon as it can. */
  tell(message: object): void;
}

interface Open {
  id: Id;
  method: string;
  span: Span;
}

/** Requests that are open; what comes beyond goes untraced. */
const MAX_OPEN = 1024;
const LINE_FEED = 0x0a;

export class CallSpans {
  readonly #tracer: Tracer;
  readonly #app: string;
  readonly #open = new Map<Id, Open>();
  #session: TracedSession | undefined;
  #revision: string | undefined;

  constructor(tracer: Tracer, app: string) {
    this.#tracer = tracer;
    this.#app = app;
  }

  /** A session begins: calls that wait for one are told to it as soon as it is connected. */
  begin(session: TracedSession): void {
    this.#session = session;
    for (const open of this.#open.values()) session.tell(hintOf(open));
  }

  /** A line of the MCP client, before it goes on. */
  fromClient(line: Line): void {
    if ("overflow" in line) return;
    const message = decode(line.bytes);
    if (message.kind === "request") this.#onRequest(message);
    else if (message.kind === "notification" && message.target.kind === "cancelled") {
      // No answer follows.
      if (message.target.id !== undefined) this.#end(message.target.id, "cancelled");
    }
  }

  /** Whole lines for the MCP client. */
  toClient(bytes: Uint8Array): void {
    for (let start = 0; start < bytes.length && this.#open.size > 0; ) {
      const end = bytes.indexOf(LINE_FEED, start);
      const line = bytes.subarray(start, end === -1 ? bytes.length : end + 1);
      start += line.length;
      const message = decode(line);
      if (message.kind !== "response") continue;
      const open = this.#open.get(message.id);
      if (open === undefined) continue;
      const fault = faultOf(message, open.method);
      if (open.method === "initialize" && message.ok) this.#revision = agreedRevision(message);
      if (fault?.code !== undefined) open.span.set({ "rpc.response.status_code": fault.code });
      this.#end(message.id, fault?.type);
    }
  }

  /** The program ends. */
  async close(): Promise<void> {
    for (const { id } of [...this.#open.values()]) this.#end(id, "unanswered");
    await this.#tracer.close(LAST_SPANS_MS);
  }

  #onRequest(request: Request): void {
    const { id, method } = request;
    // A subscription is open for as long as there is a client: it is no call.
    if (method === "subscriptions/listen" || this.#open.has(id) || this.#open.size >= MAX_OPEN) return;
    const span = this.#tracer.start({
      name: spanName(request),
      kind: "client",
      parent: contextOf(request),
      attributes: { ...callAttributes(request, this.#revision), "mcpgate.app": this.#app },
    });
    const open = { id, method, span };
    this.#open.set(id, open);
    this.#session?.tell(hintOf(open));
  }

  #end(id: Id, error: string | undefined): void {
    const open = this.#open.get(id);
    if (open === undefined) return;
    this.#open.delete(id);
    if (this.#session !== undefined) {
      open.span.set({ "mcp.session.id": this.#session.sid });
      // An agent that doesn't trace would leave the proxy's span open.
      this.#session.tell({ t: "traced", id });
    }
    open.span.end(error);
  }
}

const hintOf = ({ id, span }: Open): TraceHint => ({ t: "trace", id, ...span.context });
