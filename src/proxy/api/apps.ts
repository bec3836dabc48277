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

/** Of a shared app, the offer that a session would get: one that is allowed, rather one that is online. */
function appJson(offers: App[], user: Subject, online: Set<string>, live: Live) {
  const allowed = offers.flatMap((offer) => {
    const { allowed: yes, rules } = appAccess(user.roles, offer, user);
    return yes ? [{ offer, rules }] : [];
  });
  const chosen = allowed.find(({ offer }) => online.has(offer.agentId)) ?? allowed[0];
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
