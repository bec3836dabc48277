/** A bridge between an MCP client and servers that the test plays, line by line, with a clock that it sets. */
import { Bridge } from "../../src/client/bridge.ts";
import type { BridgeSession, Pause, SessionEvents } from "../../src/client/bridge-session.ts";
import type { Failure } from "../../src/errors.ts";
import type { CloseReason } from "../../src/link/link.ts";
import type { LogFields } from "../../src/log.ts";

export type Json = Record<string, unknown>;

export class FakeSession implements BridgeSession {
  readonly events: SessionEvents;
  /** What the server got. */
  readonly received: Json[] = [];
  readonly opened = Promise.withResolvers<void>();
  pause: Pause | undefined;
  resumeWindowMs = 600_000;
  ended = false;
  room = true;
  closedWith: CloseReason | undefined;
  #got: (() => void)[] = [];

  constructor(events: SessionEvents) {
    this.events = events;
  }

  open(): Promise<void> {
    return this.opened.promise;
  }

  write(bytes: Uint8Array): boolean {
    this.received.push(JSON.parse(new TextDecoder().decode(bytes)));
    for (const each of this.#got.splice(0)) each();
    return this.room;
  }

  drained(): Promise<void> {
    return new Promise(() => {});
  }

  end(): void {
    this.ended = true;
  }

  async close(message: string, code = "end"): Promise<void> {
    if (this.closedWith !== undefined) return;
    this.closedWith = { code, message, by: "self" };
    this.events.onClose(this.closedWith);
  }

  /** The server, or the link, is gone. */
  die(message: string, code = "session_gone"): void {
    this.closedWith = { code, message, by: "peer" };
    this.events.onClose(this.closedWith);
  }

  /** The server says this. */
  say(...messages: Json[]): void {
    const lines = messages.map((message) => `${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`).join("");
    void this.events.onData(new TextEncoder().encode(lines));
  }

  /** Resolves with the message number `count` that the server got. */
  async got(count: number): Promise<Json> {
    while (this.received.length < count) await new Promise<void>((resolve) => this.#got.push(resolve));
    return this.received[count - 1] as Json;
  }

  lose(since: number, failure?: Failure, login = false): void {
    this.pause = { since, failure, login };
    this.events.onPause();
  }
}

export class Scene {
  readonly sessions: FakeSession[] = [];
  /** What the MCP client got. */
  readonly shown: Json[] = [];
  readonly logged: [string, LogFields | undefined][] = [];
  readonly bridge: Bridge;
  clock = 0;
  /** Called whenever the MCP client is given something. */
  onShown = (): void => {};
  #tick: (() => void) | undefined;

  constructor() {
    const log = (event: string, fields?: LogFields) => void this.logged.push([event, fields]);
    const logs = { debug: log, info: log, warn: log, error: log, child: () => logs };
    this.bridge = new Bridge({
      app: "app",
      log: logs,
      session: (events) => {
        const session = new FakeSession(events);
        this.sessions.push(session);
        return session;
      },
      write: async (bytes) => {
        this.onShown();
        for (const line of new TextDecoder().decode(bytes).trimEnd().split("\n")) this.shown.push(JSON.parse(line));
      },
      now: () => this.clock,
      every: (tick) => {
        this.#tick = tick;
        return () => {
          this.#tick = undefined;
        };
      },
    });
  }

  get session(): FakeSession {
    return this.sessions.at(-1) as FakeSession;
  }

  get ticking(): boolean {
    return this.#tick !== undefined;
  }

  /** The clock goes on, and the second's tick comes. */
  pass(ms: number): void {
    this.clock += ms;
    this.#tick?.();
  }

  /** The MCP client says this; resolves when the bridge took it. */
  async send(message: Json): Promise<void> {
    const bytes = new TextEncoder().encode(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
    await this.bridge.fromClient({ bytes });
  }

  /** Takes what the MCP client got since the last time. */
  take(): Json[] {
    return this.shown.splice(0);
  }

  /** A session that is open, with its handshake done. */
  async initialize(info: Json = INFO): Promise<void> {
    this.session.opened.resolve();
    await this.send(INITIALIZE);
    this.session.say({ id: 0, result: info });
    await this.send({ method: "notifications/initialized" });
    this.take();
  }

  /** The next session opens, and its server takes the handshake. */
  async answerHandshake(info: Json = INFO): Promise<void> {
    const { session } = this;
    session.opened.resolve();
    const { id } = await session.got(1);
    session.say({ id, result: info });
  }
}

export const INITIALIZE = { id: 0, method: "initialize", params: { protocolVersion: "2025-11-25", capabilities: {} } };
export const INFO = {
  protocolVersion: "2025-11-25",
  capabilities: { tools: { listChanged: true }, logging: {} },
  serverInfo: { name: "server", version: "1" },
};
export const call = (id: number | string, params: Json = {}): Json => ({
  id,
  method: "tools/call",
  params: { name: "t", ...params },
});
