/** The agents' control connections: who is there, what they offer, and what they have to say. */
import { keepHead } from "../audit/heads.ts";
import { closeSessions } from "../audit/sessions.ts";
import { Failure } from "../errors.ts";
import {
  type AppHealthReport,
  type FromAgent,
  HEARTBEAT_LOST_MS,
  HEARTBEAT_MS,
  MAX_TEXT,
  parseFromAgent,
  type ToAgent,
} from "../link/protocol.ts";
import type { Log } from "../log.ts";
import { compileSelectors, type LabelSelector } from "../rbac/labels.ts";
import { type Lock, locked, lockOn } from "../rbac/lock.ts";
import { touchAgent } from "../store/agents.ts";
import { enrolApps } from "../store/apps.ts";
import { reportPins } from "../store/tool-pins.ts";
import { type HelloOptions, takeHello } from "./agent-hello.ts";
import { AppResources, type Takes } from "./app-resources.ts";
import type { Endpoint, Socket } from "./socket.ts";
import type { StoreThread } from "./store-thread.ts";
import { Tally } from "./tally.ts";

export interface AgentsOptions extends HelloOptions {
  log: Log;
  ingest: StoreThread["ingest"];
  /** An agent's control connection is lost: what was sent over it last may never have arrived. */
  onGone(agent: string): void;
  /** An agent could not serve a grant, and another one is to be asked: the session is not over. */
  hasAnother(attach: string): boolean;
  /** An agent could not serve a grant. */
  onSessionRefused(attach: string, failure: Failure): void;
  /** An agent has connected, and runs these sessions: brings them up to date. */
  catchUp(agent: string, sids: readonly string[]): Promise<void>;
  /** An agent's apps, or their labels, have changed: so may have what its sessions may do. */
  offerChanged(agent: string): Promise<void>;
}

interface Connected {
  id: string;
  name: string;
  socket: Socket;
  /** Its messages are taken in order, one at a time: a batch of events is stored before the next is looked at. */
  work: Promise<void>;
  lastHeard: number;
  /** By app, as it last told. */
  health: Map<string, AppHealthReport>;
  /** When an app's servers last failed, as `performance.now()` has it. */
  failed: Map<string, number>;
  /** Undefined: it takes no app resources. */
  takes: Takes | undefined;
  selectors: LabelSelector[];
  heartbeat: ReturnType<typeof setInterval>;
}

/** How long an agent on which an app's servers failed is not the first to get its sessions, where there is another. */
const FAILING_MS = 30_000;

export class Agents implements Endpoint {
  /** A hello names all apps and sessions of the agent. */
  readonly maxAnswer = MAX_TEXT;
  readonly tally = new Tally();
  readonly resources: AppResources;
  readonly #options: AgentsOptions;
  readonly #byId = new Map<string, Connected>();
  readonly #bySocket = new Map<Socket, Connected>();
  #settling = false;
  readonly #arrivals = new Map<string, PromiseWithResolvers<void>>();

  constructor(options: AgentsOptions) {
    this.#options = options;
    this.resources = new AppResources({
      ...options,
      takers: () => this.takers(),
      send: (agent, message) => this.send(agent, message),
    });
  }

