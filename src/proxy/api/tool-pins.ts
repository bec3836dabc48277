/** Admin: apps, how their tools stand, and the approval of what is new or has changed. */
import type { Hono } from "hono";
import * as v from "valibot";
import { recordEvents } from "../../audit/store.ts";
import { Failure } from "../../errors.ts";
import { listReports } from "../../store/app-resources.ts";
import { findApps, listApps } from "../../store/apps.ts";
import { inTransaction } from "../../store/store.ts";
import { approvePins, listPins, type ToolPin } from "../../store/tool-pins.ts";
import { type ApiEnv, may, remoteOf } from "./actor.ts";
import { MAX_ROLE_BODY, parse, readJson } from "./body.ts";
import type { ApiDeps } from "./deps.ts";

const approval = v.strictObject({
  tools: v.pipe(
    v.array(
      v.strictObject({
        tool: v.pipe(v.string(), v.maxLength(4096, "longer than 4096 characters")),
        hash: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, "must be 64 hex digits")),
      }),
    ),
    v.minLength(1, "at least one"),
    v.maxLength(1000, "at most 1000"),
  ),
});

export function toolPinRoutes(app: Hono<ApiEnv>, deps: ApiDeps): void {
  const { store, live, now } = deps;

  app.get("/v1/api/apps", may(deps, "app", "list"), async (c) => {
    const online = live.onlineAgents();
    const pins = await listPins(store);
    const apps = (await listApps(store)).map((offer) => {
      const own = pins.filter((pin) => pin.app === offer.name && pin.agentId === offer.agentId);
      return {
        name: offer.name,
        agent: offer.agent,
        online: online.has(offer.agentId),
        description: offer.description,
        labels: offer.labels,
        resource: offer.resource,
        tools: own.length,
        pending: own.filter(({ pending }) => pending !== undefined).length,
      };
    });
    const refused = (await listReports(store)).filter(({ state }) => state === "refused");
    return c.json({ apps, refused: refused.map(({ name, agent, reason }) => ({ name, agent, reason })) });
  });

  app.get("/v1/api/apps/:name/pins", may(deps, "app", "read"), async (c) => {
    const name = c.req.param("name");
    await mustExist(name);
    return c.json({ pins: (await listPins(store, name)).map(pinJson) });
  });

  app.post("/v1/api/apps/:name/approve", may(deps, "app", "update"), async (c) => {
    const name = c.req.param("name");
    const { tools } = parse(approval, await readJson(c, MAX_ROLE_BODY));
    await mustExist(name);
    const approved = await inTransaction(store, async (tx) => {
      const all = await approvePins(tx, { app: name, tools, by: c.var.actor.name, now: now() });
      const by = { actor: c.var.actor.name, remote: remoteOf(c), success: true };
      const events = all.map(({ agent, tool, hash }) => ({
        event: "app.approve" as const,
        app: name,
        agent,
        tool,
        ...by,
        details: { hash },
      }));
      if (events.length > 0) await recordEvents(tx, events, now());
      return all;
    });
    for (const [agentId, own] of Map.groupBy(approved, (each) => each.agentId)) {
      live.toolsApproved?.(
        agentId,
        name,
        own.map(({ tool, hash }) => ({ tool, hash })),
      );
    }
    return c.json({ approved: approved.map(({ agent, tool, hash }) => ({ agent, tool, hash })) });
  });

  async function mustExist(name: string): Promise<void> {
    if ((await findApps(store, name)).length > 0) return;
    throw new Failure("not_found", `there is no app ${name}`, { hint: "mcpgate apps ls" });
  }
}

const pinJson = ({ agent, tool, enforce, pinned, pending, diff, approved }: ToolPin) => ({
  agent,
  tool,
  enforce,
  pinned: pinned ?? null,
  pending: pending ?? null,
  diff,
  approved_by: approved !== undefined && approved.hash === pinned ? approved.by : null,
  approved_at: approved !== undefined && approved.hash === pinned ? new Date(approved.at).toISOString() : null,
});
