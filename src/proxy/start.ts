/** `mcpgate proxy start`: one port for the API and the WebSockets, one unix socket for the admin on this host. */
import { join } from "node:path";
import type { Config, ProxyConfig } from "../config/config.ts";
import { formatHostPort, type HostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { lockDirectory } from "../identity/directory-lock.ts";
import { makeDataDirectory } from "../identity/files.ts";
import { Nonces } from "../identity/nonce.ts";
import { AGENT_CONTROL_PATH, AGENT_SESSION_PATH, CLIENT_PATH } from "../link/protocol.ts";
import type { Log } from "../log.ts";
import { openAdminSocket } from "./admin-socket.ts";
import { Agents } from "./agents.ts";
import { createApi } from "./api/app.ts";
import { keepAudit } from "./audit.ts";
import type { Fetch } from "./caller-identity.ts";
import { loadCertificate } from "./certificates.ts";
import { createInstallRoutes } from "./install-routes.ts";
import { KeptCertificate } from "./kept-certificate.ts";
import { Listener } from "./listener.ts";
import { createLive, type LiveProxy } from "./live.ts";
import { observeProxy } from "./observed.ts";
import { Relay } from "./relay.ts";
import { createReload } from "./reload.ts";
import { loadSigningKeys } from "./signing-keys.ts";
import type { Endpoint } from "./socket.ts";
import { openStoreThread, type StoreThread } from "./store-thread.ts";

export interface RunningProxy {
  ready: { address: string; publicAddr: string; caPin?: string };
  /**
   * Takes no more connections, finishes what it was asked, and tells its peers to come again. What was acknowledged is
   * stored; what was not, they still have.
   */
  stop(): Promise<void>;
  /** Takes over what has changed. Throws where it can't; then the old certificate stays. */
  reload(config: Config): Promise<void>;
  /** Resolves when the thread of the store has answered. */
  alive(): Promise<unknown>;
  /** Rejects when the proxy can't go on. */
  closed: Promise<void>;
}

/**
 * Of a stop, which takes less than ten seconds: how long what is under way may take to end (twice: first what was asked of
 * the store, then the connections), the audit log's last signature and batch, and the store itself. Milliseconds.
 */
const [RELOAD_MS, DRAIN_MS, AUDIT_MS, STORE_MS] = [500, 2_000, 3_000, 1_000];

export interface ProxyOptions {
  config: Config;
  log: Log;
  /** Standard output, for an audit sink of that type. */
  print(text: string): Promise<void>;
  /** Where metrics and health checks are to be had; absent: nowhere. */
  diag?: HostPort | undefined;
  /** Where the compiled program can be read that runs this, so that hosts can get it; absent where it runs from source. */
  program?: string | undefined;
  /** How AWS's STS is reached: a test's own, and no configuration's. */
  fetchSts?: Fetch | undefined;
}

export async function startProxy({ config, ...options }: ProxyOptions): Promise<RunningProxy> {
  if (config.proxy === undefined) {
    throw new Failure("config", `${config.file ?? "configuration"}: proxy_service is not enabled`, {
      hint: "add `proxy_service: {enabled: true, public_addr: HOST:443}` to the file",
    });
  }
  const dir = join(config.dataDir, "proxy");
  makeDataDirectory(config.dataDir);
  const lock = lockDirectory(dir);
  let thread: StoreThread | undefined;
  try {
    thread = await openStoreThread(databaseOf(dir));
    return await serve(config.proxy, dir, thread, options, lock);
  } catch (error) {
    await thread?.store.destroy();
    lock.release();
    throw error;
  }
}

async function serve(
  proxy: ProxyConfig,
  dir: string,
  { store, run, ingest, alive, failed }: StoreThread,
  { log, print, diag, program, fetchSts }: Omit<ProxyOptions, "config">,
  lock: { release(): void },
): Promise<RunningProxy> {
  const now = Date.now;
  const signingKeys = await loadSigningKeys(store, now());
  const signingKey = signingKeys.current;
  const certificate = await loadCertificate(store, proxy, now());

  // Where any free port was asked for, the public address is known only once the port is.
  const listener = new Listener(proxy, certificate, log);
  const { port } = listener;
  const publicAddr = proxy.publicAddr.port === 0 ? { ...proxy.publicAddr, port } : proxy.publicAddr;

  const observed = await observeProxy({ ingest, log });
  const agents: Agents = new Agents({
    store,
    log,
    publicAddr,
    now,
    ingest: observed.ingest,
    onGone: (agent) => relay.agentGone(agent),
    hasAnother: (attach) => relay.hasAnother(attach),
    onSessionRefused: (attach, failure) => relay.refused(attach, failure),
    onSessionLost: (sid, reason) => relay.lost(sid, reason),
    catchUp: (agent, sids) => live.catchUp(agent, sids),
    offerChanged: (agent) => live.offerChanged(agent),
  });
  const { clusterName } = proxy;
  const { spans } = observed;
  const heard = agents.resources.heard(run);
  const relay: Relay = new Relay({ store, run: heard, log, publicAddr, clusterName, signingKey, now, agents, spans });
  const live: LiveProxy = createLive({ store, log, agents, relay, now });
  const api = createApi({
    store,
    live,
    log,
    now,
    nonces: new Nonces(),
    fetchSts,
    config: {
      publicAddr,
      clusterName,
      caPem: certificate.caPem,
      caPin: certificate.caPin,
      keyPin: certificate.keyPin,
      signingKeys: signingKeys.public,
      awsCertificates: proxy.awsCertificates,
    },
  });
  const directory = proxy.downloadsDir ?? join(dir, "downloads");
  const { caPin, keyPin } = certificate;
  const install = createInstallRoutes({ publicAddr, caPin, keyPin, directory, program, log });
  const endpoints: Record<string, Endpoint> = {
    [CLIENT_PATH]: relay.clients,
    [AGENT_CONTROL_PATH]: agents,
    [AGENT_SESSION_PATH]: relay.agentSessions,
  };
  const answer = observed.counted(api.fetch);
  listener.serve((request, remote) => {
    const endpoint = endpoints[new URL(request.url).pathname];
    return endpoint ?? (() => install(request, remote) ?? answer(request, { remote }));
  });
  const admin = openAdminSocket({
    path: join(dir, "admin.sock"),
    log,
    fetch: (request, connection) => api.fetch(request, connection),
  });

  const kept = new KeptCertificate({ store, listener, log, now }, proxy, certificate);

  // What was removed in the moment before the proxy was killed.
  live.policyChanged();

  const audit = keepAudit({ store, key: signingKey, config: proxy.audit, log, now, print });
  observed.open(diag, {
    ...{ store, relay, agents, file: databaseOf(dir) },
    sinks: () => audit.sinks,
    certificate: () => kept.pem,
    isListening: () => listener.isOpen,
  });
  const takeOver = createReload(proxy, { listener, certificate: kept, audit });

  const closed = Promise.withResolvers<void>();
  closed.promise.catch(() => {}); // it may end before anybody listens
  void failed.catch((error: unknown) => closed.reject(error));
  let stopping: Promise<void> | undefined;
  let reloading = Promise.resolve();
  const stop = async () => {
    kept.stop();
    await Promise.race([reloading, Bun.sleep(RELOAD_MS)]);
    // First of all: whoever is told to come again must find another proxy, or none.
    listener.close();
    await Promise.all([admin.close(DRAIN_MS), agents.settle(DRAIN_MS)]);
    await listener.drain("the proxy stops", DRAIN_MS);
    await Promise.race([audit.stop(), Bun.sleep(AUDIT_MS)]);
    await Promise.race([store.destroy(), Bun.sleep(STORE_MS)]);
    await observed.close();
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
    reload(next) {
      if (stopping !== undefined) return Promise.resolve();
      const done = takeOver(next);
      reloading = done.catch(() => {});
      return done;
    },
    alive,
    closed: closed.promise,
  };
}

const databaseOf = (dir: string): string => join(dir, "mcpgate.db");
