/**
 * Which process a session gets: one of its own, a spare, or one that others use too (`mcp.share`, `mcp.warm`). One process
 * serves one person or one app, in one era of the protocol, as one host user, and as the configuration was when it started.
 */
import type { AppConfig } from "../config/config.ts";
import type { WindowBudget } from "../link/window.ts";
import type { Log } from "../log.ts";
import { memberAt, textAt, withText } from "../mcp/members.ts";
import type { Message } from "../mcp/message.ts";
import { handshakeRevision } from "./multiplex/handshake.ts";
import type { OnStdout, ServerProcess } from "./process.ts";
import type { Occasion, Servers } from "./servers.ts";
import { START_TIMEOUT_S } from "./session-limits.ts";
import { SharedEnd } from "./shared-end.ts";
import { type Era, MODERN, SharedServer } from "./shared-server.ts";
import { Spares } from "./spares.ts";

/** Seconds that a shared server stays without sessions, unless told. */
export const LINGER_S = 300;
/** Neither the handshake nor what came after it. */
const PLAIN: Era = "plain";
const PROTOCOL_VERSION = ["params", "_meta", "io.modelcontextprotocol/protocolVersion"] as const;

export interface SessionOccasion extends Occasion {
  /** What a user's sessions may hold; the empty name stands for what is nobody's own. */
  budget(user: string): WindowBudget;
}

type PoolServers = Pick<Servers, "start" | "recipeOf">;

export class ServerPool {
  readonly #servers: PoolServers;
  readonly #log: Log;
  readonly #spares: Spares;
  readonly #groups = new Map<string, Group>();
  /** Those that are no session's own. */
  readonly #shared = new Set<ServerProcess>();
  #closed = false;