  online(): Set<string> {
    return new Set(this.#byId.keys());
  }

  /** Resolves when the agent is connected, or after `ms`. Undefined: it is, and nobody has to wait. */
  arrival(agent: string, ms: number): Promise<void> | undefined {
    if (this.#byId.has(agent)) return undefined;
    const arrival = this.#arrivals.get(agent) ?? Promise.withResolvers<void>();
    this.#arrivals.set(agent, arrival);
    return Promise.race([arrival.promise, Bun.sleep(ms)]);
  }

  /** How the app's servers do there; `undefined` where the agent is away or has not told yet. */
  health(agent: string, app: string): AppHealthReport | undefined {
    return this.#byId.get(agent)?.health.get(app);
  }

  /** Those that take app resources, and which. */
  takers(): { id: string; name: string; takes: Takes }[] {
    return [...this.#byId.values()].flatMap(({ id, name, takes }) =>
      takes === undefined ? [] : [{ id, name, takes }],
    );
  }

  /** The app's servers failed there a moment ago. */
  failing(agent: string, app: string): boolean {
    const connected = this.#byId.get(agent);
    if (connected?.health.get(app)?.state !== "failing") return false;
    return performance.now() - (connected.failed.get(app) ?? 0) < FAILING_MS;
  }

  /** False: the agent is not connected. */
  send(agent: string, message: ToAgent): boolean {
    const connected = this.#byId.get(agent);
    connected?.socket.sendText(message);
    return connected !== undefined;
  }

  /** The agent was removed: it is told, and does not come back. */
  disconnect(agent: string, reason: string): void {
    this.#byId.get(agent)?.socket.refuse(new Failure("access_denied", reason));
  }

  /** Closes the connections of the agents that these locks name. They come back when the locks are gone. */
  shutOut(locks: readonly Lock[]): void {
    for (const { name, socket } of [...this.#byId.values()]) {
      const lock = lockOn(locks, { agent: name });
      if (lock !== undefined) socket.refuse(locked(lock));
    }
  }

  /** Takes no more messages, and resolves when those that were taken are dealt with and answered, or after `ms`. */
  async settle(ms: number): Promise<void> {
    this.#settling = true;
    await Promise.race([Promise.all([...this.#bySocket.values()].map(({ work }) => work)), Bun.sleep(ms)]);
  }

  // --- Endpoint ---

  async onAnswer(socket: Socket, text: string): Promise<void> {
    const { store, log, now } = this.#options;
    const { agent, hello } = await takeHello(this.#options, socket.nonce, text);
    const takes = hello.resources.length === 0 ? undefined : compileSelectors(hello.resources);
    // What came and went while it was away, and from here on: it hears of it when it counts as connected.
    const { version } = this.resources;
    const resources = takes === undefined ? undefined : await this.resources.messageFor(takes);
    const kept = resources?.resources.map(({ name }) => name) ?? [];
    const { refused, freed } = await enrolApps(store, agent.id, hello.apps, now(), kept);
    if (takes === undefined) await this.resources.reported(agent, []);
    await touchAgent(store, agent.id, now());

    // Lost while its hello was looked at: it would count as connected, and take what is sent to it into nowhere.
    if (socket.closed) throw new Failure("unavailable", "the connection was lost");
    this.#byId.get(agent.id)?.socket.close("replaced by a newer connection");
    const connected: Connected = {
      id: agent.id,
      name: agent.name,
      socket,
      work: Promise.resolve(),
      lastHeard: performance.now(),
      health: new Map(),
      failed: new Map(),
      takes,
      selectors: hello.resources,
      heartbeat: setInterval(() => this.#beat(connected), HEARTBEAT_MS),
    };
    this.#byId.set(agent.id, connected);
    this.#bySocket.set(socket, connected);
    this.#arrivals.get(agent.id)?.resolve();
    this.#arrivals.delete(agent.id);
    const welcome: ToAgent = { t: "welcome", refused, now: now() };
    socket.sendText(welcome);
    // Before any session that is opened there.
    if (resources !== undefined) socket.sendText(resources);
    if (version !== this.resources.version || freed.length > 0) void this.resources.changed();
    connected.work = this.#catchUp(connected, hello.sessions);
    log.info("agent.connected", {
      agent: agent.name,
      apps: hello.apps.length,
      version: hello.version,
      remote: socket.remote,
    });
  }

  onText(socket: Socket, text: string): void {
    const connected = this.#bySocket.get(socket);
    // What is not taken is not acknowledged, and comes again.
    if (connected === undefined || this.#settling) return;
    connected.lastHeard = performance.now();
    const message = parseFromAgent(text);
    if (message === undefined) {
      this.#options.log.warn("agent.unknown_message", { agent: connected.name });
      return;
    }
    if (message.t === "pong") return;
    connected.work = connected.work
      .then(() => this.#onMessage(connected, message))
      .catch((error: unknown) => {
        // The store failed: nothing was acknowledged, so the agent sends it again on a new connection.
        this.#options.log.error("agent.message_failed", { agent: connected.name, error: Failure.from(error).message });
        socket.close("the proxy could not store it");
      });
  }

  onClose(socket: Socket): void {
    const connected = this.#bySocket.get(socket);
    if (connected === undefined) return;
    clearInterval(connected.heartbeat);
    this.#bySocket.delete(socket);
    if (this.#byId.get(connected.id) !== connected) return;
    this.#byId.delete(connected.id);
    this.#options.onGone(connected.id);
    this.#options.log.info("agent.disconnected", { agent: connected.name });
  }

  /** What changed while the agent was away; it lets calls go on when it has heard the end of it. */
  async #catchUp({ id, name, socket }: Connected, sids: readonly string[]): Promise<void> {
    try {
      await this.#options.catchUp(id, sids);
      socket.sendText({ t: "synced" } satisfies ToAgent);
    } catch (error) {
      this.#options.log.error("agent.catch_up_failed", { agent: name, error: Failure.from(error).message });
      socket.close("the proxy could not say what changed");
    }
  }

  async #onMessage(connected: Connected, message: FromAgent): Promise<void> {
    const { store, log, now } = this.#options;
    switch (message.t) {
      case "events": {
        const { invalid } = await this.#options.ingest(connected.id, message.lines, now());
        if (invalid > 0) log.warn("agent.invalid_events", { agent: connected.name, count: invalid });
        connected.socket.sendText({ t: "events.stored", last: message.last } satisfies ToAgent);
        break;
      }
      case "events.head":
        await keepHead(store, connected.id, message.head).catch((error: unknown) =>
          log.error("agent.head_refused", { agent: connected.name, error: Failure.from(error).message }),
        );
        break;
      case "apps": {
        const { refused, freed } = await enrolApps(store, connected.id, message.apps, now());
        connected.socket.sendText({ t: "apps.taken", refused } satisfies ToAgent);
        await this.#takes(connected, message.resources, freed);
        log.info("agent.apps_changed", { agent: connected.name, apps: message.apps.length });
        await this.#options.offerChanged(connected.id);
        break;
      }
      case "apps.health":
        for (const { app, at } of message.apps) {
          if (connected.health.get(app)?.at !== at) connected.failed.set(app, performance.now());
        }
        connected.health = new Map(message.apps.map((each) => [each.app, each]));
        break;
      case "app.resources.taken":
        await this.resources.reported(connected, message.resources);
        break;
      case "session.refused":
        if (message.gone && !this.#options.hasAnother(message.attach)) {
          const cause = "not_started";
          await closeSessions(store, { sid: message.sid, agentId: connected.id }, message.message, now(), { cause });
        }
        this.#options.onSessionRefused(message.attach, Failure.fromJSON(message));
        break;
      case "session.ended":
        await closeSessions(store, { sid: message.sid, agentId: connected.id }, message.reason, now(), {
          success: message.ok,
        });
        break;
      case "tools.pins": {
        const { app, enforce, tools } = message;
        const due = await reportPins(store, { agentId: connected.id, app, enforce, tools, now: now() });
        if (due.length > 0) connected.socket.sendText({ t: "tools.approved", app, tools: due } satisfies ToAgent);
        break;
      }
      case "hello":
      case "pong":
        break;
    }
  }

  /** `freed`: names that the agent had until now, and others may wait for. */
  async #takes(connected: Connected, selectors: LabelSelector[], freed: readonly string[]): Promise<void> {
    const had = connected.selectors;
    connected.selectors = selectors;
    connected.takes = selectors.length === 0 ? undefined : compileSelectors(selectors);
    if (connected.takes === undefined) await this.resources.reported(connected, []);
    if (freed.length > 0 || !Bun.deepEquals(had, selectors)) void this.resources.changed();
  }

  #beat(connected: Connected): void {
    if (performance.now() - connected.lastHeard > HEARTBEAT_LOST_MS) {
      connected.socket.close("the agent is silent");
      return;
    }
    connected.socket.sendText({ t: "ping", now: this.#options.now() } satisfies ToAgent);
  }
}
