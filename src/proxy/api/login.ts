/** A user logs in: a password buys 12 hours for a key that the client made. */
import type { Hono } from "hono";
import * as v from "valibot";
import { recordEvents } from "../../audit/store.ts";
import { Failure } from "../../errors.ts";
import { addLogin, type Login, revokeLogins } from "../../store/logins.ts";
import { loadSubject } from "../../store/roles.ts";
import { liveSessions } from "../../store/sessions.ts";
import { inTransaction } from "../../store/store.ts";
import { getUser, passwordHash } from "../../store/users.ts";
import { type ApiEnv, authenticated, proofOf, refuseLocked, remoteOf, userOf } from "./actor.ts";
import { readBody } from "./body.ts";
import type { ApiDeps } from "./deps.ts";
import { clusterJson } from "./discovery.ts";
import { AttemptLimits, addressKey } from "./limits.ts";
import type { Passwords } from "./passwords.ts";
import { password, userName } from "./schemas.ts";

const loginBody = v.strictObject({ user: userName, password });

export function loginRoutes(app: Hono<ApiEnv>, deps: ApiDeps, passwords: Passwords): void {
  const { store, live, now } = deps;
  const limits = new LoginLimits(now);

  app.post("/v1/login", async (c) => {
    const body = await readBody(c, loginBody);
    const remote = remoteOf(c);
    const key = await proofOf(c, deps);
    const attempt = limits.take(body.user, remote);
    if (attempt === undefined) {
      deps.log.warn("user.login.limited", { user: body.user, remote });
      throw new Failure("too_many_requests", "too many failed logins", { hint: "try again in 5 minutes" });
    }
    const hash = await passwordHash(store, body.user);
    if (!(await passwords.verify(body.password, hash))) {
      const error = "wrong user name or password";
      await recordEvents(store, [{ event: "user.login", user: body.user, success: false, error, remote }], now());
      throw new Failure("bad_credentials", error, {
        hint: "try again; if it is forgotten, an admin makes a new invite: mcpgate users invite NAME",
      });
    }
    attempt.giveBack();
    // only now: who is locked out is for those to know who have the password
    await refuseLocked(deps, await loadSubject(store, body.user)).catch(async (error: unknown) => {
      const { message } = Failure.from(error);
      const draft = { event: "user.login" as const, user: body.user, success: false, error: message, remote };
      await recordEvents(store, [draft], now());
      throw error;
    });

    const { login, others } = await inTransaction(store, async (tx) => {
      // checking took a while: the user may be gone by now, or have another password
      if ((await passwordHash(tx, body.user)) !== hash) throw new Failure("conflict", "the password has just changed");
      // sessions of the key's earlier owner, if that was somebody else
      const held = await liveSessions(tx, { clientJkt: key.jkt });
      const added = await addLogin(tx, { jkt: key.jkt, user: body.user, now: now() });
      await recordEvents(tx, [{ event: "user.login", user: body.user, success: true, remote }], now());
      return { login: added, others: held.filter((session) => session.user !== body.user) };
    });
    for (const { sid } of others) live.endSessions({ sid }, "logged out");
    const { roles } = await getUser(store, login.user);
    return c.json({ ...loginJson(login, now()), roles, ...clusterJson(deps) });
  });

  app.post("/v1/logout", authenticated(deps), async (c) => {
    const { name, jkt } = userOf(c);
    const ended = await inTransaction(store, async (tx) => {
      await revokeLogins(tx, { jkt }, now());
      await recordEvents(tx, [{ event: "user.logout", user: name, success: true, remote: remoteOf(c) }], now());
      return liveSessions(tx, { clientJkt: jkt });
    });
    for (const { sid } of ended) live.endSessions({ sid }, "logged out");
    return c.json({ user: name, ended_sessions: ended.length });
  });

  app.get("/v1/whoami", authenticated(deps), async (c) => {
    const { actor } = c.var;
    const { clusterName: cluster_name } = deps.config;
    if (actor.kind === "socket") return c.json({ actor: actor.name, cluster_name });
    const { roles } = await getUser(store, actor.name);
    const login = loginJson({ user: actor.name, expiresAt: actor.expiresAt }, now());
    return c.json({ actor: actor.name, ...login, roles, cluster_name });
  });
}

/** `expires_in` beside the time, for clients whose clock is wrong. */
function loginJson({ user, expiresAt }: Pick<Login, "user" | "expiresAt">, now: number) {
  return {
    user,
    expires_at: new Date(expiresAt).toISOString(),
    expires_in: Math.max(0, Math.floor((expiresAt - now) / 1000)),
  };
}

/**
 * Failed logins in five minutes: 10 for a user from one address, 100 for a user from anywhere (so that nobody is locked
 * out from afar by a few wrong guesses), 60 from one address.
 */
class LoginLimits {
  readonly #limits: { limit: AttemptLimits; key: (user: string, address: string) => string }[];

  constructor(now: () => number) {
    const windowMs = 5 * 60_000;
    this.#limits = [
      { limit: new AttemptLimits({ max: 60, windowMs, now }), key: (_user, address) => address },
      { limit: new AttemptLimits({ max: 10, windowMs, now }), key: (user, address) => `${address} ${user}` },
      { limit: new AttemptLimits({ max: 100, windowMs, now }), key: (user) => user },
    ];
  }

  /** Undefined: not now. */
  take(user: string, remote: string): { giveBack(): void } | undefined {
    const address = addressKey(remote);
    for (const { limit, key } of this.#limits) if (!limit.take(key(user, address))) return undefined;
    return {
      giveBack: () => {
        for (const { limit, key } of this.#limits) limit.giveBack(key(user, address));
      },
    };
  }
}
