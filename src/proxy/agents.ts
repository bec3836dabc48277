/** The agents' control connections: who is there, what they offer, and what they have to say. */
import { keepHead } from "../audit/heads.ts";
import { closeSessions } from "../audit/sessions.ts";
import type { HostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { verifyProof } from "../identity/proof.ts";
import { publicUrl } from "../identity/url.ts";
import {
  AGENT_CONTROL_PATH,
  type AppHealthReport,
  agentClaim,
  agentHello,
  type FromAgent,
  fromAgent,
  HEARTBEAT_LOST_MS,
  HEARTBEAT_MS,
  MAX_TEXT,
  parseMessage,
  type ToAgent,
} from "../link/protocol.ts";
import type { Log } from "../log.ts";
import { type Lock, locked, lockOn } from "../rbac/lock.ts";
import { findAgent, touchAgent } from "../store/agents.ts";
import { enrolApps } from "../store/apps.ts";
import { activeLocks } from "../store/locks.ts";
import { liveSessions } from "../store/sessions.ts";
import type { Store } from "../store/store.ts";
import { reportPins } from "../store/tool-pins.ts";
import type { Endpoint, Socket } from "./socket.ts";
import type { StoreThread } from "./store-thread.ts";

export interface AgentsOptions {
  store: Store;
  log: Log;
  publicAddr: HostPort;
  now(): number;
  ingest: StoreThread["ingest"];
  /** An agent's control connection is lost: what was sent over it last may never have arrived. */
  onGone(agent: string): void;
  /** An agent could not serve a grant. */
  onSessionRefused(attach: string, failure: Failure): void;
  /** An agent came back without this session. */
  onSessionLost(sid: string, reason: string): void;
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
  heartbeat: ReturnType<typeof setInterval>;
}

const LOST = "its agent has it no more: it was restarted, or the server ended while it was away";

export class Agents implements Endpoint {
  /** A hello names all apps and sessions of the agent. */
  readonly maxAnswer = MAX_TEXT;
  readonly #options: AgentsOptions;
  readonly #byId = new Map<string, Connected>();
  readonly #bySocket = new Map<Socket, Connected>();
  #settling = false;
  readonly #arrivals = new Map<string, PromiseWithResolvers<void>>();

  constructor(options: AgentsOptions) {
    this.#options = options;
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
    const { store, log, publicAddr, now } = this.#options;
    const claim = parseMessage(agentClaim, text);
    if (claim === undefined) throw new Failure("invalid", "the agent's hello is not of this version");
    const agent = await findAgent(store, { id: claim.agent });
    if (agent === undefined) {
      throw new Failure("not_found", "this agent is not known here: it was removed, or belongs to another proxy", {
        hint: "to join again, remove its identity.json and give it a new token: mcpgate tokens add --type=app",
      });
    }
    await verifyProof(claim.proof, {
      method: "GET",
      url: publicUrl(publicAddr, AGENT_CONTROL_PATH),
      nonce: socket.nonce,
      jkt: agent.jkt,
    });
    const hello = parseMessage(agentHello, text);
    if (hello === undefined) throw new Failure("invalid", "the agent's hello is not of this version");
    const time = now();
    const lock = lockOn(await activeLocks(store, time), { agent: agent.name });
    if (lock !== undefined) throw locked(lock);
    for (const { sid, reason, ok } of hello.ended) {
      const [session] = await closeSessions(store, { sid, agentId: agent.id }, reason, time, ok);
      if (session !== undefined) this.#options.onSessionLost(sid, reason);
    }
    const lost = (await liveSessions(store, { agentId: agent.id })).filter(({ sid }) => !hello.sessions.includes(sid));
    for (const { sid } of lost) {
      await closeSessions(store, { sid }, LOST, time);
      this.#options.onSessionLost(sid, LOST);
    }
    const { refused } = await enrolApps(store, agent.id, hello.apps, time);
    await touchAgent(store, agent.id, time);

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
      heartbeat: setInterval(() => this.#beat(connected), HEARTBEAT_MS),
    };
    this.#byId.set(agent.id, connected);
    this.#bySocket.set(socket, connected);
    this.#arrivals.get(agent.id)?.resolve();
    this.#arrivals.delete(agent.id);
    const welcome: ToAgent = { t: "welcome", refused, now: now() };
    socket.sendText(welcome);
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
    const message = parseMessage(fromAgent, text);
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
        const { invalid } = await this.#options.ingest(connected.id, message.items, now());
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
        const { refused } = await enrolApps(store, connected.id, message.apps, now());
        connected.socket.sendText({ t: "apps.taken", refused } satisfies ToAgent);
        log.info("agent.apps_changed", { agent: connected.name, apps: message.apps.length });
        await this.#options.offerChanged(connected.id);
        break;
      }
      case "apps.health":
        connected.health = new Map(message.apps.map((each) => [each.app, each]));
        break;
      case "session.refused":
        if (message.gone) {
          await closeSessions(store, { sid: message.sid, agentId: connected.id }, message.message, now());
        }
        this.#options.onSessionRefused(message.attach, Failure.fromJSON(message));
        break;
      case "session.ended":
        await closeSessions(store, { sid: message.sid, agentId: connected.id }, message.reason, now(), message.ok);
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

  #beat(connected: Connected): void {
    if (performance.now() - connected.lastHeard > HEARTBEAT_LOST_MS) {
      connected.socket.close("the agent is silent");
      return;
    }
    connected.socket.sendText({ t: "ping", now: this.#options.now() } satisfies ToAgent);
  }
}
