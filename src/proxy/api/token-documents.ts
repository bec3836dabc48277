/** Admin: join tokens as documents, most of them names with rules and no secrets. */
import type { Context, Hono } from "hono";
import { recordEvents } from "../../audit/store.ts";
import { Failure } from "../../errors.ts";
import { parseTokenDocument, tokenDocument } from "../../identity/token-resource.ts";
import { inTransaction } from "../../store/store.ts";
import {
  findTokenResource,
  listTokenResources,
  putTokenResource,
  removeTokenResource,
  type StoredToken,
} from "../../store/token-resources.ts";
import { addToken } from "../../store/tokens.ts";
import { type ApiEnv, may, remoteOf } from "./actor.ts";
import { readJson } from "./body.ts";
import type { ApiDeps } from "./deps.ts";

const PATH = "/v1/api/tokens/documents";

export function tokenDocumentRoutes(app: Hono<ApiEnv>, deps: ApiDeps): void {
  const { store, now } = deps;

  app.get(PATH, may(deps, "token", "list"), async (c) =>
    c.json({ tokens: (await listTokenResources(store, now())).map(resourceJson) }),
  );

  app.get(`${PATH}/:name`, may(deps, "token", "read"), async (c) => {
    const token = await findTokenResource(store, c.req.param("name"), now());
    if (token === undefined) throw noSuchToken(c.req.param("name"));
    return c.json(resourceJson(token));
  });

  app.post(PATH, may(deps, "token", "create"), async (c) => c.json(await put(c, { replace: false }), 201));

  app.put(`${PATH}/:name`, may(deps, "token", "create"), may(deps, "token", "update"), async (c) =>
    c.json(await put(c, { replace: true })),
  );

  app.delete(`${PATH}/:name`, may(deps, "token", "delete"), async (c) => {
    const name = c.req.param("name");
    await inTransaction(store, async (tx) => {
      if (!(await removeTokenResource(tx, name))) throw noSuchToken(name);
      const by = { actor: c.var.actor.name, remote: remoteOf(c), success: true };
      await recordEvents(tx, [{ event: "token.delete", ...by, details: { token: name } }], now());
    });
    return c.json({ name });
  });

  async function put(c: Context<ApiEnv>, { replace }: { replace: boolean }) {
    const token = parseTokenDocument(await readJson(c));
    if (token.expiresAt !== undefined && token.expiresAt <= now()) {
      throw new Failure("invalid", "metadata.expires: is over already");
    }
    const actor = c.var.actor.name;
    const record = (tx: typeof store, details: Record<string, unknown>) =>
      recordEvents(tx, [{ event: "token.create", actor, success: true, remote: remoteOf(c), details }], now());
    return inTransaction(store, async (tx) => {
      if (token.method === "token") {
        // its name is a secret, which no address may hold, so that there is none to replace it by
        const ttl = token.expiresAt === undefined ? undefined : Math.ceil((token.expiresAt - now()) / 1000);
        const { secret } = token;
        const made = await addToken(tx, { type: "app", ttl, secret, createdBy: actor, now: now() });
        const expires_at = new Date(made.expiresAt).toISOString();
        await record(tx, { token_id: made.id, type: "app", method: "token", expires_at });
        return { name: made.id, created: true };
      }
      if (replace && token.name !== c.req.param("name")) {
        throw new Failure("invalid", `metadata.name is ${token.name}, and the address says ${c.req.param("name")}`);
      }
      const { token: stored, created } = await putTokenResource(tx, token, { replace, createdBy: actor, now: now() });
      const { name, method, allow, expiresAt } = stored;
      const expires = expiresAt === undefined ? {} : { expires_at: new Date(expiresAt).toISOString() };
      await record(tx, { token: name, type: "app", method, allow, ...expires });
      return { ...resourceJson(stored), created };
    });
  }
}

const resourceJson = (token: StoredToken) => ({ name: token.name, document: tokenDocument(token) });

const noSuchToken = (name: string): Failure =>
  new Failure("not_found", `there is no token ${name}`, { hint: "mcpgate tokens ls" });
