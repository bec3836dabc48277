/** The requests on their way through a shared server: whose each is, and under which id and token the server knows it. */
import { encodeRequest } from "../../mcp/encode.ts";
import { textAt, withText } from "../../mcp/members.ts";
import type { Id, Request } from "../../mcp/message.ts";
import { TOKEN } from "./places.ts";
import type { Port } from "./port.ts";

export interface Open {
  /** Undefined: our own, and nobody waits for the answer. */
  port: Port | undefined;
  id: Id;
  /** The id as its session wrote it. */
  idText: string;
  method: string;
  token: string | undefined;
  /** Of a subscription. */
  uri: string | undefined;
}

export class SharedRequests {
  readonly #random: () => string;
  #count = 0;
  /** By the id that the server sees. */
  readonly #open = new Map<number, Open>();
  /** By the token that the server sees. */
  readonly #tokens = new Map<string, { port: Port; text: string }>();

  /** `random` makes what no session can guess. */
  constructor(random: () => string) {
    this.#random = random;
  }

  /** A session's request as the server gets it. `line`: where it is another one than the session wrote. */
  forward(port: Port, { id, method, bytes, target, params }: Request, line = bytes): Uint8Array {
    const fresh = ++this.#count;
    const text = params === undefined || params.find("_meta") === -1 ? undefined : textAt(bytes, TOKEN);
    const token = text === undefined ? undefined : `mcpgate-${this.#random()}`;
    if (token !== undefined && text !== undefined) this.#tokens.set(token, { port, text });
    const idText = textAt(bytes, ["id"]) ?? JSON.stringify(id);
    const uri = method === "resources/subscribe" && target.kind === "resource" ? target.uri : undefined;
    this.#open.set(fresh, { port, id, idText, method, token, uri });
    port.open.set(id, fresh);
    const named = withText(line, ["id"], String(fresh));
    return token === undefined ? named : withText(named, TOKEN, JSON.stringify(token));
  }

  /** A request of our own. */
  ask(method: string, params: object): Uint8Array {
    const fresh = ++this.#count;
    const none = { port: undefined, token: undefined, uri: undefined };
    this.#open.set(fresh, { ...none, id: fresh, idText: String(fresh), method });
    return encodeRequest(fresh, method, JSON.stringify(params));
  }

  /** `fresh`, here and below: an id as the server says it. */
  find(fresh: unknown): Open | undefined {
    return typeof fresh === "number" ? this.#open.get(fresh) : undefined;
  }

  /** Who made up a token, and how they wrote it. */
  findToken(token: unknown): { port: Port; text: string } | undefined {
    return typeof token === "string" ? this.#tokens.get(token) : undefined;
  }

  /** It is answered, or will never be. */
  take(fresh: unknown): Open | undefined {
    const open = this.find(fresh);
    if (open === undefined) return undefined;
    this.#open.delete(fresh as number);
    open.port?.open.delete(open.id);
    if (open.token !== undefined) this.#tokens.delete(open.token);
    return open;
  }

  /** Nobody waits for what this session asked: the ids under which the server knows it. */
  leave(port: Port): number[] {
    const left = [...port.open.values()];
    for (const fresh of left) this.take(fresh);
    for (const [token, owner] of this.#tokens) if (owner.port === port) this.#tokens.delete(token);
    return left;
  }
}
