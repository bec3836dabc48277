/**
 * The client's end of a session: the link, and the connections beneath it. A connection that is lost is dialled again,
 * at once and then with growing pauses, and the session goes on where it was. Every connection is made with the login
 * as it is saved at that moment: one that expired is a pause until the user has logged in again.
 */
import { formatHostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { signProof } from "../identity/proof.ts";
import { publicUrl } from "../identity/url.ts";
import { backoff } from "../link/backoff.ts";
import { type Connection, dial } from "../link/dial.ts";
import { LINK_VERSIONS } from "../link/frame.ts";
import { KeepAlive, WATCH_MS } from "../link/keep-alive.ts";
import { Link } from "../link/link.ts";
import { CLIENT_PATH, parseMessage } from "../link/protocol.ts";
import { beforeLink } from "../link/session-messages.ts";
import type { Log } from "../log.ts";
import { VERSION } from "../version.ts";
import type { BridgeSession, Pause, SessionEvents } from "./bridge-session.ts";
import { loginCommand, type Profile } from "./state.ts";

export interface ClientSessionOptions extends SessionEvents {
  /** The saved login, as it is now. */
  profile(): Promise<Profile>;
  app: string;
  log: Log;
}

/** How long the proxy may take to hear that the session is over. */
const LAST_WORDS_MS = 1_000;
/** How long agents keep a session whose client is gone, for one that did not say. */
const RESUME_WINDOW_MS = 600_000;
/** The longest pause between two tries. The proxy holds a try for a while itself, where it waits for an agent. */
const RETRY_MS = 2_000;
/** How often to look for a new login, and how often to try the old one: an admin may have mended it. */
const LOGIN_POLL_MS = 500;
const LOGIN_RETRY_MS = 30_000;
/** What is said beside the frames is small, and nothing depends on it. */
const MAX_UNTOLD = 1024;
/** Answers after which another try would get the same one. */
const FINAL = new Set([
  "session_gone",
  "not_found",
  "access_denied",
  "conflict",
  "bad_proof",
  "version_skew",
  "locked",
]);
const NEEDS_LOGIN = new Set(["not_logged_in", "login_expired"]);

export class ClientSession implements BridgeSession {
  readonly sid = crypto.randomUUID();
  readonly #link: Link;
  readonly #options: ClientSessionOptions;
  readonly #watch: ReturnType<typeof setInterval>;
  /** Whose session it is, from the first connection on. */
  #owner: Profile | undefined;
  /** The login of the last try. */
  #profile: Profile | undefined;
  #connection: Connection | undefined;
  readonly #keepAlive = new KeepAlive();
  #pause: Pause | undefined;
  #resumeWindowMs = RESUME_WINDOW_MS;
  /** Said while there was no connection. */
  readonly #untold: object[] = [];

  constructor(options: ClientSessionOptions) {
    this.#options = options;
    this.#link = new Link({
      onData: (bytes) => options.onData(bytes),
      // The agent closes the session as soon as it knows that all of it arrived.
      onEnd: () => options.onEnd(),
      onClose: (reason) => {
        clearInterval(this.#watch);
        options.onClose(reason);
      },
      onLost: (reason) => void this.#reconnect(reason),
    });
    this.#watch = setInterval(() => this.#checkAlive(), WATCH_MS);
    this.#watch.unref();
  }

  get pause(): Pause | undefined {
    return this.#pause;
  }

  get resumeWindowMs(): number {
    return this.#resumeWindowMs;
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

  write(bytes: Uint8Array): boolean {
    return this.#link.write(bytes);
  }

  drained(): Promise<void> {
    return this.#link.drained();
  }

  end(): void {
    this.#link.end();
  }

  /** A word to the proxy beside the frames: now, or on the next connection. What a connection takes with it is not said again. */
  tell(message: object): void {
    if (this.#link.attached) this.#connection?.sendText(message);
    else if (this.#untold.length < MAX_UNTOLD) this.#untold.push(message);
  }

  async close(message: string, code = "end"): Promise<void> {
    const closed = this.#link.attached ? this.#connection?.closed : undefined;
    this.#link.close(code, message);
    if (closed !== undefined) await Promise.race([closed, Bun.sleep(LAST_WORDS_MS)]);
  }

  async #connect(): Promise<void> {
    const { app } = this.#options;
    const profile = await this.#options.profile();
    this.#profile = profile;
    this.#owner ??= profile;
    if (!isSame(this.#owner, profile)) {
      throw new Failure("session_gone", "you are logged in as another user, or to another proxy, since it began");
    }
    const { trust, key } = profile;
    await dial({
      trust,
      path: CLIENT_PATH,
      answer: async (nonce) => ({
        t: "attach",
        sid: this.sid,
        app,
        link: [...LINK_VERSIONS],
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
        if (message?.t === "joined") {
          if (LINK_VERSIONS.includes(message.link)) this.#attach(connection, message.resume_window);
          else this.#link.close("version_skew", `the agent chose link version ${message.link}, which nobody offered`);
        } else if (message?.t === "refused") this.#link.close(message.code, message.message);
        return message?.t === "joined";
      },
      onFrame: (connection, bytes) => this.#link.receive(connection, bytes),
      onClose: (connection, reason) => this.#link.detach(connection, reason),
    });
  }

  #attach(connection: Connection, resumeWindow: number | undefined): void {
    if (resumeWindow !== undefined) this.#resumeWindowMs = resumeWindow * 1000;
    this.#keepAlive.reset();
    this.#connection = connection;
    for (const message of this.#untold.splice(0)) connection.sendText(message);
    this.#link.attach(connection);
    if (this.#pause === undefined) return;
    const lostFor = Math.round(performance.now() - this.#pause.since);
    this.#pause = undefined;
    this.#options.log.warn("connection.regained", { after_ms: lostFor });
  }

  async #reconnect(reason: string): Promise<void> {
    const { log, onPause } = this.#options;
    log.warn("connection.lost", { reason });
    const pause: Pause = { since: performance.now(), failure: undefined, login: false };
    this.#pause = pause;
    onPause();
    for (let attempt = 0; !this.#link.closed; attempt++) {
      const wait = backoff(attempt, RETRY_MS);
      if (wait > 0) await Bun.sleep(wait);
      if (this.#link.closed) return;
      try {
        await this.#connect();
        return;
      } catch (error) {
        const failure = this.#explained(Failure.from(error));
        if (FINAL.has(failure.code)) {
          const hint = failure.hint === undefined ? "" : `; ${failure.hint}`;
          this.#link.close(failure.code, `${failure.message}${hint}`);
          return;
        }
        const needsLogin = NEEDS_LOGIN.has(failure.code);
        if (needsLogin && !pause.login) log.warn("login.needed", { reason: failure.message, hint: failure.hint });
        pause.failure = failure;
        pause.login = needsLogin;
        if (needsLogin) {
          await this.#newLogin();
          attempt = -1;
        }
      }
    }
  }

  /** Resolves when another login was saved, or the old one may be tried again. */
  async #newLogin(): Promise<void> {
    const refused = this.#profile?.key.jkt;
    const until = performance.now() + LOGIN_RETRY_MS;
    while (!this.#link.closed && performance.now() < until) {
      await Bun.sleep(LOGIN_POLL_MS);
      const saved = await this.#options.profile().catch(() => undefined);
      if (saved !== undefined && saved.key.jkt !== refused) return;
    }
  }

  /** A peer that is gone without a word, or a machine that slept: TCP may say nothing for a quarter of an hour. */
  #checkAlive(): void {
    const connection = this.#connection;
    if (connection === undefined || !this.#link.attached) return;
    const verdict = this.#keepAlive.look(performance.now(), this.#link.lastHeard);
    if (verdict === "lost") this.#link.detach(connection, "the other end is silent");
    else if (verdict === "ask") this.#link.ping();
  }

  #explained(failure: Failure): Failure {
    const profile = this.#owner ?? this.#profile;
    if (!NEEDS_LOGIN.has(failure.code) || profile === undefined) return failure;
    return new Failure(failure.code, failure.message, { hint: loginCommand(profile) });
  }
}

/** A session is one user's at one proxy: to anybody else its id means nothing, or somebody else's session. */
const isSame = (a: Profile, b: Profile): boolean =>
  a.user === b.user && formatHostPort(a.trust.proxy) === formatHostPort(b.trust.proxy);
