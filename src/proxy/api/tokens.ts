/** Admin: join tokens. */
import type { Hono } from "hono";
import * as v from "valibot";
import { recordEvents } from "../../audit/store.ts";
import { inTransaction } from "../../store/store.ts";
import { listTokenResources, removeTokenResource, type StoredToken } from "../../store/token-resources.ts";
import { addToken, listTokens, removeToken, type Token } from "../../store/tokens.ts";
import { type ApiEnv, may, remoteOf } from "./actor.ts";
import { readBody } from "./body.ts";
import type { ApiDeps } from "./deps.ts";
import { secret } from "./schemas.ts";
import { clusterTrust } from "./trust.ts";

const addBody = v.strictObject({ type: v.literal("app"), ttl_seconds: v.optional(v.number()) });
const revokeBody = v.strictObject({ token: secret });

export function tokenRoutes(app: Hono<ApiEnv>, deps: ApiDeps): void {
  const { store, now } = deps;

  app.post("/v1/api/tokens", may(deps, "token", "create"), async (c) => {
    const body = await readBody(c, addBody);
    const actor = c.var.actor.name;
    const { secret: token, ...added } = await inTransaction(store, async (tx) => {
      const made = await addToken(tx, { type: body.type, ttl: body.ttl_seconds, createdBy: actor, now: now() });
      const details = { token_id: made.id, type: made.type, expires_at: new Date(made.expiresAt).toISOString() };
      await recordEvents(tx, [{ event: "token.create", actor, success: true, remote: remoteOf(c), details }], now());
      return made;
    });
    return c.json({ token, ...tokenJson(added), ...clusterTrust(deps) }, 201);
  });

  app.get("/v1/api/tokens", may(deps, "token", "list"), async (c) => {
    const named = (await listTokenResources(store, now())).map(namedJson);
    return c.json({ tokens: [...(await listTokens(store, now())).map(tokenJson), ...named] });
  });

  // a body and no path: the token itself may be named, and a secret is never in a URL
  app.post("/v1/api/tokens/revoke", may(deps, "token", "delete"), async (c) => {
    const body = await readBody(c, revokeBody);
    const actor = c.var.actor.name;
    const id = await inTransaction(store, async (tx) => {
      const isNamed = await removeTokenResource(tx, body.token);
      const id = isNamed ? body.token : (await removeToken(tx, body.token)).id;
      const details = isNamed ? { token: id } : { token_id: id };
      await recordEvents(tx, [{ event: "token.delete", actor, success: true, remote: remoteOf(c), details }], now());
      return id;
    });
    return c.json({ id });
  });
}

function tokenJson(token: Token) {
  return {
    id: token.id,
    type: token.type,
    method: "token",
    created_at: new Date(token.createdAt).toISOString(),
    expires_at: new Date(token.expiresAt).toISOString(),
    created_by: token.createdBy,
  };
}

function namedJson({ name, method, createdAt, expiresAt, createdBy }: StoredToken) {
  return {
    id: name,
    type: "app",
    method,
    created_at: new Date(createdAt).toISOString(),
    expires_at: expiresAt === undefined ? null : new Date(expiresAt).toISOString(),
    created_by: createdBy,
  };
}
