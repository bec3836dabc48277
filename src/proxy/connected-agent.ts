/** One agent's control connection: its heartbeats, the order of its messages, and what it last told of itself. */
import { Failure } from "../errors.ts";
import type { AppHealthReport } from "../link/from-agent.ts";
import { HEARTBEAT_LOST_MS, HEARTBEAT_MS, type ToAgent } from "../link/to-agent.ts";
import { compileSelectors, type LabelSelector } from "../rbac/labels.ts";
import type { Takes } from "./app-resources.ts";
import type { Socket } from "./socket.ts";

/** How long an agent on which an app's servers failed is not the first to get its sessions, where there is another. */
const FAILING_MS = 30_000;
/** What a message costs that waits, besides what it says. */
const EACH = 1024;
/** Of its messages that wait for those before them, bytes (of text: characters): what a thousand apps say at once is less. */
const MAX_WAITING = 64 * 1024 * 1024;

export class ConnectedAgent {
  readonly id: string;
  readonly name: string;
  readonly #socket: Socket;
  readonly #heartbeat: ReturnType<typeof setInterval>;
  /** Its messages are taken in order, one at a time: a batch of events is stored before the next is looked at. */
  #work: Promise<void> = Promise.resolve();
  /** Bytes of those that wait; infinite once there were too many. */
  #waiting = 0;
  #lastHeard = performance.now();
  /** By app, as it last told. */
  #health = new Map<string, AppHealthReport>();
  /** When an app's servers last failed, as `performance.now()` has it. */
  #failed = new Map<string, number>();
  #selectors: LabelSelector[];
  #takes: Takes | undefined;

  /** `now`: the clock that the agent is told, milliseconds since the epoch. */
  constructor(agent: { id: string; name: string }, socket: Socket, selectors: LabelSelector[], now: () => number) {
    this.id = agent.id;
    this.name = agent.name;
    this.#socket = socket;
    this.#selectors = selectors;
    this.#takes = takesOf(selectors);
    this.#heartbeat = setInterval(() => this.#beat(now), HEARTBEAT_MS);
  }

  send(message: ToAgent): void {
    this.#socket.sendText(message);
  }

  /** It may come again. */
  close(reason: string): void {
    this.#socket.close(reason);
  }

  /** It is told why not. */
  refuse(failure: Failure): void {
    this.#socket.refuse(failure);
  }

  /** The socket is closed. */
  ended(): void {
    clearInterval(this.#heartbeat);
  }

  heard(): void {
    this.#lastHeard = performance.now();
  }

  /**
   * When what was taken before is done. `size`: of the message that it is about. One that says more than is dealt
   * with loses its connection, and what waits is dropped: none of it was acknowledged.
   */
  inOrder(work: () => Promise<void>, onFailed: (failure: Failure) => void, size = 0): void {
    const cost = size + EACH;
    this.#waiting += cost;
    if (this.#waiting > MAX_WAITING) {
      if (this.#waiting < Number.POSITIVE_INFINITY)
        onFailed(new Failure("too_many_requests", "too much waits already"));
      this.#waiting = Number.POSITIVE_INFINITY;
      return;
    }
    this.#work = this.#work
      .then(() => {
        this.#waiting -= cost;
        return this.#waiting === Number.POSITIVE_INFINITY ? undefined : work();
      })
      .catch((error: unknown) => onFailed(Failure.from(error)));
  }

  /** Resolves when all that was taken is done. */
  get settled(): Promise<void> {
    return this.#work;
  }

  /** Which app resources it takes; undefined: none. */
  get takes(): Takes | undefined {
    return this.#takes;
  }

  /** Whether it takes others from now on. */
  select(selectors: LabelSelector[]): boolean {
    const had = this.#selectors;
    this.#selectors = selectors;
    this.#takes = takesOf(selectors);
    return !Bun.deepEquals(had, selectors);
  }

  /** How the app's servers do there; `undefined` where it has not told yet. */
  health(app: string): AppHealthReport | undefined {
    return this.#health.get(app);
  }

  noteHealth(apps: readonly AppHealthReport[]): void {
    const now = performance.now();
    const since = ({ app, at }: AppHealthReport) =>
      (this.#health.get(app)?.at === at ? this.#failed.get(app) : now) ?? now;
    this.#failed = new Map(apps.map((each) => [each.app, since(each)]));
    this.#health = new Map(apps.map((each) => [each.app, each]));
  }

  /** The app's servers failed there a moment ago. */
  failing(app: string): boolean {
    if (this.#health.get(app)?.state !== "failing") return false;
    return performance.now() - (this.#failed.get(app) ?? 0) < FAILING_MS;
  }

  #beat(now: () => number): void {
    if (performance.now() - this.#lastHeard > HEARTBEAT_LOST_MS) this.close("the agent is silent");
    else this.send({ t: "ping", now: now() });
  }
}

export const takesOf = (selectors: LabelSelector[]): Takes | undefined =>
  selectors.length === 0 ? undefined : compileSelectors(selectors);
