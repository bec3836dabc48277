/**
 * The tables, in SQL that SQLite and PostgreSQL share: times are milliseconds since the epoch (events: RFC 3339 text,
 * which sorts as it reads), JSON is text, booleans are 0 and 1. Secrets of one use are kept as SHA-256 only.
 */
import type { Generated } from "kysely";

export interface Tables {
  meta: MetaTable;
  keys: KeysTable;
  tokens: TokensTable;
  token_resources: TokenResourcesTable;
  instances: InstancesTable;
  agents: AgentsTable;
  apps: AppsTable;
  app_resources: AppResourcesTable;
  app_reports: AppReportsTable;
  users: UsersTable;
  user_roles: UserRolesTable;
  invites: InvitesTable;
  logins: LoginsTable;
  roles: RolesTable;
  locks: LocksTable;
  sessions: SessionsTable;
  events: EventsTable;
  chains: ChainsTable;
  tool_pins: ToolPinsTable;
}

/** What an agent last said of one tool of one of its apps, and the newest approval. */
interface ToolPinsTable {
  agent_id: string;
  app: string;
  tool: string;
  /** 0 or 1. */
  enforce: number;
  pinned: string | null;
  pending: string | null;
  /** JSON: lines. */
  diff: string;
  approved: string | null;
  approved_by: string | null;
  approved_at: number | null;
  reported_at: number;
}

/** Single values: `policy_revision`, `presets_seeded`. */
interface MetaTable {
  key: string;
  value: string;
}

/** Key pairs of the cluster itself, by purpose (`signing`, `ca`, `tls`). The database file is 0600. */
interface KeysTable {
  /** Any name that tells keys of one purpose apart; for signing keys the thumbprint. */
  id: string;
  purpose: string;
  /** JWK as JSON, or PEM: whatever the purpose's owner put in. */
  public: string;
  private: string;
  created_at: number;
}

interface TokensTable {
  /** First 16 hexadecimal digits of `hash`: how people name a token without knowing it. */
  id: string;
  hash: string;
  type: string;
  created_at: number;
  expires_at: number;
  created_by: string;
}

/** Tokens that are no secret. */
interface TokenResourcesTable {
  name: string;
  /** `kind: token`, JSON. */
  document: string;
  /** Null: until it is removed. */
  expires_at: number | null;
  created_at: number;
  created_by: string;
}

/** EC2 instances that have joined, for good. */
interface InstancesTable {
  account: string;
  instance: string;
  /** Thumbprint of the key that it joined with. No foreign key: a removed agent's instance stays used. */
  jkt: string;
  joined_at: number;
}

interface AgentsTable {
  id: string;
  name: string;
  /** RFC 7638 thumbprint of the key that the agent registered when it joined. */
  jkt: string;
  public_jwk: string;
  joined_at: number;
  last_seen_at: number | null;
}

/** One row for each agent that offers the app; several only where all of them declare it shared. */
interface AppsTable {
  name: string;
  agent_id: string;
  labels: string;
  description: string;
  type: string;
  shared: number;
  enrolled_at: number;
  /** 1: it is an app resource, whose labels and description these are; 0: it stands in the agent's own file. */
  resource: Generated<number>;
}

/** Apps that agents may pick up (`kind: app`). */
interface AppResourcesTable {
  name: string;
  /** Another one for each version of the document. */
  revision: string;
  /** As it was given, JSON. */
  document: string;
  /** The document's own, JSON. */
  labels: string;
  description: string;
  updated_at: number;
  updated_by: string;
}

/** What an agent said of an app resource that it was sent. */
interface AppReportsTable {
  agent_id: string;
  name: string;
  /** Of the resource that it speaks of. */
  revision: string;
  /** `offered` or `refused`. */
  state: string;
  reason: string | null;
  reported_at: number;
}

interface UsersTable {
  name: string;
  /** argon2id in PHC form; null until the invite was accepted. */
  password_hash: string | null;
  created_at: number;
  /** Trait → list of values, JSON. */
  traits: string;
}

interface UserRolesTable {
  user: string;
  role: string;
  /** The order in which the roles were given. */
  position: number;
}

interface InvitesTable {
  hash: string;
  user: string;
  expires_at: number;
}

/** One row for each key that a login registered: the user's credential is the proof of that key. */
interface LoginsTable {
  jkt: string;
  user: string;
  created_at: number;
  expires_at: number;
  revoked_at: number | null;
}

interface RolesTable {
  name: string;
  /** The role's document as it was given, JSON. */
  document: string;
  preset: number;
  updated_at: number;
}

/** What is shut out, and until when. No foreign keys: a lock may name what is not there yet, and outlives it. */
interface LocksTable {
  name: string;
  /** `user`, `role`, `app` or `agent`. */
  target_kind: string;
  target: string;
  /** What those hear whom it shuts out; may be empty. */
  message: string;
  created_at: number;
  created_by: string;
  /** Null: until it is removed. */
  expires_at: number | null;
}

/** Kept after the end: which user and app an event belongs to is looked up here. No foreign keys, for the same reason. */
interface SessionsTable {
  sid: string;
  user: string;
  app: string;
  agent_id: string;
  /** The agent's name when the session began. */
  agent: string;
  client_jkt: string;
  remote: string;
  started_at: number;
  last_seen_at: number;
  ended_at: number | null;
  end_reason: string | null;
}

interface EventsTable {
  /** The order in which the store took them in: the cursor of `audit tail`. Never reused. */
  seq: Generated<number>;
  uid: string;
  time: string;
  event: string;
  user: string | null;
  app: string | null;
  agent: string | null;
  sid: string | null;
  /** The event's line, byte for byte as its chain has it. The columns above are the proxy's word on the same event. */
  body: string;
  stored_at: number;
  chain: string;
  n: number;
  /** Why the columns and the line disagree; null: they don't. */
  verdict: string | null;
}

/** The audit log's hash chains: one for each boot of an agent, one for the proxy. */
interface ChainsTable {
  chain: string;
  /** `agent` or `proxy`. */
  kind: string;
  /** Null for a proxy. */
  agent_id: string | null;
  /** The agent's name; the cluster's for a proxy. */
  owner: string;
  /** The agent's key as it was when the chain began, JSON; null for a proxy: the cluster's signing keys. */
  public_jwk: string | null;
  /** The last line that is stored. */
  n: number;
  hash: string;
  /** The newest signed head (compact JWS), and how far it reaches. */
  head: string | null;
  head_n: number;
  /** Lines up to here were retired, and the hash of the last of them. */
  retired_n: number;
  retired_hash: string | null;
  /** `n` in the newest checkpoint. */
  checkpoint_n: number;
  created_at: number;
}