  constructor(servers: PoolServers, log: Log) {
    this.#servers = servers;
    this.#log = log;
    this.#spares = new Spares({
      log,
      recipeOf: (app) => servers.recipeOf(app, NOBODY),
      start: (app, own, onStdout) =>
        servers.start(app, { sid: crypto.randomUUID(), person: NOBODY, log: own, onStdout }),
    });
  }

  /** From now on; what runs runs on, without new sessions where its app is another or gone. */
  keep(apps: readonly AppConfig[]): void {
    this.#spares.keep(apps);
    for (const group of this.#groups.values()) {
      const app = apps.find(({ name }) => name === group.app.name);
      if (app === undefined || !Bun.deepEquals(app.mcp, group.app.mcp)) group.retire();
    }
  }

  /** Servers that wait for their first session. */
  spares(app: string): number {
    return this.#spares.count(app);
  }

  /** Failure `start_failed` unless there is a server that runs. */
  async open(app: AppConfig, occasion: SessionOccasion): Promise<ServerProcess> {
    const { share = "session" } = app.mcp;
    if (share === "session") return this.#start(app, occasion);
    // Throws where this person may not have one at all, whoever else's runs.
    const recipe = this.#servers.recipeOf(app, occasion.person);
    const key = JSON.stringify([app.name, share === "user" ? occasion.person.user : null, recipe]);
    let group = this.#groups.get(key);
    if (group === undefined) {
      const log = this.#log.child({ app: app.name, ...(share === "user" ? { user: occasion.person.user } : {}) });
      const made = new Group(app, {
        log,
        budget: occasion.budget(share === "user" ? occasion.person.user : ""),
        start: (onStdout) => this.#startShared(app, { ...occasion, sid: crypto.randomUUID(), log, onStdout }),
        onEmpty: () => {
          if (this.#groups.get(key) === made) this.#groups.delete(key);
        },
      });
      this.#groups.set(key, made);
      group = made;
    }
    return group.open(occasion);
  }

  /** Ends all servers that are no session's own. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([this.#spares.close(), ...[...this.#shared].map((server) => server.stop())]);
  }

  async #startShared(app: AppConfig, occasion: Occasion): Promise<ServerProcess> {
    const server = await this.#start(app, occasion);
    this.#shared.add(server);
    void server.exited.then(() => this.#shared.delete(server));
    if (this.#closed) await server.stop();
    return server;
  }

  async #start(app: AppConfig, occasion: Occasion): Promise<ServerProcess> {
    const spare = this.#spares.take(app, occasion.onStdout);
    if (spare === undefined) return this.#servers.start(app, occasion);
    occasion.log.info("server.spare", { pid: spare.pid });
    return spare;
  }
}

/** Spares are nobody's, and the configuration refuses them where it would matter whose they are. */
const NOBODY = { user: "", traits: {} };

interface GroupOptions {
  log: Log;
  budget: WindowBudget;
  start(onStdout: OnStdout): Promise<ServerProcess>;
  onEmpty(): void;
}

/** The processes that sessions share: one for each era that is spoken. */
class Group {
  readonly app: AppConfig;
  readonly #o: GroupOptions;
  /** Those that take new sessions. */
  readonly #servers = new Set<SharedServer>();
  readonly #starting = new Map<Era | undefined, Promise<SharedServer>>();
  /** No new session finds it: a server of it ends with the sessions that it has. */
  #left = false;
  /** How it answers `server/discover` when it doesn't know that. */
  #unknown: Uint8Array | undefined;

  constructor(app: AppConfig, options: GroupOptions) {
    this.app = app;
    this.#o = options;
  }

  async open({ onStdout, person, budget }: SessionOccasion): Promise<ServerProcess> {
    // Of which era the session is, only its first line tells.
    const [any] = this.#servers;
    const server = any ?? (await this.#start(undefined));
    return new SharedEnd(server, {
      onStdout,
      budget: budget(person.user),
      onePerson: this.app.mcp.share === "user",
      eraOf,
      serverOf: (era, now) => this.#serverOf(era, now),
      known: (message) => this.#known(message),
      onUnknown: (line) => {
        this.#unknown = line;
      },
    });
  }

  retire(): void {
    this.#leave();
    for (const server of [...this.#servers]) server.retire();
  }

  #leave(): void {
    this.#left = true;
    this.#o.onEmpty();
  }

  #serverOf(era: Era, now: SharedServer | undefined): SharedServer | Promise<SharedServer> {
    const fits = (server: SharedServer, of: Era | undefined): boolean => this.#servers.has(server) && server.era === of;
    for (const wanted of [era, undefined]) {
      const found =
        now !== undefined && fits(now, wanted) ? now : [...this.#servers].find((server) => fits(server, wanted));
      if (found === undefined) continue;
      found.era = era;
      return found;
    }
    return this.#start(era);
  }

  #start(era: Era | undefined): Promise<SharedServer> {
    const starting = this.#starting.get(era);
    if (starting !== undefined) return starting;
    const started = this.#startOne(era).finally(() => this.#starting.delete(era));
    this.#starting.set(era, started);
    return started;
  }

  async #startOne(era: Era | undefined): Promise<SharedServer> {
    const { mcp } = this.app;
    const early: Uint8Array[] = [];
    let shared: SharedServer | undefined;
    const process = await this.#o.start((chunk) => {
      if (shared === undefined) early.push(chunk);
      else shared.onStdout(chunk);
    });
    const server: SharedServer = new SharedServer(process, {
      onePerson: mcp.share === "user",
      log: this.#o.log,
      budget: this.#o.budget,
      // Whoever waits for it joins in this very turn.
      lingerMs: this.#left ? 0 : (mcp.linger ?? LINGER_S) * 1000,
      startTimeoutMs: (mcp.limits?.startTimeout ?? START_TIMEOUT_S) * 1000,
      onRetired: () => {
        this.#servers.delete(server);
        if (this.#servers.size === 0) this.#leave();
      },
    });
    shared = server;
    server.era = era;
    this.#servers.add(server);
    for (const chunk of early) server.onStdout(chunk);
    return server;
  }

  #known(message: Message): Uint8Array | undefined {
    if (this.#unknown === undefined || message.kind !== "request" || message.method !== "server/discover") {
      return undefined;
    }
    return withText(this.#unknown, ["id"], textAt(message.bytes, ["id"]) ?? "null");
  }
}

/** Once a session is in an era it stays there, unless it begins anew with a handshake. */
function eraOf(message: Message, now: Era | undefined): Era | undefined {
  if (message.kind === "response") return undefined;
  if (message.kind === "request" && message.method === "initialize") {
    return handshakeRevision(memberAt(message.bytes, ["params", "protocolVersion"]));
  }
  if (now !== undefined) return undefined;
  return memberAt(message.bytes, PROTOCOL_VERSION) === undefined ? PLAIN : MODERN;
}
