/** What an agent may ask of itself: whether this proxy knows it. It takes no connection of the agent's away. */
import type { Hono } from "hono";
import { Failure } from "../../errors.ts";
import { locked, lockOn } from "../../rbac/lock.ts";
import { findAgent } from "../../store/agents.ts";
import { activeLocks } from "../../store/locks.ts";
import { type ApiEnv, proofOf } from "./actor.ts";
import type { ApiDeps } from "./deps.ts";

export function agentSelfRoutes(app: Hono<ApiEnv>, deps: ApiDeps): void {
  const { store, live, now } = deps;

  app.get("/v1/agent/whoami", async (c) => {
    const { jkt } = await proofOf(c, deps);
    const agent = await findAgent(store, { jkt });
    if (agent === undefined) {
      throw new Failure("access_denied", "this agent is not known here: it was removed, or belongs to another proxy");
    }
    const lock = lockOn(await activeLocks(store, now()), { agent: agent.name });
    if (lock !== undefined) throw locked(lock);
    return c.json({ agent_id: agent.id, agent_name: agent.name, online: live.onlineAgents().has(agent.id) });
  });
}
