/**
 * `mcpgate client connect NAME`: MCP on stdin and stdout, and nothing else ever on stdout. Whatever goes wrong, it stays
 * an MCP server that answers: the person sees why in the MCP client, not "server disconnected".
 */
import { Failure } from "../errors.ts";
import type { CloseReason } from "../link/link.ts";
import type { Log } from "../log.ts";
import { decode } from "../mcp/codec.ts";
import { encodeError } from "../mcp/encode.ts";
import { CONNECTION_FAILED, OUTCOME_UNKNOWN } from "../mcp/fault.ts";
import { LineSplitter } from "../mcp/lines.ts";
import { DEFAULT_CODEC_LIMITS, type Id, idKey } from "../mcp/message.ts";
import { ClientSession } from "./session.ts";
import { requireProfile } from "./state.ts";

export interface ConnectOptions {
  app: string;
  home: string;
  log: Log;
  stdin?: AsyncIterable<Uint8Array>;
  /** Resolves when the bytes are written: a reader that stops, stops us. */
  write?(bytes: Uint8Array): Promise<void>;
  /** Resolves when we are to stop: SIGTERM is how MCP clients end a server that they have no use for. */
  stopped?: Promise<void>;
}

/** Resolves with the exit code when stdin has ended and the last answer is written, or the session ended by `stopped`. */
export async function runConnect(options: ConnectOptions): Promise<number> {
  const bridge = new Bridge(options, options.write ?? stdoutWriter());
  const stopped = options.stopped?.then(() => bridge.stop());
  await Promise.race([serve(bridge, options), ...(stopped === undefined ? [] : [stopped])]);
  return 0;
}

async function serve(bridge: Bridge, options: ConnectOptions): Promise<void> {
  const lines = new LineSplitter(DEFAULT_CODEC_LIMITS.maxBytes);
  for await (const chunk of options.stdin ?? Bun.stdin.stream()) {
    for (const line of lines.push(chunk)) await bridge.fromClient(line);
  }
  const rest = lines.end();
  if (rest !== undefined) await bridge.fromClient(rest);
  await bridge.end();
}

/** A session that is just opening is given this long, to be closed then. */
const STOP_OPENING_MS = 1_000;

function stdoutWriter(): (bytes: Uint8Array) => Promise<void> {
  const writer = Bun.stdout.writer();
  return async (bytes) => {
    await writer.write(bytes); // `flush` alone hides a disk that is full
    await writer.flush();
  };
}

type State =
  | { is: "opening"; opened: Promise<void> }
  | { is: "open"; session: ClientSession }
  /** `told`: a request was answered with it, so that the next one may try anew. */
  | { is: "closed"; failure: Failure; told: boolean };

class Bridge {
  readonly #options: ConnectOptions;
  readonly #write: (bytes: Uint8Array) => Promise<void>;
  readonly #open = new Map<string, Id>();
  #state: State;
  /** The server was initialized on a session that has ended: only a new handshake can begin another one. */
  #handshaken = false;
  /** A client that asks a thousand times has its log filled once. */
  #logged: string | undefined;
  #finished = Promise.withResolvers<void>();

  constructor(options: ConnectOptions, write: (bytes: Uint8Array) => Promise<void>) {
    this.#options = options;
    this.#write = write;
    this.#state = this.#begin();
  }

