/**
 * Several sessions and one server, which believes that it has one client. Ids, progress tokens, cancellations,
 * subscriptions and tasks are kept apart; every other byte stays as it came. Pure: lines in, lines out.
 *
 * The server is told of no client capabilities, so that it has nothing to ask; what it asks nevertheless gets an error.
 * What it tells unasked goes to whom it is about. That a list has changed is about all. Log messages (below 2026-07-28 they
 * name no request) go to all sessions of one person, each with its own level; where several people share the server, and
 * for whatever else can't be attributed, they go to nobody.
 */
import { isBatch, splitBatch } from "../mcp/batch.ts";
import { decode } from "../mcp/codec.ts";
import { encodeError, encodeNotification, encodeRequest, encodeResult } from "../mcp/encode.ts";
import { BAD_SERVER_ANSWER, Fault, INVALID_PARAMS, METHOD_NOT_FOUND } from "../mcp/fault.ts";
import { guessAtEdges } from "../mcp/id.ts";
import type { Line } from "../mcp/lines.ts";
import { memberAt, textAt, withText } from "../mcp/members.ts";
import {
  DEFAULT_CODEC_LIMITS,
  type Id,
  type Invalid,
  idKey,
  type Message,
  type Notification,
  type Request,
  type Response,
} from "../mcp/message.ts";
import { SUBSCRIPTION_ID } from "../mcp/params.ts";
import { Lookalikes } from "../mcp/view.ts";
import { VERSION } from "../version.ts";
import { Port, wantedLevel } from "./multiplex-port.ts";

export interface MultiplexOptions {
  /** Whether all sessions are one person's. */
  onePerson: boolean;
  /** Makes what no session can guess. */
  random?: () => string;
}

/** What to write, in this order. */
export interface Routed {
  toServer: Uint8Array[];
  toPorts: { port: Port; bytes: Uint8Array }[];
  /** Lines of the server that are no messages. */
  junk: string[];
  /** The handshake was refused. */
  refused?: true;
  /** The server's answer when it doesn't know `server/discover`: that it is of the era before. */
  unknown?: Uint8Array;
}

/** A request on its way through the server. */
interface Open {
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

const TOKEN = ["params", "_meta", "progressToken"] as const;
const PROGRESS_TOKEN = ["params", "progressToken"] as const;
const REQUEST_ID = ["params", "requestId"] as const;
const LEVEL = ["params", "level"] as const;
const SUBSCRIPTION = ["params", "_meta", SUBSCRIPTION_ID] as const;
const TASK_KEYS = new Lookalikes(["taskId"]);
/** A server of 2026-07-28 that speaks another revision of that era. */
const UNSUPPORTED_VERSION = -32022;
/** Of a client; about what a server of several clients is not told. */
const NOT_FOR_SHARED = new Set([
  "notifications/initialized",
  "notifications/progress",
  "notifications/roots/list_changed",
  "notifications/tasks/status",
]);
const LIST_CHANGES = new Set(["tools", "prompts", "resources"].map((list) => `notifications/${list}/list_changed`));

const CLIENT_INFO = { name: "mcpgate", version: VERSION };

/** With the handshake. */
const REVISIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/** The revision that a handshake is done with: where the client wants one that nobody knows, servers offer their last. */
export const handshakeRevision = (wanted: unknown): string => REVISIONS.find((each) => each === wanted) ?? "2025-11-25";

/** What each request says where there is no handshake. */
const STATELESS = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientCapabilities": {},
  "io.modelcontextprotocol/clientInfo": CLIENT_INFO,
};

const nothing = (): Routed => ({ toServer: [], toPorts: [], junk: [] });

export class Multiplex {
  readonly #onePerson: boolean;
  readonly #random: () => string;
  readonly #ports = new Set<Port>();
  #count = 0;
  /** By the id that the server sees. */
  readonly #open = new Map<number, Open>();
  /** By the token that the server sees. */
  readonly #tokens = new Map<string, { port: Port; text: string }>();
  readonly #tasks = new Map<string, Port>();
  /** The one handshake: who waits for its answer, and the answer. */
  #waiting: { port: Port; id: Id; idText: string }[] | undefined;
  #initialized: Uint8Array | undefined;
  #revision: unknown;
  #answered = false;

  constructor({ onePerson, random = () => crypto.randomUUID() }: MultiplexOptions) {
    this.#onePerson = onePerson;
    this.#random = random;
  }

