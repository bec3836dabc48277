/** Admin: agents. */
import type { Hono } from "hono";
import { recordEvents } from "../../audit/store.ts";
import { type Agent, findAgent, listAgents, noSuchAgent, removeAgent } from "../../store/agents.ts";
import { listApps } from "../../store/apps.ts";
import { liveSessions } from "../../store/sessions.ts";
import { inTransaction } from "../../store/store.ts";
import { type ApiEnv, may, remoteOf } from "./actor.ts";
import type { ApiDeps } from "./deps.ts";

const rfc3339 = (at: number | undefined): string | null => (at === undefined ? null : new Date(at).toISOString());

export function agentRoutes(app: Hono<ApiEnv>, deps: ApiDeps): void {
  const { store, live, now } = deps;

  app.get("/v1/api/agents", may(deps, "agent", "list"), async (c) => {
    const online = live.onlineAgents();
    // of one that is connected the store knows since when
    const seen = ({ id, lastSeenAt }: Agent) => (online.has(id) ? now() : lastSeenAt);
    const apps = Map.groupBy(await listApps(store), (offer) => offer.agentId);
    const agents = (await listAgents(store)).map((agent) => ({
      id: agent.id,
      name: agent.name,
      online: online.has(agent.id),
      apps: (apps.get(agent.id) ?? []).map((offer) => offer.name),
      joined_at: new Date(agent.joinedAt).toISOString(),
      last_seen_at: rfc3339(seen(agent)),
    }));
    return c.json({ agents });
  });

  // by name, or by id where the name is hard to write
  app.delete("/v1/api/agents/:name", may(deps, "agent", "delete"), async (c) => {
    const name = c.req.param("name");
    const { agent, ended } = await inTransaction(store, async (tx) => {
      const found = (await findAgent(tx, { name })) ?? (await findAgent(tx, { id: name }));
      if (found === undefined) throw noSuchAgent();
      await removeAgent(tx, found.id);
      const by = { actor: c.var.actor.name, remote: remoteOf(c), success: true };
      const details = { agent_id: found.id };
      await recordEvents(tx, [{ event: "agent.remove", agent: found.name, ...by, details }], now());
      return { agent: found, ended: await liveSessions(tx, { agentId: found.id }) };
    });
    live.endSessions({ agent: agent.id }, "agent removed");
    live.disconnectAgent(agent.id, "agent removed");
    return c.json({ id: agent.id, name: agent.name, ended_sessions: ended.length });
  });
}