  /** One line of the MCP client. Resolves when there is room for the next. */
  async fromClient(line: { bytes: Uint8Array } | { overflow: number }): Promise<void> {
    if ("overflow" in line) {
      await this.#write(
        encodeError(null, -32600, `message of ${line.overflow} bytes: at most ${DEFAULT_CODEC_LIMITS.maxBytes} pass`),
      );
      return;
    }
    const message = decode(line.bytes);
    const request = message.kind === "request" ? message : undefined;
    if (this.#state.is === "closed" && this.#state.told && this.#mayBeginAnew(request?.method)) {
      this.#state = this.#begin();
    }
    const session = await this.#session();
    if (session === undefined) {
      if (request !== undefined) await this.#answerClosed(request.id);
      return;
    }
    if (request !== undefined) {
      this.#open.set(idKey(request.id), request.id);
      if (request.method === "initialize") this.#handshaken = true;
    }
    const { link } = session;
    if (!link.write(line.bytes)) await link.drained();
  }

  /** The MCP client has closed our stdin. */
  async end(): Promise<void> {
    const session = await this.#session();
    if (session === undefined) return;
    session.link.end();
    await this.#finished.promise;
  }

  /** Ends the session now, so that nothing of it stays on the agent's host until its client could have come back. */
  async stop(): Promise<void> {
    const session = await Promise.race([this.#session(), Bun.sleep(STOP_OPENING_MS)]);
    await session?.close("the client was stopped");
  }

  async #session(): Promise<ClientSession | undefined> {
    if (this.#state.is === "opening") await this.#state.opened;
    return this.#state.is === "open" ? this.#state.session : undefined;
  }

  #mayBeginAnew(method: string | undefined): boolean {
    return method === "initialize" || (method !== undefined && !this.#handshaken);
  }

  /** Dials at once, before the first line: the MCP client waits for it. */
  #begin(): State {
    this.#handshaken = false;
    this.#finished = Promise.withResolvers<void>();
    const { app, home, log } = this.#options;
    const lines = new LineSplitter(DEFAULT_CODEC_LIMITS.maxBytes);
    const opened = (async () => {
      try {
        const profile = await requireProfile(home);
        const session: ClientSession = new ClientSession({
          profile,
          app,
          log,
          onData: (bytes) => this.#fromServer(lines, bytes),
          onEnd: () => session.link.close("end", "the server ended"),
          onClose: (reason) => void this.#onClose(session, reason),
        });
        await session.open();
        this.#state = { is: "open", session };
      } catch (error) {
        const failure = Failure.from(error);
        if (failure.message !== this.#logged)
          log.error("connect.failed", { error: failure.message, hint: failure.hint });
        this.#logged = failure.message;
        this.#state = { is: "closed", failure, told: false };
        this.#finished.resolve();
      }
    })();
    return { is: "opening", opened };
  }

  /** Whole lines only: a session that is lost in the middle of one leaves nothing half-written on stdout. */
  #fromServer(lines: LineSplitter, bytes: Uint8Array): Promise<void> | undefined {
    const whole: Uint8Array[] = [];
    for (const line of lines.push(bytes)) {
      if ("overflow" in line) continue; // the agent's gate lets none through
      const message = decode(line.bytes);
      if (message.kind === "response") this.#open.delete(idKey(message.id));
      whole.push(line.bytes);
    }
    if (whole.length === 0) return undefined;
    return this.#write(whole.length === 1 ? (whole[0] as Uint8Array) : Buffer.concat(whole));
  }

  /** Nothing hangs: what is still open gets its error, and says that nobody knows what came of it. */
  async #onClose(session: ClientSession, reason: CloseReason): Promise<void> {
    if (this.#state.is === "open" && this.#state.session !== session) return;
    const { app, log } = this.#options;
    const failure = new Failure("session_gone", `the session with "${app}" has ended: ${reason.message}`, {
      hint: "reconnect the server in your MCP client",
    });
    if (reason.code !== "end") log.error("session.ended", { code: reason.code, reason: reason.message });
    this.#state = { is: "closed", failure, told: true };
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const id of open) {
      const text = `${failure.message}; whether the call took effect is not known`;
      await this.#write(encodeError(id, OUTCOME_UNKNOWN, text, { code: reason.code, outcome: "unknown" }));
    }
    this.#finished.resolve();
  }

  async #answerClosed(id: Id): Promise<void> {
    const state = this.#state;
    if (state.is !== "closed") return;
    state.told = true;
    const { code, message, hint } = state.failure;
    const text = hint === undefined ? `mcpgate: ${message}` : `mcpgate: ${message}; try: ${hint}`;
    await this.#write(encodeError(id, CONNECTION_FAILED, text, { code, ...(hint === undefined ? {} : { hint }) }));
  }
}
