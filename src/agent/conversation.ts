/** What the agent says to the proxy over the control connection, and what it does at the proxy's word. */
import type { Spool } from "../audit/spool.ts";
import { Failure } from "../errors.ts";
import type { FromAgent } from "../link/from-agent.ts";
import type { ToAgent } from "../link/to-agent.ts";
import type { Log } from "../log.ts";
import type { Apps } from "./apps.ts";
import type { Catalog } from "./catalog.ts";
import type { ControlOptions } from "./control.ts";
import type { AppHealth } from "./health.ts";
import type { AgentIdentity } from "./join.ts";
import type { PinsByApp } from "./pins-by-app.ts";
import type { Sessions } from "./sessions.ts";

export interface ConversationOptions {
  identity: AgentIdentity;
  boot: string;
  spool: Spool;
  log: Log;
  apps: Apps;
  catalog: Catalog;
  pins: PinsByApp;
  health: AppHealth;
  sessions: Sessions;
  send(message: FromAgent): void;
  /** The proxy took the hello, and these apps. */
  onWelcome(apps: string[]): void;
  onRejected(failure: Failure): void;
}

export function conversation(o: ConversationOptions): ControlOptions {
  const { identity, boot, spool, log, apps, sessions } = o;
  return {
    trust: identity.trust,
    agent: identity.agent,
    key: identity.key,
    spool,
    log,
    offer: () => ({ boot, ...apps.offer(), ...sessions.report }),
    onMessage: (message) => onMessage(o, message),
    settled: () => sessions.settled,
    onClock: (now) => sessions.learnClock(now),
    onRejected: o.onRejected,
    // The lock may have been made while nobody could tell us to end them.
    onLocked: ({ message }) => {
      for (const session of sessions.all) void session.end(message);
    },
  };
}

export const tellHealth = ({ health, send }: Pick<ConversationOptions, "health" | "send">): void =>
  send({ t: "apps.health", apps: health.list() });

function onMessage(o: ConversationOptions, message: Parameters<ControlOptions["onMessage"]>[0]): void {
  const { log, apps, catalog, pins, sessions } = o;
  switch (message.t) {
    case "welcome":
      sessions.reported();
      onWelcome(o, message);
      break;
    case "session.open":
      sessions.open(message);
      break;
    case "session.policy":
      sessions.update(message.grant);
      break;
    case "apps.taken":
      apps.answered(message.refused);
      tellHealth(o);
      pins.tell();
      break;
    case "app.resources":
      apps.offerAgain();
      void catalog.receive(message.resources).catch((error: unknown) => {
        log.error("app_resources.failed", { error: Failure.from(error).message });
      });
      break;
    case "tools.approved":
      if (!pins.approve(message.app, message.tools)) break;
      for (const session of sessions.of(message.app)) session.toolsApproved();
      break;
    case "session.end":
      sessions.end(message.sid, message.reason);
      break;
  }
}

function onWelcome(o: ConversationOptions, { now, refused }: Extract<ToAgent, { t: "welcome" }>): void {
  const { log, apps, pins, sessions } = o;
  sessions.learnClock(now);
  apps.offerAnew(); // reloaded while the hello was on its way
  apps.answered(refused);
  const names = new Set(refused.map(({ name }) => name));
  const taken = apps.all.map(({ name }) => name).filter((name) => !names.has(name));
  log.info("control.connected", { apps: taken.join(","), sessions: sessions.all.length });
  tellHealth(o);
  pins.tell();
  o.onWelcome(taken);
}
