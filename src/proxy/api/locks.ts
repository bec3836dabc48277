/** Admin: locks. */
import type { Context, Hono } from "hono";
import { recordEvents } from "../../audit/store.ts";
import { Failure } from "../../errors.ts";
import { lockDocument, parseLock } from "../../rbac/lock.ts";
import { activeLocks, getLock, putLock, removeLock, type StoredLock } from "../../store/locks.ts";
import { inTransaction } from "../../store/store.ts";
import { type ApiEnv, may, remoteOf } from "./actor.ts";
import { readJson } from "./body.ts";
import type { ApiDeps } from "./deps.ts";

export function lockRoutes(app: Hono<ApiEnv>, deps: ApiDeps): void {
  const { store, live, now } = deps;

  app.get("/v1/api/locks", may(deps, "lock", "list"), async (c) =>
    c.json({ locks: (await activeLocks(store, now())).map(lockJson) }),
  );

  app.get("/v1/api/locks/:name", may(deps, "lock", "read"), async (c) =>
    c.json(lockJson(await getLock(store, c.req.param("name"), now()))),
  );

  app.post("/v1/api/locks", may(deps, "lock", "create"), async (c) =>
    c.json(await put(c, await readJson(c), { replace: false }), 201),
  );

  app.put("/v1/api/locks/:name", may(deps, "lock", "create"), may(deps, "lock", "update"), async (c) => {
    const document = await readJson(c);
    const { name } = parseLock(document, now());
    if (name !== c.req.param("name")) {
      throw new Failure("invalid", `metadata.name is ${name}, and the address says ${c.req.param("name")}`);
    }
    return c.json(await put(c, document, { replace: true }));
  });

  app.delete("/v1/api/locks/:name", may(deps, "lock", "delete"), async (c) => {
    const name = c.req.param("name");
    await inTransaction(store, async (tx) => {
      const lock = await removeLock(tx, name);
      await record(tx, c, "lock.delete", lock);
    });
    return c.json({ name });
  });

  async function put(c: Context<ApiEnv>, document: unknown, { replace }: { replace: boolean }) {
    const spec = parseLock(document, now());
    const { lock, created } = await inTransaction(store, async (tx) => {
      const stored = await putLock(tx, spec, { replace, createdBy: c.var.actor.name, now: now() });
      await record(tx, c, "lock.create", stored.lock);
      return stored;
    });
    live.locksChanged();
    return { ...lockJson(lock), created };
  }

  async function record(tx: typeof store, c: Context<ApiEnv>, event: "lock.create" | "lock.delete", lock: StoredLock) {
    const { name, kind, target, message, expiresAt } = lock;
    const expires = expiresAt === undefined ? {} : { expires_at: new Date(expiresAt).toISOString() };
    const details = { lock: name, target: { [kind]: target }, ...(message === "" ? {} : { message }), ...expires };
    const by = { actor: c.var.actor.name, remote: remoteOf(c), success: true };
    await recordEvents(tx, [{ event, ...by, details }], now());
  }
}

function lockJson(lock: StoredLock) {
  return {
    name: lock.name,
    target: { kind: lock.kind, name: lock.target },
    message: lock.message,
    expires_at: lock.expiresAt === undefined ? null : new Date(lock.expiresAt).toISOString(),
    created_at: new Date(lock.createdAt).toISOString(),
    created_by: lock.createdBy,
    document: lockDocument(lock),
  };
}
