/** The proxy's port: HTTP and WebSockets, under a certificate that may be replaced, until it is drained. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import type { BlockList } from "node:net";
import type { ProxyConfig } from "../config/config.ts";
import { formatHostPort, type HostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { MAX_FRAME } from "../link/frame.ts";
import { MAX_TEXT } from "../link/protocol.ts";
import type { Log } from "../log.ts";
import type { ServerCertificate } from "./certificates.ts";
import { remoteAddress, trustedNetworks } from "./remote.ts";
import { type Endpoint, Socket, type SocketData } from "./socket.ts";
import { Strangers } from "./strangers.ts";

/** A WebSocket's end, or what answers the request. */
export type Route = Endpoint | (() => Response | Promise<Response>);

export class Listener {
  readonly port: number;
  readonly #at: HostPort;
  readonly #log: Log;
  readonly #sockets = new Set<Socket>();
  /** Those that take nothing more, as long as something of them is open. */
  readonly #former = new Set<Bun.Server<SocketData>>();
  #trusted: BlockList;
  #certificate: ServerCertificate;
  #current: Bun.Server<SocketData>;
  #route: ((request: Request, remote: string) => Route) | undefined;

  /** Answers 503 until `serve` says what to do. */
  constructor(proxy: Pick<ProxyConfig, "listen" | "trustedProxies">, certificate: ServerCertificate, log: Log) {
    this.#log = log;
    this.#trusted = trustedNetworks(proxy.trustedProxies);
    this.#certificate = certificate;
    this.#current = this.#listen(proxy.listen, certificate);
    this.port = this.#current.port ?? proxy.listen.port;
    this.#at = { host: proxy.listen.host, port: this.port };
  }

  /** Whether it takes connections. */
  get isOpen(): boolean {
    return !this.#former.has(this.#current);
  }

  serve(route: (request: Request, remote: string) => Route): void {
    this.#route = route;
  }

  /** Addresses and networks whose `X-Forwarded-For` is believed from now on. */
  trust(networks: readonly string[]): void {
    this.#trusted = trustedNetworks(networks);
  }

  /**
   * New connections get this certificate; those that there are stay. Bun's `reload` keeps the old one, so it takes a new
   * listener. Throws `Failure("config")` where certificate and key do not belong together; then the old ones stay.
   */
  replace(certificate: ServerCertificate): void {
    checkPair(certificate);
    this.close();
    try {
      this.#current = this.#listen(this.#at, certificate);
      this.#certificate = certificate;
    } catch (error) {
      this.#current = this.#listen(this.#at, this.#certificate);
      throw error;
    }
  }

  /** Takes no more connections. */
  close(): void {
    const server = this.#current;
    this.#former.add(server);
    // Resolves when the last of its connections is closed, which may be days.
    // Connections without a request are cut, also in mid-handshake.
    void server.stop(false).finally(() => this.#former.delete(server));
  }

  /** Closes the WebSockets with a word, lets requests that are being answered end, for `ms` at the most, and closes the rest. */
  async drain(reason: string, ms: number): Promise<void> {
    for (const socket of [...this.#sockets]) socket.close(reason);
    const servers = [...this.#former];
    await Promise.race([Promise.all(servers.map((server) => server.stop(false))), Bun.sleep(ms)]);
    for (const server of servers) void server.stop(true);
  }

  #listen(at: HostPort, certificate: ServerCertificate): Bun.Server<SocketData> {
    const remote = (request: Request, peer: string) => remoteAddress(peer, request.headers, this.#trusted);
    const route = (request: Request, peer: string) => this.#route?.(request, remote(request, peer));
    return listen({ at, certificate, route, remote, sockets: this.#sockets, log: this.#log });
  }
}

function checkPair({ cert, key }: ServerCertificate): void {
  if (cert === undefined || key === undefined) return;
  const failure = (why: string, cause?: unknown) =>
    new Failure("config", `proxy_service.cert_file and key_file: ${why}`, {
      hint: "write both, the certificate's whole chain and its key",
      cause,
    });
  let fits: boolean;
  try {
    fits = new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
  } catch (error) {
    throw failure((error as Error).message, error);
  }
  if (!fits) throw failure("the key does not belong to the certificate");
}

interface ListenOptions {
  at: HostPort;
  certificate: ServerCertificate;
  route(request: Request, peer: string): Route | undefined;
  /** Where a WebSocket says that it comes from. */
  remote(request: Request, peer: string): string;
  sockets: Set<Socket>;
  log: Log;
}

function listen({ at, certificate, route, remote, sockets, log }: ListenOptions): Bun.Server<SocketData> {
  const { host, port } = at;
  const strangers = new Strangers();
  try {
    return Bun.serve<SocketData>({
      hostname: host,
      port,
      ...(certificate.cert === undefined ? {} : { tls: { cert: certificate.cert, key: certificate.key } }),
      idleTimeout: 60,
      maxRequestBodySize: 1024 * 1024,
      // The runtime's own answer to a failure shows whoever asks our source. Without it, ports are shared unless told.
      development: false,
      reusePort: false,
      error(error) {
        log.error("http.failed", { error: Failure.from(error).message });
        return new Response("the proxy failed; its log says why\n", { status: 500 });
      },
      fetch(request, server) {
        // Without a Host, or with one that is none (RFC 9112, 3.2), what the runtime makes of it is no URL.
        if (!URL.canParse(request.url)) return new Response("no valid Host header\n", { status: 400 });
        const peer = server.requestIP(request)?.address ?? "";
        const found = route(request, peer);
        if (found === undefined) return new Response("starting", { status: 503 });
        if (typeof found === "function") return found();
        const from = remote(request, peer);
        if (!strangers.enter(from)) return new Response("too many connections\n", { status: 429 });
        const data = { socket: undefined, endpoint: found, remote: from, known: () => strangers.leave(from) };
        if (server.upgrade(request, { data })) return undefined;
        strangers.leave(from);
        return new Response("this address takes WebSockets only\n", { status: 426, headers: { upgrade: "websocket" } });
      },
      websocket: {
        maxPayloadLength: Math.max(MAX_FRAME, MAX_TEXT),
        // Under the usual 60 s after which load balancers cut what is silent; Bun pings half-way.
        idleTimeout: 50,
        sendPings: true,
        perMessageDeflate: false,
        open(ws) {
          const socket = new Socket(ws);
          ws.data.socket = socket;
          sockets.add(socket);
        },
        message(ws, message) {
          ws.data.socket?.onMessage(message);
        },
        close(ws) {
          const { socket } = ws.data;
          if (socket === undefined) return;
          sockets.delete(socket);
          socket.onClose();
        },
      },
    });
  } catch (error) {
    const { code, message } = error as { code?: string; message?: string };
    const address = formatHostPort(at);
    if (code === "EADDRINUSE") {
      throw new Failure("port_in_use", `${address} is in use by another process`, {
        hint: `ss -ltnp 'sport = :${port}' shows which; or choose another proxy_service.listen_addr`,
      });
    }
    if (code === "EACCES") {
      throw new Failure("permissions", `no permission to listen on ${address}`, {
        hint: "ports below 1024 need root or CAP_NET_BIND_SERVICE; or choose another proxy_service.listen_addr",
      });
    }
    throw new Failure("config", `can't listen on ${address}: ${message ?? code}`, {
      hint: "check proxy_service.listen_addr, cert_file and key_file",
      cause: error,
    });
  }
}
