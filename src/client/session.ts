/**
 * The client's end of a session: the link, and the connections beneath it. A connection that is lost is dialled again,
 * at once and then with growing pauses, and the session goes on where it was.
 */
import { Failure } from "../errors.ts";
import { signProof } from "../identity/proof.ts";
import { publicUrl } from "../identity/url.ts";
import { backoff } from "../link/backoff.ts";
import { type Connection, dial } from "../link/dial.ts";
import { LINK_VERSION } from "../link/frame.ts";
import { type CloseReason, Link } from "../link/link.ts";
import { beforeLink, CLIENT_PATH, parseMessage } from "../link/protocol.ts";
import type { Log } from "../log.ts";
import { VERSION } from "../version.ts";
import { loginCommand, type Profile } from "./state.ts";

export interface ClientSessionOptions {
  profile: Profile;
  app: string;
  log: Log;
  onData(bytes: Uint8Array): void | Promise<void>;
  onEnd(): void;
  /** The session is over, for whichever reason; nothing comes after it. */
  onClose(reason: CloseReason): void;
}

/** With nothing heard for this long, the other end is asked; and after that long, its connection is given up. */
const ASK_MS = 12_000;
const LOST_MS = 25_000;
const WATCH_MS = 3_000;
/** How long the proxy may take to hear that the session is over. */
const LAST_WORDS_MS = 1_000;
/** As long as agents keep a session whose client is gone, unless they were told otherwise. */
const GIVE_UP_MS = 600_000;
/** Answers after which another try would get the same one. */
const FINAL = new Set([
  "session_gone",
  "not_found",
  "access_denied",
  "conflict",
  "not_logged_in",
  "login_expired",
  "bad_proof",
  "version_skew",
]);

export class ClientSession {
  readonly sid = crypto.randomUUID();
  readonly link: Link;
  readonly #options: ClientSessionOptions;
  readonly #watch: ReturnType<typeof setInterval>;

  constructor(options: ClientSessionOptions) {
    this.#options = options;
    this.link = new Link({
      onData: options.onData,
      onEnd: options.onEnd,
      onClose: (reason) => {
        clearInterval(this.#watch);
        options.onClose(reason);
      },
      onLost: (reason) => void this.#reconnect(reason),
    });
    this.#watch = setInterval(() => this.#checkAlive(), WATCH_MS);
    this.#watch.unref();
  }

  /** The first connection: one try, so that a person who may not connect hears it at once. Fails with the reason. */
  async open(): Promise<void> {
    try {
      await this.#connect();
    } catch (error) {
      clearInterval(this.#watch);
      throw this.#explained(Failure.from(error));
    }
  }

  /** Ends the session for good, and resolves when the other end can be expected to know. */
  async close(message: string): Promise<void> {
    const closed = this.link.attached ? this.#connection?.closed : undefined;
    this.link.close("end", message);
    if (closed !== undefined) await Promise.race([closed, Bun.sleep(LAST_WORDS_MS)]);
  }

  async #connect(): Promise<void> {
    const { profile, app } = this.#options;
    const { trust, key } = profile;
    await dial({
      trust,
      path: CLIENT_PATH,
      answer: async (nonce) => ({
        t: "attach",
        sid: this.sid,
        app,
        link: [LINK_VERSION],
        version: VERSION,
        proof: await signProof({
          key,
          method: "GET",
          url: publicUrl(trust.proxy, CLIENT_PATH),
          nonce,
          claims: { sid: this.sid, app },
        }),
      }),
      onText: (connection, text) => {
        const message = parseMessage(beforeLink, text);
        if (message?.t === "joined") this.#attach(connection);
        else if (message?.t === "refused") this.link.close(message.code, message.message);
        return message?.t === "joined";
      },
      onFrame: (connection, bytes) => this.link.receive(connection, bytes),
      onClose: (connection, reason) => this.link.detach(connection, reason),
    });
  }

  #attach(connection: Connection): void {
    this.#lastAsked = 0;
    this.link.attach(connection);
    this.#connection = connection;
  }

  #connection: Connection | undefined;
  #lastAsked = 0;

  async #reconnect(reason: string): Promise<void> {
    const { log } = this.#options;
    log.warn("connection.lost", { reason });
    const since = performance.now();
    for (let attempt = 0; !this.link.closed; attempt++) {
      const wait = backoff(attempt);
      if (wait > 0) await Bun.sleep(wait);
      if (this.link.closed) return;
      try {
        await this.#connect();
        log.warn("connection.regained", { after_ms: Math.round(performance.now() - since) });
        return;
      } catch (error) {
        const failure = this.#explained(Failure.from(error));
        const tooLate = performance.now() - since > GIVE_UP_MS;
        if (!FINAL.has(failure.code) && !tooLate) continue;
        const hint = failure.hint === undefined ? "" : `; ${failure.hint}`;
        this.link.close(failure.code, `${failure.message}${hint}`);
      }
    }
  }

  /** A peer that is gone without a word, or a machine that slept: TCP may say nothing for a quarter of an hour. */
  #checkAlive(): void {
    const connection = this.#connection;
    if (connection === undefined || !this.link.attached) return;
    const silent = performance.now() - this.link.lastHeard;
    if (silent > LOST_MS) this.link.detach(connection, "the other end is silent");
    else if (silent > ASK_MS && performance.now() - this.#lastAsked > ASK_MS) {
      this.#lastAsked = performance.now();
      this.link.ping();
    }
  }

  #explained(failure: Failure): Failure {
    if (failure.code !== "not_logged_in" && failure.code !== "login_expired") return failure;
    return new Failure(failure.code, failure.message, { hint: loginCommand(this.#options.profile) });
  }
}