  /** Sessions that are there. */
  get size(): number {
    return this.#ports.size;
  }

  /** Whether the server has answered anything yet. */
  get answered(): boolean {
    return this.#answered;
  }

  /** Whether the session waits for the server, be it for the handshake. */
  waits(port: Port): boolean {
    return port.open.size > 0 || this.#waiting?.some((each) => each.port === port) === true;
  }

  open(): Port {
    const port = new Port();
    this.#ports.add(port);
    return port;
  }

  /** The session is gone: what it asked is cancelled, and what only it had the server do is taken back. */
  close(port: Port): Routed {
    const step = nothing();
    if (!this.#ports.has(port)) return step;
    const before = wantedLevel(this.#ports);
    this.#ports.delete(port);
    this.#waiting = this.#waiting?.filter((each) => each.port !== port);
    for (const fresh of port.open.values()) {
      this.#forget(fresh);
      const params = { requestId: fresh, reason: "the session ended" };
      step.toServer.push(encodeNotification("notifications/cancelled", params));
    }
    for (const [token, owner] of this.#tokens) if (owner.port === port) this.#tokens.delete(token);
    for (const [task, owner] of this.#tasks) if (owner === port) this.#tasks.delete(task);
    for (const uri of port.subscriptions.keys()) {
      if (!this.#isSubscribed(uri)) step.toServer.push(this.#ask("resources/unsubscribe", { uri }));
    }
    const after = wantedLevel(this.#ports);
    if (this.#initialized !== undefined && after !== undefined && after !== before) {
      step.toServer.push(this.#ask("logging/setLevel", { level: after }));
    }
    return step;
  }

  /** A request that any server answers, if only with an error, and that changes nothing; undefined where there is none. */
  probe(modern: boolean): Uint8Array | undefined {
    if (this.#initialized !== undefined) return this.#ask("ping", {});
    // The one that leaves open which era a server is in: a ping would decide it for some.
    return modern ? this.#ask("server/discover", { _meta: STATELESS }) : undefined;
  }

  // --- from a session ---

  /** What a session's client said, and its gate let through. */
  fromPort(port: Port, message: Message): Routed {
    const step = nothing();
    if (!this.#ports.has(port)) return step;
    if (message.kind === "request") this.#request(port, message, step);
    else if (message.kind === "notification") this.#tell(port, message, step);
    return step;
  }

  #request(port: Port, message: Request, step: Routed): void {
    const { method, target, bytes } = message;
    port.noteLevel(message);
    switch (method) {
      case "initialize":
        this.#initialize(port, message, step);
        return;
      case "logging/setLevel": {
        const known = port.setLevel(memberAt(bytes, LEVEL));
        const wanted = JSON.stringify(wantedLevel(this.#ports));
        step.toServer.push(this.#forward(port, message, known ? withText(bytes, LEVEL, wanted) : bytes));
        return;
      }
      case "resources/subscribe":
        if (target.kind === "resource") port.subscribe(target.uri);
        break;
      case "resources/unsubscribe":
        if (target.kind === "resource") {
          port.unsubscribe(target.uri);
          // Somebody else still wants to hear of it.
          if (this.#isSubscribed(target.uri)) {
            step.toPorts.push({ port, bytes: encodeResult(textAt(bytes, ["id"]) ?? "null", "{}") });
            return;
          }
        }
        break;
      default:
        if (method.startsWith("tasks/") && !this.#isOwnTask(port, message)) {
          const text = "no such task of this session, and the server is shared";
          step.toPorts.push({ port, bytes: encodeError(message.id, INVALID_PARAMS, text) });
          return;
        }
    }
    step.toServer.push(this.#forward(port, message));
  }

  /** The first session's is done, in our own name; later ones get its answer. */
  #initialize(port: Port, { id, bytes }: Request, step: Routed): void {
    port.initialized = false;
    const idText = textAt(bytes, ["id"]) ?? JSON.stringify(id);
    if (this.#initialized !== undefined) {
      step.toPorts.push({ port, bytes: withText(this.#initialized, ["id"], idText) });
      return;
    }
    if (this.#waiting !== undefined) {
      this.#waiting.push({ port, id, idText });
      return;
    }
    this.#waiting = [{ port, id, idText }];
    const params = {
      protocolVersion: handshakeRevision(memberAt(bytes, ["params", "protocolVersion"])),
      capabilities: {},
      clientInfo: CLIENT_INFO,
    };
    step.toServer.push(this.#ask("initialize", params));
  }

  #forward(port: Port, { id, method, bytes, target, params }: Request, line = bytes): Uint8Array {
    const fresh = ++this.#count;
    const text = params === undefined || params.find("_meta") === -1 ? undefined : textAt(bytes, TOKEN);
    const token = text === undefined ? undefined : `mcpgate-${this.#random()}`;
    if (token !== undefined && text !== undefined) this.#tokens.set(token, { port, text });
    const idText = textAt(bytes, ["id"]) ?? JSON.stringify(id);
    const uri = method === "resources/subscribe" && target.kind === "resource" ? target.uri : undefined;
    this.#open.set(fresh, { port, id, idText, method, token, uri });
    port.open.set(idKey(id), fresh);
    const named = withText(line, ["id"], String(fresh));
    return token === undefined ? named : withText(named, TOKEN, JSON.stringify(token));
  }

  /** A request of our own. */
  #ask(method: string, params: object): Uint8Array {
    const fresh = ++this.#count;
    const none = { port: undefined, token: undefined, uri: undefined };
    this.#open.set(fresh, { ...none, id: fresh, idText: String(fresh), method });
    return encodeRequest(fresh, method, JSON.stringify(params));
  }

  #tell(port: Port, { method, target, bytes }: Notification, step: Routed): void {
    if (method === "notifications/initialized") port.initialized = true;
    if (NOT_FOR_SHARED.has(method)) return;
    if (target.kind !== "cancelled") {
      step.toServer.push(bytes);
      return;
    }
    // The request stays open: its answer may be under way, and the gate knows what to do with it.
    const fresh = target.id === undefined ? undefined : port.open.get(idKey(target.id));
    if (fresh !== undefined) step.toServer.push(withText(bytes, REQUEST_ID, String(fresh)));
  }

  #isOwnTask(port: Port, { bytes, params }: Request): boolean {
    try {
      params?.refuseLookalikes(TASK_KEYS);
    } catch (fault) {
      if (fault instanceof Fault) return false;
      throw fault;
    }
    const task = memberAt(bytes, ["params", "taskId"]);
    return typeof task === "string" && this.#tasks.get(task) === port;
  }

  #isSubscribed(uri: string): boolean {
    for (const port of this.#ports) if (port.subscriptions.has(uri)) return true;
    return false;
  }

  #forget(fresh: number): Open | undefined {
    const open = this.#open.get(fresh);
    if (open === undefined) return undefined;
    this.#open.delete(fresh);
    open.port?.open.delete(idKey(open.id));
    if (open.token !== undefined) this.#tokens.delete(open.token);
    return open;
  }

  // --- from the server ---

  fromServer(line: Line): Routed {
    const step = nothing();
    if (!("bytes" in line)) {
      const reason = line.crowded
        ? `no room for a line of ${line.overflow} bytes: too many large messages are under way, try again later`
        : `the line is longer than ${DEFAULT_CODEC_LIMITS.maxBytes} bytes`;
      const guess = guessAtEdges(line.head, line.tail);
      this.#refuse({ kind: "invalid", code: BAD_SERVER_ANSWER, reason, ...guess, blank: false }, step);
    } else if (this.#revision === "2025-03-26" && isBatch(line.bytes)) {
      const lines = splitBatch(line.bytes, DEFAULT_CODEC_LIMITS);
      if (Array.isArray(lines)) for (const own of lines) this.#read(own, step);
      else this.#refuse(lines, step);
    } else {
      this.#read(line.bytes, step);
    }
    return step;
  }

  #read(bytes: Uint8Array, step: Routed): void {
    const message = decode(bytes);
    switch (message.kind) {
      case "response":
        this.#answer(message, step);
        break;
      case "notification":
        this.#notify(message, step);
        break;
      case "request":
        step.toServer.push(
          message.method === "ping"
            ? encodeResult(textAt(message.bytes, ["id"]) ?? "null", "{}")
            : encodeError(message.id, METHOD_NOT_FOUND, "mcpgate: the server is shared, so there is nobody to ask"),
        );
        break;
      case "invalid":
        this.#refuse(message, step);
    }
  }

  /** Whoever waits for the answer that it may have been gets an error. */
  #refuse({ id, shape, code, reason, blank }: Invalid, step: Routed): void {
    if (blank) return;
    step.junk.push(reason);
    if (id === undefined) return;
    if (shape === "request") step.toServer.push(encodeError(id, code, `mcpgate: ${reason}`));
    const open = shape === "response" && typeof id === "number" ? this.#forget(id) : undefined;
    if (open === undefined) return;
    const text = `the server's answer can't be forwarded: ${reason}`;
    const to = open.method === "initialize" ? this.#takeWaiting() : [open];
    for (const each of to) {
      if (each.port === undefined) continue;
      step.toPorts.push({ port: each.port, bytes: encodeError(each.id, BAD_SERVER_ANSWER, text) });
    }
  }

  #answer(message: Response, step: Routed): void {
    const { id, ok, bytes } = message;
    this.#answered = true;
    const open = typeof id === "number" ? this.#forget(id) : undefined;
    if (open === undefined) return;
    const { port, idText, method, uri } = open;
    if (method === "initialize" && port === undefined) {
      this.#introduced(message, step);
      return;
    }
    if (port === undefined) return;
    if (!ok && uri !== undefined) port.unsubscribe(uri);
    if (!ok && method === "server/discover" && memberAt(bytes, ["error", "code"]) !== UNSUPPORTED_VERSION) {
      step.unknown = bytes;
    }
    if (ok) this.#noteTask(port, message);
    step.toPorts.push({ port, bytes: withText(bytes, ["id"], idText) });
  }

  #introduced({ ok, bytes }: Response, step: Routed): void {
    if (ok) {
      this.#initialized = bytes;
      this.#revision = memberAt(bytes, ["result", "protocolVersion"]);
      step.toServer.push(encodeNotification("notifications/initialized"));
    } else {
      step.refused = true;
    }
    for (const { port, idText } of this.#takeWaiting()) {
      step.toPorts.push({ port, bytes: withText(bytes, ["id"], idText) });
    }
  }

  #takeWaiting(): { port: Port; id: Id; idText: string }[] {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    return waiting;
  }

  /** A task (2025-11-25) belongs to the session whose request became one. */
  #noteTask(port: Port, { body, bytes }: Response): void {
    const nested = body.find("task") !== -1;
    if (!nested && body.find("taskId") === -1) return;
    const task = memberAt(bytes, nested ? ["result", "task", "taskId"] : ["result", "taskId"]);
    if (typeof task === "string" && !this.#tasks.has(task)) this.#tasks.set(task, port);
  }

  #notify({ method, target, params, bytes }: Notification, step: Routed): void {
    const to = (port: Port, line = bytes): void => void step.toPorts.push({ port, bytes: line });
    const subscription = params === undefined ? undefined : memberAt(bytes, SUBSCRIPTION);
    if (subscription !== undefined) {
      const open = typeof subscription === "number" ? this.#open.get(subscription) : undefined;
      if (open?.port !== undefined) to(open.port, withText(bytes, SUBSCRIPTION, open.idText));
      return;
    }
    if (LIST_CHANGES.has(method)) {
      for (const port of this.#ports) if (port.initialized || this.#initialized === undefined) to(port);
      return;
    }
    if (target.kind === "resource") {
      for (const port of this.#ports) if (port.hearsOf(target.uri)) to(port);
      return;
    }
    switch (method) {
      case "notifications/progress": {
        const token = memberAt(bytes, PROGRESS_TOKEN);
        const owner = typeof token === "string" ? this.#tokens.get(token) : undefined;
        if (owner !== undefined) to(owner.port, withText(bytes, PROGRESS_TOKEN, owner.text));
        return;
      }
      case "notifications/cancelled": {
        // A server ends a subscription so (2026-07-28).
        const fresh = target.kind === "cancelled" && typeof target.id === "number" ? target.id : undefined;
        if (fresh === undefined || this.#open.get(fresh)?.method !== "subscriptions/listen") return;
        const open = this.#forget(fresh);
        if (open?.port !== undefined) to(open.port, withText(bytes, REQUEST_ID, open.idText));
        return;
      }
      case "notifications/tasks/status": {
        const task = memberAt(bytes, ["params", "taskId"]);
        const owner = typeof task === "string" ? this.#tasks.get(task) : undefined;
        if (owner !== undefined) to(owner);
        return;
      }
      case "notifications/message": {
        if (!this.#onePerson) return;
        const level = memberAt(bytes, LEVEL);
        for (const port of this.#ports) if (port.wants(level, this.#initialized !== undefined)) to(port);
      }
    }
  }
}
