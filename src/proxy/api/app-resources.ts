/** Admin: app resources, which agents pick up. */
import type { Context, Hono } from "hono";
import { withoutSecretArguments } from "../../audit/secrets.ts";
import { recordEvents } from "../../audit/store.ts";
import { parseAppResource } from "../../config/app-resource.ts";
import { Failure } from "../../errors.ts";
import type { EventName } from "../../event.ts";
import {
  type AppResource,
  getAppResource,
  listAppResources,
  listReports,
  putAppResource,
  type ResourceReport,
  removeAppResource,
} from "../../store/app-resources.ts";
import { inTransaction, type Store } from "../../store/store.ts";
import { type ApiEnv, may, remoteOf } from "./actor.ts";
import { readJson } from "./body.ts";
import type { ApiDeps } from "./deps.ts";

const PATH = "/v1/api/app-resources";

export function appResourceRoutes(app: Hono<ApiEnv>, deps: ApiDeps): void {
  const { store, live, now } = deps;

  app.get(PATH, may(deps, "app", "list"), async (c) => {
    const reports = await listReports(store);
    return c.json({ apps: (await listAppResources(store)).map((each) => resourceJson(each, reports)) });
  });

  app.get(`${PATH}/:name`, may(deps, "app", "read"), async (c) =>
    c.json(resourceJson(await getAppResource(store, c.req.param("name")), await listReports(store))),
  );

  app.post(PATH, may(deps, "app", "create"), async (c) =>
    c.json(await put(c, await readJson(c), { replace: false }), 201),
  );

  app.put(`${PATH}/:name`, may(deps, "app", "create"), may(deps, "app", "update", "app.update"), async (c) => {
    const document = await readJson(c);
    const { name } = parseAppResource(document);
    if (name !== c.req.param("name")) {
      throw new Failure("invalid", `metadata.name is ${name}, and the address says ${c.req.param("name")}`);
    }
    return c.json(await put(c, document, { replace: true }));
  });

  app.delete(`${PATH}/:name`, may(deps, "app", "delete"), async (c) => {
    const name = c.req.param("name");
    const agents = await inTransaction(store, async (tx) => {
      const offered = await removeAppResource(tx, name);
      await record(tx, c, "app.delete", name, {});
      return offered;
    });
    for (const agent of agents) live.endSessions({ app: name, agent }, "the app was removed");
    live.appResourcesChanged?.();
    return c.json({ name });
  });

  async function put(c: Context<ApiEnv>, document: unknown, { replace }: { replace: boolean }) {
    const { resource, created } = await inTransaction(store, async (tx) => {
      const stored = await putAppResource(tx, document, { replace, by: c.var.actor.name, now: now() });
      const { command, args, runAsHostUser } = parseAppResource(document).mcp;
      const line = withoutSecretArguments([command, ...args]);
      const details = { command: line, run_as_host_user: runAsHostUser, labels: stored.resource.labels };
      await record(tx, c, stored.created ? "app.create" : "app.update", stored.resource.name, details);
      return stored;
    });
    live.appResourcesChanged?.();
    // Its labels decide who may reach it.
    if (!created) live.policyChanged();
    return { ...resourceJson(resource, await listReports(store)), created };
  }

  async function record(
    tx: Store,
    c: Context<ApiEnv>,
    event: EventName,
    name: string,
    details: Record<string, unknown>,
  ): Promise<void> {
    const by = { actor: c.var.actor.name, remote: remoteOf(c), success: true };
    await recordEvents(tx, [{ event, app: name, ...by, details }], now());
  }

  function resourceJson(resource: AppResource, all: readonly ResourceReport[]) {
    const { name, revision, document, labels, updatedAt, updatedBy } = resource;
    const reports = all.filter((report) => report.name === name);
    const online = live.onlineAgents();
    const asked = (live.appTakers?.(labels) ?? []).filter(({ id }) => !reports.some(({ agentId }) => agentId === id));
    const agents = [
      ...reports.map((report) => ({
        agent: report.agent,
        online: online.has(report.agentId),
        ...(report.revision === revision ? { state: report.state, reason: report.reason } : { state: "waiting" }),
      })),
      ...asked.map(({ name: agent }) => ({ agent, online: true, state: "waiting" })),
    ];
    return { name, updated_at: new Date(updatedAt).toISOString(), updated_by: updatedBy, document, agents };
  }
}
