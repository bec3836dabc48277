/**
 * The MCP client's requests that wait for their answers, and the progress that it hears of them. While nothing comes
 * from the server, those that asked for progress hear from us instead, so that the MCP client does not give them up.
 */
import { encodeNotification } from "../mcp/encode.ts";
import { memberAt } from "../mcp/members.ts";
import type { Id, Notification, Request } from "../mcp/message.ts";

export interface Call {
  id: Id;
  method: string;
  /** A copy, for a session that needs it again; none of what is large, unless `keeps` said so. */
  bytes: Uint8Array | undefined;
  /**
   * `sent`: given to a session, and nobody but the server knows what came of it. `missed`: the session had ended when it
   * came there.
   */
  state: "waiting" | "sent" | "missed";
  /** It was missed once, and goes to the next session: not to a third, as there may be no end of them. */
  again: boolean;
  progress: Progress | undefined;
}

interface Progress {
  token: Id;
  /** The last number that the MCP client heard. */
  last: number | undefined;
  /** It was ours: the server does not know of it. */
  ours: boolean;
  total: number | undefined;
  /** When something was last heard, or the request came; milliseconds of a monotonic clock. */
  at: number;
}

/** How long an MCP client that asked for progress is left without, milliseconds: they time out after 10 s and more. */
export const QUIET_MS = 5_000;
/** Our numbers, relative to the server's last: far below any step of a server's own, so that its next one is higher. */
const STEP = 1e-9;

/** Calls up to this size are copied, and as many of them as this comes to. */
const COPY_BYTES = 256 * 1024;
const HELD_BYTES = 8 * 1024 * 1024;

export class OpenCalls {
  readonly #keeps: (method: string) => boolean;
  readonly #now: () => number;
  readonly #calls = new Map<Id, Call>();
  #held = 0;
  readonly #byToken = new Map<Id, Progress>();

  constructor(keeps: (method: string) => boolean, now: () => number) {
    this.#keeps = keeps;
    this.#now = now;
  }

  /** Calls that a session was given. */
  get sent(): number {
    let count = 0;
    for (const { state } of this.#calls.values()) if (state === "sent") count++;
    return count;
  }

  /** Undefined: the id is that of an open call, and the agent's gate will say so. */
  add(request: Request): Call | undefined {
    const { id, method } = request;
    if (this.#calls.has(id)) return undefined;
    const progress = this.#progressOf(request);
    const bytes = this.#keeps(method) || this.#fits(request.bytes) ? request.bytes.slice() : undefined;
    const call: Call = { id, method, bytes, state: "waiting", again: false, progress };
    this.#held += bytes?.length ?? 0;
    this.#calls.set(id, call);
    if (progress !== undefined) this.#byToken.set(progress.token, progress);
    return call;
  }

  /** The call is answered, or cancelled. */
  remove(id: Id): Call | undefined {
    const call = this.#calls.get(id);
    if (call === undefined) return undefined;
    this.#calls.delete(id);
    this.#held -= call.bytes?.length ?? 0;
    if (call.progress !== undefined) this.#byToken.delete(call.progress.token);
    return call;
  }

  /** The server ended this subscription (2026-07-28): no answer follows. Another request's answer still comes. */
  endListening(id: Id): void {
    if (this.#calls.get(id)?.method === "subscriptions/listen") this.remove(id);
  }

  /** The session said its last, so all that its gate had let through are answered: the rest came too late. */
  missRest(): void {
    for (const call of this.#calls.values()) if (call.state === "sent") call.state = "missed";
  }

  /** The calls that were missed and can go to another session; they wait for it. `initialize` begins one of its own. */
  retry(): Call[] {
    const calls = [...this.#calls.values()].filter(
      ({ state, again, bytes, method }) =>
        state === "missed" && !again && bytes !== undefined && method !== "initialize",
    );
    for (const call of calls) {
      call.state = "waiting";
      call.again = true;
    }
    return calls;
  }

  /** All other calls that a session was given; they are open no more. */
  drainGiven(): Call[] {
    const calls = [...this.#calls.values()].filter(({ state }) => state !== "waiting");
    for (const { id } of calls) this.remove(id);
    return calls;
  }

  /** Progress from the server. False: its number is not above one of ours, and would look like a step back. */
  passes({ bytes }: Notification): boolean {
    const { progressToken, progress, total } = (memberAt(bytes, ["params"]) ?? {}) as Record<string, unknown>;
    const known = isToken(progressToken) ? this.#byToken.get(progressToken) : undefined;
    if (known === undefined || typeof progress !== "number") return true;
    if (known.ours && known.last !== undefined && progress <= known.last) return false;
    known.last = progress;
    known.ours = false;
    known.total = typeof total === "number" ? total : undefined;
    known.at = this.#now();
    return true;
  }

  /** Progress of our own for every call that asked for some and has not heard any for a while. */
  reassure(message: string): Uint8Array[] {
    const now = this.#now();
    const lines: Uint8Array[] = [];
    for (const each of this.#byToken.values()) {
      if (now - each.at < QUIET_MS) continue;
      const last = each.last ?? 0;
      each.last = last + STEP * Math.max(1, Math.abs(last));
      each.ours = true;
      each.at = now;
      const total = each.total !== undefined && each.total >= each.last ? { total: each.total } : {};
      const params = { progressToken: each.token, progress: each.last, ...total, message };
      lines.push(encodeNotification("notifications/progress", params));
    }
    return lines;
  }

  #fits({ length }: Uint8Array): boolean {
    return length <= COPY_BYTES && this.#held + length <= HELD_BYTES;
  }

  #progressOf({ bytes, params }: Request): Progress | undefined {
    if (params === undefined || params.find("_meta") === -1) return undefined;
    const token = memberAt(bytes, ["params", "_meta", "progressToken"]);
    if (!isToken(token)) return undefined;
    return { token, last: undefined, ours: false, total: undefined, at: this.#now() };
  }
}

const isToken = (value: unknown): value is Id => typeof value === "string" || typeof value === "number";
