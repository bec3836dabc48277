/** What a user may reach: the same decision as at the opening of a session. */
import type { Hono } from "hono";
import { appAccess } from "../../rbac/access.ts";
import { allowedTools } from "../../rbac/decide.ts";
import { type App, listApps } from "../../store/apps.ts";
import type { Subject } from "../../store/roles.ts";
import { type ApiEnv, authenticated, userOf } from "./actor.ts";
import type { ApiDeps, Live } from "./deps.ts";

export function appRoutes(app: Hono<ApiEnv>, deps: ApiDeps): void {
  app.get("/v1/apps", authenticated(deps), async (c) => {
    const user = userOf(c);
    const online = deps.live.onlineAgents();
    const byName = Map.groupBy(await listApps(deps.store), (offer) => offer.name);
    const apps = [...byName.values()].flatMap((offers) => appJson(offers, user, online, deps.live) ?? []);
    return c.json({ apps });
  });
}

/** Of several, the offer that a session would rather get: one that is allowed, of an agent that is online and does well. */
function appJson(offers: App[], user: Subject, online: Set<string>, live: Live) {
  const allowed = offers.flatMap((offer) => {
    const { allowed: yes, rules } = appAccess(user.roles, offer, user);
    return yes ? [{ offer, rules }] : [];
  });
  const there = allowed.filter(({ offer }) => online.has(offer.agentId));
  const well = there.find(({ offer }) => live.appHealth?.(offer.agentId, offer.name)?.state !== "failing");
  const chosen = well ?? there[0] ?? allowed[0];
  if (chosen === undefined) return undefined;
  const { offer, rules } = chosen;
  const tools = allowedTools(rules);
  return {
    name: offer.name,
    description: offer.description,
    type: offer.type,
    labels: offer.labels,
    allowed_tools: tools.allowed,
    denied_tools: tools.denied,
    online: online.has(offer.agentId),
    ...healthOf(live, offer),
  };
}

/** How its servers do, once the agent has told. */
function healthOf(live: Live, { agentId, name }: App) {
  const told = live.appHealth?.(agentId, name);
  if (told === undefined) return {};
  const { app: _, ...health } = told;
  return { health };
}
