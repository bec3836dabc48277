/** App resources on their way to the agents that asked for them, and what these say about them. */
import { recordEvents } from "../audit/store.ts";
import { Failure } from "../errors.ts";
import type { AppResourceReport } from "../link/from-agent.ts";
import type { ToAgent } from "../link/to-agent.ts";
import type { Log } from "../log.ts";
import { type AppResource, listAppResources, reportResources } from "../store/app-resources.ts";
import { enrolResource, findApps, listApps } from "../store/apps.ts";
import { inTransaction, type Store } from "../store/store.ts";
import type { RunJob } from "./store-jobs.ts";

/** Whether an agent takes an app with these labels; its own word. */
export type Takes = (labels: Record<string, string>) => boolean;

export interface AppResourcesOptions {
  store: Store;
  log: Log;
  now(): number;
  /** The agents that are connected and take resources at all. */
  takers(): { id: string; takes: Takes }[];
  send(agentId: string, message: ToAgent): void;
}

type Message = Extract<ToAgent, { t: "app.resources" }>;

export class AppResources {
  readonly #o: AppResourcesOptions;
  #version = 0;
  /** One round at a time, each with what is there when it begins: no older set overtakes a newer one. */
  #rounds: Promise<void> = Promise.resolve();
  #waiting = false;

  constructor(options: AppResourcesOptions) {
    this.#o = options;
  }

  /** Grows whenever something has changed. */
  get version(): number {
    return this.#version;
  }

  /** What an agent with these selectors gets. */
  async messageFor(takes: Takes): Promise<Message> {
    return messageOf(await listAppResources(this.#o.store), takes);
  }

  /** A resource has changed, or what an agent takes: every agent gets the present set. */
  changed(): Promise<void> {
    this.#version += 1;
    if (this.#waiting) return this.#rounds;
    this.#waiting = true;
    this.#rounds = this.#rounds.then(async () => {
      this.#waiting = false;
      try {
        const all = await listAppResources(this.#o.store);
        for (const { id, takes } of this.#o.takers()) this.#o.send(id, messageOf(all, takes));
      } catch (error) {
        this.#o.log.error("app_resources.failed", { error: Failure.from(error).message });
      }
    });
    return this.#rounds;
  }

  /**
   * What the store said is told when the agents have heard of what had changed by then: nobody is let in for what a resource is
   * now to an agent that still runs what it was.
   */
  heard(run: RunJob): RunJob {
    return (name, given) => {
      const answer = run(name, given);
      return answer.then(() => this.#rounds).then(() => answer);
    };
  }

  /** What an agent says that it made of them. A refusal is told once: to the log here, and to the audit log. */
  async reported(agent: { id: string; name: string }, said: readonly AppResourceReport[]): Promise<void> {
    const { store, log, now } = this.#o;
    const refused = await inTransaction(store, async (tx) => {
      const offers = await listApps(tx, agent.id);
      const enrolled = new Set(offers.filter(({ resource }) => resource).map(({ name }) => name));
      const taken = new Set(offers.map(({ name }) => name));
      const reports = [];
      for (const { name, revision, state, reason } of said) {
        // It offers it; whether the name was free is the proxy's to say. Where an app was removed and made again before the
        // agent heard of it, the agent has nothing to offer anew.
        if (state === "offered" && !taken.has(name) && (await enrolResource(tx, agent.id, { name, revision }, now()))) {
          taken.add(name);
          enrolled.add(name);
        }
        const isOffered = state === "offered" && enrolled.has(name);
        const why = isOffered
          ? undefined
          : state === "offered"
            ? await notEnrolled(tx, agent.id, name)
            : (reason ?? "");
        reports.push({ name, revision, state: isOffered ? state : ("refused" as const), reason: why });
      }
      const news = await reportResources(tx, agent.id, reports, now());
      const events = news.map(({ name, reason }) => ({
        event: "app.refuse" as const,
        app: name,
        agent: agent.name,
        success: false,
        error: reason,
      }));
      if (events.length > 0) await recordEvents(tx, events, now());
      return news;
    });
    for (const { name: app, reason } of refused) log.warn("app_resource.refused", { agent: agent.name, app, reason });
  }
}

const messageOf = (all: readonly AppResource[], takes: Takes): Message => ({
  t: "app.resources",
  resources: all
    .filter(({ labels }) => takes(labels))
    .map(({ name, revision, document }) => ({ name, revision, document })),
});

async function notEnrolled(tx: Store, agentId: string, name: string): Promise<string> {
  const other = (await findApps(tx, name)).find((offer) => offer.agentId !== agentId);
  return other === undefined
    ? "the agent says that it offers the app, and does not"
    : `the name belongs to the agent ${other.agent}, whose own app is not declared shared`;
}
