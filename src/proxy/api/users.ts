/** Admin: users, their roles and invites. */
import type { Hono } from "hono";
import * as v from "valibot";
import { recordEvents } from "../../audit/store.ts";
import { Failure } from "../../errors.ts";
import { publicUrl } from "../../identity/url.ts";
import { parseTraits } from "../../rbac/traits.ts";
import { liveSessions } from "../../store/sessions.ts";
import { inTransaction } from "../../store/store.ts";
import { addInvite, addUser, getUser, listUsers, removeUser, type User, updateUser } from "../../store/users.ts";
import { type ApiEnv, may, remoteOf } from "./actor.ts";
import { readBody } from "./body.ts";
import type { ApiDeps } from "./deps.ts";
import { changedTraits, roleNames, userName } from "./schemas.ts";
import { clusterTrust } from "./trust.ts";

const addBody = v.strictObject({ name: userName, roles: roleNames, traits: v.optional(v.unknown()) });
const updateBody = v.strictObject({ roles: v.optional(roleNames), traits: v.optional(changedTraits) });

export function userRoutes(app: Hono<ApiEnv>, deps: ApiDeps): void {
  const { store, live, now, config } = deps;

  /** The secret is in the fragment: a browser sends it to nobody. */
  const inviteJson = (invite: { secret: string; expiresAt: number }) => ({
    invite_url: `${publicUrl(config.publicAddr, "/web/invite")}#${invite.secret}`,
    invite_expires_at: new Date(invite.expiresAt).toISOString(),
    ...clusterTrust(deps),
  });

  app.get("/v1/api/users", may(deps, "user", "list"), async (c) =>
    c.json({ users: (await listUsers(store)).map(userJson) }),
  );

  app.get("/v1/api/users/:name", may(deps, "user", "read"), async (c) =>
    c.json(userJson(await getUser(store, c.req.param("name")))),
  );

  app.post("/v1/api/users", may(deps, "user", "create"), async (c) => {
    const { name, roles, traits: given = {} } = await readBody(c, addBody);
    const traits = parseTraits(given);
    const { user, invite } = await inTransaction(store, async (tx) => {
      const added = await addUser(tx, { name, roles, traits, now: now() });
      const by = { actor: c.var.actor.name, remote: remoteOf(c), success: true };
      await recordEvents(
        tx,
        [{ event: "user.create", user: name, ...by, details: { roles: added.roles, traits } }],
        now(),
      );
      return { user: added, invite: await addInvite(tx, name, now()) };
    });
    return c.json({ ...userJson(user), ...inviteJson(invite) }, 201);
  });

  // a new invite: for one that ran out, or for a forgotten password
  app.post("/v1/api/users/:name/invite", may(deps, "user", "update"), async (c) => {
    const name = c.req.param("name");
    const invite = await inTransaction(store, async (tx) => {
      const added = await addInvite(tx, name, now());
      const by = { actor: c.var.actor.name, remote: remoteOf(c), success: true };
      await recordEvents(tx, [{ event: "user.update", user: name, ...by, details: { invite: true } }], now());
      return added;
    });
    return c.json({ name, ...inviteJson(invite) }, 201);
  });

  app.patch("/v1/api/users/:name", may(deps, "user", "update"), async (c) => {
    const name = c.req.param("name");
    const change = await readBody(c, updateBody);
    if (Object.keys(change).length === 0) throw new Failure("invalid", "body: neither roles nor traits are given");
    const user = await inTransaction(store, async (tx) => {
      const updated = await updateUser(tx, name, change);
      const details = { roles: updated.roles, traits: updated.traits };
      const by = { actor: c.var.actor.name, remote: remoteOf(c), success: true };
      await recordEvents(tx, [{ event: "user.update", user: name, ...by, details }], now());
      return updated;
    });
    live.policyChanged();
    return c.json(userJson(user));
  });

  app.delete("/v1/api/users/:name", may(deps, "user", "delete"), async (c) => {
    const name = c.req.param("name");
    const ended = await inTransaction(store, async (tx) => {
      await removeUser(tx, name);
      const by = { actor: c.var.actor.name, remote: remoteOf(c), success: true };
      await recordEvents(tx, [{ event: "user.delete", user: name, ...by }], now());
      return liveSessions(tx, { user: name });
    });
    live.endSessions({ user: name }, "user removed");
    return c.json({ name, ended_sessions: ended.length });
  });
}

function userJson(user: User) {
  return {
    name: user.name,
    roles: user.roles,
    traits: user.traits,
    status: user.active ? "active" : "invited",
    created_at: new Date(user.createdAt).toISOString(),
  };
}
