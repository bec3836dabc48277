/**
 * What servers ask the MCP client: sampling, elicitation, roots. The requests of the first server pass as they are. Those
 * of a later one get ids and progress tokens of ours, which nothing that an earlier server asked can have: so an answer
 * that comes late finds no request, and never reaches a server that did not ask.
 */
import { encodeNotification } from "../mcp/encode.ts";
import { memberAt, withMember } from "../mcp/members.ts";
import type { Id, Notification, Request, Response } from "../mcp/message.ts";

interface Asked {
  /** The id that the MCP client sees. */
  shown: Id;
  /** The id that the server gave it. */
  own: Id;
  token: { shown: Id; own: Id } | undefined;
}

const TOKEN = ["params", "_meta", "progressToken"] as const;

export class ServerRequests {
  readonly #prefix = `mcpgate-${crypto.randomUUID()}`;
  #count = 0;
  #first = true;
  readonly #byShown = new Map<Id, Asked>();
  readonly #byOwn = new Map<Id, Asked>();
  readonly #byToken = new Map<Id, Asked>();

  /** A request of the server, as the MCP client gets it. */
  ask(request: Request): Uint8Array {
    const { id, bytes, params } = request;
    if (this.#first) {
      this.#add({ shown: id, own: id, token: undefined });
      return bytes;
    }
    const shown = this.#mint();
    const token = params === undefined || params.find("_meta") === -1 ? undefined : memberAt(bytes, TOKEN);
    const named = withMember(bytes, ["id"], shown);
    if (typeof token !== "string" && typeof token !== "number") {
      this.#add({ shown, own: id, token: undefined });
      return named;
    }
    const asked = { shown, own: id, token: { shown: this.#mint(), own: token } };
    this.#add(asked);
    return withMember(named, TOKEN, asked.token.shown);
  }

  /** The MCP client's answer, as the server gets it. Undefined: the server that asked is gone, or asks no more. */
  answer({ id, bytes }: Response): Uint8Array | undefined {
    const asked = this.#byShown.get(id);
    if (asked === undefined) return this.#first ? bytes : undefined;
    this.#remove(asked);
    return asked.own === asked.shown ? bytes : withMember(bytes, ["id"], asked.own);
  }

  /** The MCP client tells of its progress with a request of the server. */
  progress({ bytes }: Notification): Uint8Array | undefined {
    if (this.#first) return bytes;
    const token = memberAt(bytes, ["params", "progressToken"]);
    const asked = typeof token === "string" ? this.#byToken.get(token) : undefined;
    return asked?.token === undefined ? undefined : withMember(bytes, ["params", "progressToken"], asked.token.own);
  }

  /** `notifications/cancelled` of the server, as the MCP client gets it. Undefined: it is not about a request of its own. */
  cancelled({ bytes, target }: Notification): Uint8Array | undefined {
    const id = target.kind === "cancelled" ? target.id : undefined;
    const asked = id === undefined ? undefined : this.#byOwn.get(id);
    if (asked === undefined) return undefined;
    this.#remove(asked);
    return asked.own === asked.shown ? bytes : withMember(bytes, ["params", "requestId"], asked.shown);
  }

  /** The server is gone: what it asked is cancelled, and whatever comes next is another server's. */
  abandon(reason: string): Uint8Array[] {
    const lines = [...this.#byShown.values()].map(({ shown }) =>
      encodeNotification("notifications/cancelled", { requestId: shown, reason }),
    );
    this.#first = false;
    this.#byShown.clear();
    this.#byOwn.clear();
    this.#byToken.clear();
    return lines;
  }

  #mint(): string {
    this.#count += 1;
    return `${this.#prefix}-${this.#count}`;
  }

  #add(asked: Asked): void {
    this.#byShown.set(asked.shown, asked);
    this.#byOwn.set(asked.own, asked);
    if (asked.token !== undefined) this.#byToken.set(asked.token.shown, asked);
  }

  #remove({ shown, own, token }: Asked): void {
    this.#byShown.delete(shown);
    this.#byOwn.delete(own);
    if (token !== undefined) this.#byToken.delete(token.shown);
  }
}
