/** The agents' control connections: who is there, and what they offer. */
import { Failure } from "../errors.ts";
import { type AppHealthReport, parseFromAgent } from "../link/from-agent.ts";
import { MAX_TEXT } from "../link/protocol.ts";
import type { ToAgent } from "../link/to-agent.ts";
import { type Lock, locked, lockOn } from "../rbac/lock.ts";
import { touchAgent } from "../store/agents.ts";
import { enrolApps } from "../store/apps.ts";
import { type HelloOptions, takeHello } from "./agent-hello.ts";
import { type AgentMessagesOptions, takeEvents, takeMessage } from "./agent-messages.ts";
import { AppResources, type Takes } from "./app-resources.ts";
import { ConnectedAgent, takesOf } from "./connected-agent.ts";
import type { Endpoint, Socket } from "./socket.ts";
import { Tally } from "./tally.ts";

export interface AgentsOptions extends HelloOptions, AgentMessagesOptions {
  /** An agent's control connection is lost: what was sent over it last may never have arrived. */
  onGone(agent: string): void;
  /** An agent has connected, and runs these sessions: brings them up to date. */
  catchUp(agent: string, sids: readonly string[]): Promise<void>;
}

export class Agents implements Endpoint {
  /** A hello names all apps and sessions of the agent. */
  readonly maxAnswer = MAX_TEXT;
  readonly tally = new Tally();
  readonly resources: AppResources;
  readonly #options: AgentsOptions & { resources: AppResources };
  readonly #byId = new Map<string, ConnectedAgent>();
  readonly #bySocket = new Map<Socket, ConnectedAgent>();
  #settling = false;
  readonly #arrivals = new Map<string, PromiseWithResolvers<void>>();

  constructor(options: AgentsOptions) {
    this.resources = new AppResources({
      ...options,
      takers: () => this.takers(),
      send: (agent, message) => this.send(agent, message),
    });
    this.#options = { ...options, resources: this.resources };
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
    return this.#byId.get(agent)?.health(app);
  }

  /** Those that take app resources, and which. */
  takers(): { id: string; name: string; takes: Takes }[] {
    return [...this.#byId.values()].flatMap(({ id, name, takes }) =>
      takes === undefined ? [] : [{ id, name, takes }],
    );
  }

  /** The app's servers failed there a moment ago. */
  failing(agent: string, app: string): boolean {
    return this.#byId.get(agent)?.failing(app) ?? false;
  }

  /** False: the agent is not connected. */
  send(agent: string, message: ToAgent): boolean {
    const connected = this.#byId.get(agent);
    connected?.send(message);
    return connected !== undefined;
  }

  /** The agent was removed: it is told, and does not come back. */
  disconnect(agent: string, reason: string): void {
    this.#byId.get(agent)?.refuse(new Failure("access_denied", reason));
  }

  /** Closes the connections of the agents that these locks name. They come back when the locks are gone. */
  shutOut(locks: readonly Lock[]): void {
    for (const connected of [...this.#byId.values()]) {
      const lock = lockOn(locks, { agent: connected.name });
      if (lock !== undefined) connected.refuse(locked(lock));
    }
  }

  /** Takes no more messages, and resolves when those that were taken are dealt with and answered, or after `ms`. */
  async settle(ms: number): Promise<void> {
    this.#settling = true;
    await Promise.race([Promise.all([...this.#bySocket.values()].map(({ settled }) => settled)), Bun.sleep(ms)]);
  }

  // --- Endpoint ---

  async onAnswer(socket: Socket, text: string): Promise<void> {
    const { store, log, now } = this.#options;
    const { agent, hello } = await takeHello(this.#options, socket.nonce, text);
    const takes = takesOf(hello.resources);
    // What came and went while it was away, and from here on: it hears of it when it counts as connected.
    const { version } = this.resources;
    const resources = takes === undefined ? undefined : await this.resources.messageFor(takes);
    const kept = resources?.resources.map(({ name }) => name) ?? [];
    const { refused, freed } = await enrolApps(store, agent.id, hello.apps, now(), kept);
    if (takes === undefined) await this.resources.reported(agent, []);
    await touchAgent(store, agent.id, now());

    // Lost while its hello was looked at: it would count as connected, and take what is sent to it into nowhere.
    if (socket.closed) throw new Failure("unavailable", "the connection was lost");
    this.#byId.get(agent.id)?.close("replaced by a newer connection");
    const connected = new ConnectedAgent(agent, socket, hello.resources, now);
    this.#byId.set(agent.id, connected);
    this.#bySocket.set(socket, connected);
    this.#arrivals.get(agent.id)?.resolve();
    this.#arrivals.delete(agent.id);
    connected.send({ t: "welcome", refused, now: now() });
    // Before any session that is opened there.
    if (resources !== undefined) connected.send(resources);
    if (version !== this.resources.version || freed.length > 0) void this.resources.changed();
    connected.inOrder(
      () => this.#catchUp(connected, hello.sessions),
      ({ message }) => {
        log.error("agent.catch_up_failed", { agent: agent.name, error: message });
        connected.close("the proxy could not say what changed");
      },
    );
    log.info("agent.connected", {
      agent: agent.name,
      apps: hello.apps.length,
      version: hello.version,
      remote: socket.remote,
    });
  }

  onText(socket: Socket, text: string): void {
    const connected = this.#heard(socket);
    if (connected === undefined) return;
    const message = parseFromAgent(text);
    if (message === undefined) this.#options.log.warn("agent.unknown_message", { agent: connected.name });
    else if (message.t !== "pong")
      this.#take(connected, () => takeMessage(this.#options, connected, message), text.length);
  }

  onBytes(socket: Socket, bytes: Buffer): void {
    const connected = this.#heard(socket);
    if (connected === undefined) return;
    if (bytes.length === 0) this.#options.log.warn("agent.unknown_message", { agent: connected.name });
    else this.#take(connected, () => takeEvents(this.#options, connected, bytes), bytes.length);
  }

  /** Undefined: what is not taken is not acknowledged, and comes again. */
  #heard(socket: Socket): ConnectedAgent | undefined {
    const connected = this.#settling ? undefined : this.#bySocket.get(socket);
    connected?.heard();
    return connected;
  }

  #take(connected: ConnectedAgent, work: () => Promise<void>, size: number): void {
    const onFailed = (failure: Failure) => {
      // The store failed: nothing was acknowledged, so the agent sends it again on a new connection.
      this.#options.log.error("agent.message_failed", { agent: connected.name, error: failure.message });
      connected.close("the proxy could not store it");
    };
    connected.inOrder(work, onFailed, size);
  }

  onClose(socket: Socket): void {
    const connected = this.#bySocket.get(socket);
    if (connected === undefined) return;
    connected.ended();
    this.#bySocket.delete(socket);
    if (this.#byId.get(connected.id) !== connected) return;
    this.#byId.delete(connected.id);
    this.#options.onGone(connected.id);
    const { store, log, now } = this.#options;
    void touchAgent(store, connected.id, now()).catch(() => {}); // a store that is closed says so elsewhere
    log.info("agent.disconnected", { agent: connected.name });
  }

  /** What changed while the agent was away; it lets calls go on when it has heard the end of it. */
  async #catchUp(connected: ConnectedAgent, sids: readonly string[]): Promise<void> {
    await this.#options.catchUp(connected.id, sids);
    connected.send({ t: "synced" });
  }
}
