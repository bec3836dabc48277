/** Admin: roles. */
import type { Context, Hono } from "hono";
import { recordEvents } from "../../audit/store.ts";
import { Failure } from "../../errors.ts";
import { parseRole } from "../../rbac/role.ts";
import { getRole, listRoles, putRole, removeRole, type StoredRole } from "../../store/roles.ts";
import { inTransaction } from "../../store/store.ts";
import { type ApiEnv, may, remoteOf } from "./actor.ts";
import { MAX_ROLE_BODY, readJson } from "./body.ts";
import type { ApiDeps } from "./deps.ts";

export function roleRoutes(app: Hono<ApiEnv>, deps: ApiDeps): void {
  const { store, live, now } = deps;

  app.get("/v1/api/roles", may(deps, "role", "list"), async (c) =>
    c.json({ roles: (await listRoles(store)).map(roleJson) }),
  );

  app.get("/v1/api/roles/:name", may(deps, "role", "read"), async (c) =>
    c.json(roleJson(await getRole(store, c.req.param("name")))),
  );

  app.post("/v1/api/roles", may(deps, "role", "create"), async (c) => {
    const document = await readJson(c, MAX_ROLE_BODY);
    return c.json(await put(c, document, { replace: false }), 201);
  });

  // whoever may replace a role that is not there makes one: both rights are asked for
  app.put("/v1/api/roles/:name", may(deps, "role", "create"), may(deps, "role", "update"), async (c) => {
    const document = await readJson(c, MAX_ROLE_BODY);
    const { name } = parseRole(document).metadata;
    if (name !== c.req.param("name")) {
      throw new Failure("invalid", `metadata.name is ${name}, and the address says ${c.req.param("name")}`);
    }
    return c.json(await put(c, document, { replace: true }));
  });

  app.delete("/v1/api/roles/:name", may(deps, "role", "delete"), async (c) => {
    const name = c.req.param("name");
    await inTransaction(store, async (tx) => {
      await removeRole(tx, name);
      const by = { actor: c.var.actor.name, remote: remoteOf(c), success: true };
      await recordEvents(tx, [{ event: "role.delete", ...by, details: { role: name } }], now());
    });
    live.policyChanged();
    return c.json({ name });
  });

  async function put(c: Context<ApiEnv>, document: unknown, o: { replace: boolean }) {
    const { role, created } = await inTransaction(store, async (tx) => {
      const stored = await putRole(tx, document, { replace: o.replace, now: now() });
      const event = stored.created ? ("role.create" as const) : ("role.update" as const);
      const by = { actor: c.var.actor.name, remote: remoteOf(c), success: true };
      await recordEvents(tx, [{ event, ...by, details: { role: stored.role.name } }], now());
      return stored;
    });
    live.policyChanged();
    return { ...roleJson(role), created };
  }
}

function roleJson(role: StoredRole) {
  return {
    name: role.name,
    preset: role.preset,
    updated_at: new Date(role.updatedAt).toISOString(),
    document: role.document,
  };
}
