/** Admin: live sessions. */
import type { Hono } from "hono";
import { recordEvents } from "../../audit/store.ts";
import { Failure } from "../../errors.ts";
import { liveSessions } from "../../store/sessions.ts";
import { inTransaction } from "../../store/store.ts";
import { type ApiEnv, may, remoteOf } from "./actor.ts";
import type { ApiDeps } from "./deps.ts";

export function sessionRoutes(app: Hono<ApiEnv>, deps: ApiDeps): void {
  const { store, live, now } = deps;

  app.get("/v1/api/sessions", may(deps, "session", "list"), async (c) => {
    const sessions = (await liveSessions(store)).map((session) => ({
      sid: session.sid,
      user: session.user,
      app: session.app,
      agent: session.agent,
      remote: session.remote,
      started_at: new Date(session.startedAt).toISOString(),
      last_seen_at: new Date(session.lastSeenAt).toISOString(),
    }));
    return c.json({ sessions });
  });

  app.delete("/v1/api/sessions/:sid", may(deps, "session", "delete"), async (c) => {
    const sid = c.req.param("sid");
    await inTransaction(store, async (tx) => {
      const [session] = await liveSessions(tx, { sid });
      if (session === undefined) {
        throw new Failure("not_found", "no such live session", { hint: "mcpgate sessions ls" });
      }
      const { user, app: name, agent } = session;
      const draft = { event: "session.kill" as const, user, app: name, agent, sid, success: true };
      await recordEvents(tx, [{ ...draft, actor: c.var.actor.name, remote: remoteOf(c) }], now());
    });
    live.endSessions({ sid }, "killed");
    return c.json({ sid });
  });
}
