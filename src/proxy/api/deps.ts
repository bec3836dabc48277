/** What the API needs from the rest of the proxy, and what a connection tells it about the other side. */
import type { JWK } from "jose";
import type { HostPort } from "../../config/host-port.ts";
import type { Nonces } from "../../identity/nonce.ts";
import type { AppHealthReport } from "../../link/from-agent.ts";
import type { Log } from "../../log.ts";
import type { Store } from "../../store/store.ts";
import type { Fetch } from "../caller-identity.ts";

/** The proxy's running connections. Every call returns at once and never throws. */
export interface Live {
  /** Ids of the agents whose control connection is up. */
  onlineAgents(): Set<string>;
  /** How an app's servers do on an agent, as the agent last told. */
  appHealth?(agentId: string, app: string): AppHealthReport | undefined;
  /**
   * Ends every live session that matches all the given fields (`agent`: the agent's id): in the store, with its event,
   * and wherever it runs.
   */
  endSessions(match: SessionMatch, reason: string): void;
  /** Closes the agent's control connection; `agentId` no longer exists when this is called. */
  disconnectAgent(agentId: string, reason: string): void;
  /** Roles or users changed: live sessions get fresh rules, or end where nothing is allowed any more. */
  policyChanged(): void;
  /** An admin approved tool definitions of the agent's app: it lets them be seen. */
  toolsApproved?(agentId: string, app: string, tools: { tool: string; hash: string }[]): void;
  /** An app resource was made, changed or removed: the agents that asked for such get what there is now. */
  appResourcesChanged?(): void;
  /** The connected agents that ask for app resources with these labels. */
  appTakers?(labels: Record<string, string>): { id: string; name: string }[];
  /** A lock was made: what it shuts out ends. */
  locksChanged(): void;
}

export interface SessionMatch {
  user?: string;
  app?: string;
  agent?: string;
  sid?: string;
}

export interface ApiConfig {
  publicAddr: HostPort;
  clusterName: string;
  /** The CA of our own, where the proxy's certificate comes from it. */
  caPem?: string | undefined;
  caPin?: string | undefined;
  /** Of the server's own key, as curl takes it, beside `caPin`. */
  keyPin?: string | undefined;
  /** Public keys that grants are signed with; pinned by agents and clients. */
  signingKeys: JWK[];
  /** The directory with the certificates of AWS's regions, for joins by `method: ec2`. */
  awsCertificates?: string | undefined;
}

export interface ApiDeps {
  store: Store;
  live: Live;
  log: Log;
  /** Milliseconds since the epoch. */
  now: () => number;
  config: ApiConfig;
  nonces: Nonces;
  /** How AWS's STS is reached, for joins by `method: iam`; tests have their own. */
  fetchSts?: Fetch | undefined;
}

/**
 * Who is at the other end, told by the listener and by nothing in the request: `app.fetch(request, connection)`. Only
 * the admin socket's listener may pass `uid` (the peer's, from the kernel): it makes every operation allowed.
 */
export type Connection = { remote: string } | { remote: string; uid: number };
