/**
 * Dials the proxy's WebSocket and answers its challenge. Client and agent both open every connection this way; what
 * the proxy accepts afterwards depends on the path.
 */

import { formatHostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { publicUrl } from "../identity/url.ts";
import { MIN_CLIENT_VERSION } from "../version.ts";
import type { Carrier } from "./carrier.ts";
import { MAX_FRAME } from "./frame.ts";
import { challenge, HANDSHAKE_TIMEOUT_MS, MAX_TEXT, parseMessage, refused } from "./protocol.ts";
import { connectionFailure, type Trust, tlsOptions } from "./trust.ts";

export interface Connection extends Carrier {
  /** An object goes as its JSON. */
  sendText(message: object | string): void;
  readonly open: boolean;
  /** Resolves when the socket is closed for good: what was sent before `close` is on its way then. */
  readonly closed: Promise<void>;
}

export interface DialOptions {
  trust: Trust;
  path: string;
  /** The first message to send: it holds a proof of possession over the nonce. */
  answer(nonce: string): Promise<object>;
  /** Each text message after the challenge. `true`: this is the one that ends the handshake, and the dial resolves. */
  onText(connection: Connection, message: string): boolean;
  onFrame?(connection: Connection, bytes: Uint8Array): void;
  /** Once, after the handshake ended. */
  onClose(connection: Connection, reason: string): void;
}

/** Fails with `unreachable`, `tls`, `timeout`, or with what the proxy refused it with. */
export function dial(options: DialOptions): Promise<Connection> {
  const { trust } = options;
  const name = formatHostPort(trust.proxy);
  const { promise, resolve, reject } = Promise.withResolvers<Connection>();
  const url = publicUrl(trust.proxy, options.path);
  const socket = new WebSocket(url.replace(/^http/, "ws"), {
    tls: tlsOptions(trust),
    perMessageDeflate: false,
    ...environmentProxy(url, process.env),
  } as Bun.WebSocketOptions);
  socket.binaryType = "nodebuffer";
  let state: "dialling" | "challenged" | "open" | "closed" = "dialling";
  const closed = Promise.withResolvers<void>();

  const connection: Connection = {
    closed: closed.promise,
    get open() {
      return state === "open";
    },
    send(frame) {
      if (socket.readyState === WebSocket.OPEN) socket.send(frame);
    },
    sendText(message) {
      if (socket.readyState === WebSocket.OPEN)
        socket.send(typeof message === "string" ? message : JSON.stringify(message));
    },
    close(reason) {
      if (socket.readyState === WebSocket.OPEN) socket.close(1000, reason.slice(0, 100));
      else socket.terminate();
      // A peer that is gone without a word never answers the close, and the socket would linger.
      const timer = setTimeout(() => socket.terminate(), 2_000);
      timer.unref();
      ended(reason);
    },
  };
  const ended = (reason: string) => {
    if (state === "closed") return;
    const was = state;
    state = "closed";
    clearTimeout(timeout);
    if (was === "open") options.onClose(connection, reason);
    else reject(new Failure("unreachable", `the proxy ${name} closed the connection: ${reason}`));
  };
  const fail = (failure: Failure) => {
    if (state === "open") return;
    state = "closed";
    clearTimeout(timeout);
    reject(failure);
    socket.terminate();
  };
  const timeout = setTimeout(
    () => fail(new Failure("timeout", `the proxy ${name} did not answer within ${HANDSHAKE_TIMEOUT_MS / 1000} s`)),
    HANDSHAKE_TIMEOUT_MS,
  );

  socket.onmessage = ({ data }: MessageEvent<string | Buffer>) => {
    if (state === "closed") return;
    if (typeof data !== "string") {
      if (state === "open" && data.length <= MAX_FRAME) options.onFrame?.(connection, data);
      return;
    }
    if (data.length > MAX_TEXT) return;
    if (state === "dialling") {
      const asked = parseMessage(challenge, data);
      if (asked === undefined)
        return fail(
          new Failure(
            "unreachable",
            `${name} is no mcpgate proxy that this version knows (${MIN_CLIENT_VERSION} or later)`,
          ),
        );
      state = "challenged";
      options.answer(asked.nonce).then(
        (message) => connection.sendText(message),
        (error: unknown) => fail(Failure.from(error)),
      );
      return;
    }
    const no = state === "challenged" ? parseMessage(refused, data) : undefined;
    if (no !== undefined) return fail(Failure.fromJSON(no, "unavailable"));
    if (options.onText(connection, data) && state === "challenged") {
      state = "open";
      clearTimeout(timeout);
      resolve(connection);
    }
  };
  socket.onerror = (event) => {
    const message = "message" in event && typeof event.message === "string" ? event.message : "connection failed";
    if (state === "dialling") fail(connectionFailure(trust.proxy, new Error(message)));
  };
  socket.onclose = (event) => {
    closed.resolve();
    ended(event.reason || `code ${event.code}`);
  };
  return promise;
}

/** HTTPS_PROXY and NO_PROXY, which `fetch` honours by itself and WebSocket does not. */
export function environmentProxy(url: string, env: Record<string, string | undefined>): { proxy?: string } {
  const { hostname, port } = new URL(url);
  const proxy = env.HTTPS_PROXY || env.https_proxy || env.ALL_PROXY || env.all_proxy;
  if (!proxy) return {};
  const host = hostname.replace(/^\[|\]$/g, "").toLowerCase();
  const except = (env.NO_PROXY || env.no_proxy || "").split(",").map((entry) => entry.trim().toLowerCase());
  for (const entry of except) {
    if (entry === "*") return {};
    if (entry === "") continue;
    const bare = entry.replace(/^\*?\./, "");
    if (host === bare || `${host}:${port || "443"}` === bare || host.endsWith(`.${bare}`)) return {};
  }
  return { proxy };
}
