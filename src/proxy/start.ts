/** `mcpgate proxy start`: one port for the API and the WebSockets, one unix socket for the admin on this host. */
import { join } from "node:path";
import type { Config, ProxyConfig } from "../config/config.ts";
import { formatHostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { lockDirectory } from "../identity/directory-lock.ts";
import { generateKeyPair, parseKeyPair } from "../identity/keys.ts";
import { Nonces } from "../identity/nonce.ts";
import { MAX_FRAME } from "../link/frame.ts";
import { AGENT_CONTROL_PATH, AGENT_SESSION_PATH, CLIENT_PATH, MAX_TEXT } from "../link/protocol.ts";
import type { Log } from "../log.ts";
import { ensureKeys } from "../store/keys.ts";
import { openAdminSocket } from "./admin-socket.ts";
import { Agents } from "./agents.ts";
import { createApi } from "./api/app.ts";
import { keepAudit } from "./audit.ts";
import { loadCertificate, type ServerCertificate } from "./certificates.ts";
import { createLive, type LiveProxy } from "./live.ts";
import { Relay } from "./relay.ts";
import { remoteAddress, trustedNetworks } from "./remote.ts";
import { type Endpoint, Socket, type SocketData } from "./socket.ts";
import { openStoreThread, type StoreThread } from "./store-thread.ts";

export interface RunningProxy {
  ready: { address: string; publicAddr: string; caPin?: string };
  stop(): Promise<void>;
  /** Rejects when the proxy can't go on. */
  closed: Promise<void>;
}

/** How long requests may take to end when the proxy stops, milliseconds. */
const DRAIN_MS = 3_000;
const CERTIFICATE_CHECK_MS = 12 * 60 * 60 * 1000;

export interface ProxyOptions {
  config: Config;
  log: Log;
  /** Standard output, for an audit sink of that type. */
  print(text: string): Promise<void>;
}

export async function startProxy({ config, log, print }: ProxyOptions): Promise<RunningProxy> {
  if (config.proxy === undefined) {
    throw new Failure("config", `${config.file ?? "configuration"}: proxy_service is not enabled`, {
      hint: "add `proxy_service: {enabled: true, public_addr: HOST:443}` to the file",
    });
  }
  const dir = join(config.dataDir, "proxy");
  const lock = lockDirectory(dir);
  let thread: StoreThread | undefined;
  try {
    thread = await openStoreThread(join(dir, "mcpgate.db"));
    return await serve(config.proxy, dir, thread, { log, print }, lock);
  } catch (error) {
    await thread?.store.destroy();
    lock.release();
    throw error;
  }
}

async function serve(
  proxy: ProxyConfig,
  dir: string,
  { store, ingest, failed }: StoreThread,
  { log, print }: Pick<ProxyOptions, "log" | "print">,
  lock: { release(): void },
): Promise<RunningProxy> {
  const now = Date.now;
  const signingKeys = await ensureKeys(
    store,
    "signing",
    async () => {
      const pair = await generateKeyPair();
      return { id: pair.jkt, public: JSON.stringify(pair.publicJwk), private: JSON.stringify(pair.privateJwk) };
    },
    now(),
  );
  const signingKey = await parseKeyPair(JSON.parse(signingKeys[0]?.private ?? "null"));
  let certificate = await loadCertificate(store, proxy, now());

  // Where any free port was asked for, the public address is known only once the port is.
  const routes: { current?: (request: Request, remote: string) => Route } = {};
  let listener = listen(proxy, certificate, routes);
  const port = listener.port ?? proxy.listen.port;
  const publicAddr = proxy.publicAddr.port === 0 ? { ...proxy.publicAddr, port } : proxy.publicAddr;

  const agents: Agents = new Agents({
    store,
    log,
    publicAddr,
    now,
    ingest,
    onGone: (agent) => relay.agentGone(agent),
    onSessionRefused: (attach, failure) => relay.refused(attach, failure),
    onSessionLost: (sid, reason) => relay.lost(sid, reason),
    catchUp: (agent, sids) => live.catchUp(agent, sids),
  });
  const relay: Relay = new Relay({ store, log, publicAddr, clusterName: proxy.clusterName, signingKey, now, agents });
  const live: LiveProxy = createLive({ store, log, agents, relay, now });
  const api = createApi({
    store,
    live,
    log,
    now,
    nonces: new Nonces(),
    config: {
      publicAddr,
      clusterName: proxy.clusterName,
      caPem: certificate.caPem,
      caPin: certificate.caPin,
      signingKeys: signingKeys.map((key) => JSON.parse(key.public)),
    },
  });
  const endpoints: Record<string, Endpoint> = {
    [CLIENT_PATH]: relay.clients,
    [AGENT_CONTROL_PATH]: agents,
    [AGENT_SESSION_PATH]: relay.agentSessions,
  };
  routes.current = (request, remote) => {
    const endpoint = endpoints[new URL(request.url).pathname];
    return endpoint ?? (() => api.fetch(request, { remote }));
  };
  const admin = openAdminSocket({
    path: join(dir, "admin.sock"),
    log,
    fetch: (request, connection) => api.fetch(request, connection),
  });

  // `reload` keeps the old certificate, so a renewed one needs a listener of its own; connections of the old one stay.
  const renewal = setInterval(async () => {
    try {
      const next = await loadCertificate(store, proxy, now());
      if (next.cert === certificate.cert) return;
      certificate = next;
      await listener.stop(false);
      listener = listen({ ...proxy, listen: { ...proxy.listen, port } }, certificate, routes);
      log.info("certificate.renewed");
    } catch (error) {
      log.error("certificate.renewal_failed", { error: Failure.from(error).message });
    }
  }, CERTIFICATE_CHECK_MS);

  // What was removed in the moment before the proxy was killed.
  live.policyChanged();

  const audit = keepAudit({ store, key: signingKey, config: proxy.audit, log, now, print });

  const closed = Promise.withResolvers<void>();
  closed.promise.catch(() => {}); // it may end before anybody listens
  void failed.catch((error: unknown) => closed.reject(error));
  let stopping: Promise<void> | undefined;
  const stop = async () => {
    clearInterval(renewal);
    admin.close();
    relay.closeAll("the proxy stops");
    agents.closeAll("the proxy stops");
    await drained(listener);
    await audit.stop();
    await store.destroy();
    lock.release();
    closed.resolve();
  };
  return {
    ready: {
      address: formatHostPort({ host: proxy.listen.host, port }),
      publicAddr: formatHostPort(publicAddr),
      ...(certificate.caPin === undefined ? {} : { caPin: certificate.caPin }),
    },
    stop: () => {
      stopping ??= stop();
      return stopping;
    },
    closed: closed.promise,
  };
}

/** Lets requests that are being answered end; the sessions' peers hold what was under way, and dial again. */
async function drained(listener: Bun.Server<SocketData>): Promise<void> {
  await Promise.race([listener.stop(false), Bun.sleep(DRAIN_MS)]);
  await listener.stop(true);
}

type Route = Endpoint | (() => Response | Promise<Response>);

function listen(
  proxy: ProxyConfig,
  certificate: ServerCertificate,
  routes: { current?: (request: Request, remote: string) => Route },
): Bun.Server<SocketData> {
  const { host, port } = proxy.listen;
  const trusted = trustedNetworks(proxy.trustedProxies);
  try {
    return Bun.serve<SocketData>({
      hostname: host,
      port,
      ...(certificate.cert === undefined ? {} : { tls: { cert: certificate.cert, key: certificate.key } }),
      idleTimeout: 60,
      maxRequestBodySize: 1024 * 1024,
      fetch(request, server) {
        const remote = remoteAddress(server.requestIP(request)?.address ?? "", request.headers, trusted);
        const route = routes.current?.(request, remote);
        if (route === undefined) return new Response("starting", { status: 503 });
        if (typeof route === "function") return route();
        if (server.upgrade(request, { data: { socket: undefined, endpoint: route, remote } })) return undefined;
        return new Response("this address takes WebSockets only\n", { status: 426, headers: { upgrade: "websocket" } });
      },
      websocket: {
        maxPayloadLength: Math.max(MAX_FRAME, MAX_TEXT),
        // Under the usual 60 s after which load balancers cut what is silent; Bun pings half-way.
        idleTimeout: 50,
        sendPings: true,
        perMessageDeflate: false,
        open(ws) {
          ws.data.socket = new Socket(ws);
        },
        message(ws, message) {
          ws.data.socket?.onMessage(message);
        },
        close(ws) {
          ws.data.socket?.onClose();
        },
      },
    });
  } catch (error) {
    const { code, message } = error as { code?: string; message?: string };
    const address = formatHostPort(proxy.listen);
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
