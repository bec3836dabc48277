/** What an agent says on its control connection, message by message: stored, and answered where it waits for an answer. */
import { keepHead } from "../audit/heads.ts";
import { closeSessions } from "../audit/sessions.ts";
import { Failure } from "../errors.ts";
import type { FromAgent } from "../link/from-agent.ts";
import type { Log } from "../log.ts";
import { enrolApps } from "../store/apps.ts";
import type { Store } from "../store/store.ts";
import { reportPins } from "../store/tool-pins.ts";
import type { AppResources } from "./app-resources.ts";
import type { ConnectedAgent } from "./connected-agent.ts";
import type { StoreThread } from "./store-thread.ts";

export interface AgentMessagesOptions {
  store: Store;
  log: Log;
  /** Milliseconds since the epoch. */
  now(): number;
  ingest: StoreThread["ingest"];
  /** An agent could not serve a grant, and another one is to be asked: the session is not over. */
  hasAnother(attach: string): boolean;
  /** An agent could not serve a grant. */
  onSessionRefused(attach: string, failure: Failure): void;
  /** An agent's apps, or their labels, have changed: so may have what its sessions may do. */
  offerChanged(agent: string): Promise<void>;
}

/** Rejects where the store fails: then nothing was acknowledged. */
export async function takeEvents(
  { log, now, ingest }: AgentMessagesOptions,
  agent: ConnectedAgent,
  lines: Buffer,
): Promise<void> {
  const bytes = lines.length; // before they are given away
  const { invalid } = await ingest(agent.id, lines, now());
  if (invalid > 0) log.warn("agent.invalid_events", { agent: agent.name, count: invalid });
  agent.send({ t: "events.stored", bytes });
}

/** Rejects where the store fails. */
export async function takeMessage(
  options: AgentMessagesOptions & { resources: AppResources },
  agent: ConnectedAgent,
  message: FromAgent,
): Promise<void> {
  const { store, log, now, resources } = options;
  const { id, name } = agent;
  switch (message.t) {
    case "events.head":
      await keepHead(store, id, message.head).catch((error: unknown) =>
        log.error("agent.head_refused", { agent: name, error: Failure.from(error).message }),
      );
      break;
    case "apps": {
      const { refused, freed } = await enrolApps(store, id, message.apps, now());
      agent.send({ t: "apps.taken", refused });
      const changed = agent.select(message.resources);
      if (agent.takes === undefined) await resources.reported(agent, []);
      // Others may wait for names that the agent had until now.
      if (freed.length > 0 || changed) void resources.changed();
      log.info("agent.apps_changed", { agent: name, apps: message.apps.length });
      await options.offerChanged(id);
      break;
    }
    case "apps.health":
      agent.noteHealth(message.apps);
      break;
    case "app.resources.taken":
      await resources.reported(agent, message.resources);
      break;
    case "session.refused":
      if (message.gone && !options.hasAnother(message.attach)) {
        const cause = "not_started";
        await closeSessions(store, { sid: message.sid, agentId: id }, message.message, now(), { cause });
      }
      options.onSessionRefused(message.attach, Failure.fromJSON(message));
      break;
    case "session.ended":
      await closeSessions(store, { sid: message.sid, agentId: id }, message.reason, now(), { success: message.ok });
      break;
    case "tools.pins": {
      const { app, enforce, tools } = message;
      const due = await reportPins(store, { agentId: id, app, enforce, tools, now: now() });
      if (due.length > 0) agent.send({ t: "tools.approved", app, tools: due });
      break;
    }
    case "hello":
    case "pong":
      break;
  }
}
