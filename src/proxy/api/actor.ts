/** Who calls: this host's admin through the socket, or a user by a proof of the key that the login registered. */
import type { Context, MiddlewareHandler } from "hono";
import { recordEvents } from "../../audit/store.ts";
import { Failure } from "../../errors.ts";
import type { EventName } from "../../event.ts";
import { type Proof, verifyProof } from "../../identity/proof.ts";
import { publicUrl } from "../../identity/url.ts";
import { adminAllowed } from "../../rbac/access.ts";
import { locked, lockOn } from "../../rbac/lock.ts";
import { activeLocks } from "../../store/locks.ts";
import { checkLogin } from "../../store/logins.ts";
import { loadSubject, type Subject } from "../../store/roles.ts";
import type { ApiDeps, Connection } from "./deps.ts";

export type Actor = { kind: "socket"; name: string } | ({ kind: "user"; jkt: string; expiresAt: number } & Subject);

/** Hono's types for this API. */
export interface ApiEnv {
  Bindings: Connection;
  Variables: { actor: Actor };
}

export type Resource = "app" | "token" | "user" | "role" | "lock" | "agent" | "session" | "event";
export type Verb = "list" | "read" | "create" | "update" | "delete";

/** The peer's address as the listener saw it. */
export function remoteOf(c: Context<ApiEnv>): string {
  return c.env?.remote ?? "unknown";
}

/** Checks the proof in the header `DPoP`, for this very request. Throws `Failure("bad_proof")`; also when there is none. */
export function proofOf(c: Context<ApiEnv>, deps: ApiDeps): Promise<Proof> {
  return verifyProof(c.req.header("dpop"), {
    method: c.req.method,
    // as it was sent: Hono's `path` is decoded
    url: publicUrl(deps.config.publicAddr, new URL(c.req.url).pathname),
    nonce: (nonce) => deps.nonces.take(nonce),
  });
}

/** Lets known callers through only, and says who they are. */
export function authenticated(deps: ApiDeps): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    c.set("actor", await actorOf(c, deps));
    await next();
    // RFC 9449, 8.2: a nonce for the next request saves a round trip
    c.header("dpop-nonce", deps.nonces.issue());
  };
}

async function actorOf(c: Context<ApiEnv>, deps: ApiDeps): Promise<Actor> {
  if (typeof c.env === "object" && "uid" in c.env && Number.isInteger(c.env.uid)) {
    return { kind: "socket", name: `uid:${c.env.uid}` };
  }
  if (c.req.header("dpop") === undefined) {
    throw new Failure("not_logged_in", "not logged in", { hint: "mcpgate client login" });
  }
  const { jkt } = await proofOf(c, deps);
  const login = await checkLogin(deps.store, jkt, deps.now());
  const subject = await loadSubject(deps.store, login.user);
  // Whoever is locked out may still leave.
  if (c.req.path !== "/v1/logout") await refuseLocked(deps, subject);
  return { kind: "user", ...subject, jkt, expiresAt: login.expiresAt };
}

/** Throws `Failure("locked")` when the user, or a role that they hold, is locked. */
export async function refuseLocked(deps: Pick<ApiDeps, "store" | "now">, { name, roles }: Subject): Promise<void> {
  const locks = await activeLocks(deps.store, deps.now());
  const lock = lockOn(locks, { user: name, roles: roles.map(({ metadata }) => metadata.name) });
  if (lock !== undefined) throw locked(lock);
}

/** The caller as a user. Throws `Failure("not_logged_in")` for the admin socket, which is nobody's. */
export function userOf(c: Context<ApiEnv>): Extract<Actor, { kind: "user" }> {
  const { actor } = c.var;
  if (actor.kind === "user") return actor;
  throw new Failure("not_logged_in", "this is about a logged-in user, and the admin socket is nobody's", {
    hint: "mcpgate client login",
  });
}

/** What a refused attempt is called in the audit log; looking at things is not recorded. */
const attempts: Partial<Record<`${Resource}.${Verb}`, EventName>> = {
  "token.create": "token.create",
  "token.delete": "token.delete",
  "user.create": "user.create",
  "user.update": "user.update",
  "user.delete": "user.delete",
  "role.create": "role.create",
  "role.update": "role.update",
  "role.delete": "role.delete",
  "lock.create": "lock.create",
  "lock.delete": "lock.delete",
  "agent.delete": "agent.remove",
  "app.create": "app.create",
  "app.update": "app.approve",
  "app.delete": "app.delete",
  "session.delete": "session.kill",
};

/**
 * Lets callers through who may do this: the admin socket, and users whose roles' `rules` say so. `event`: what the attempt is
 * called, where the verb alone does not say it.
 */
export function may(
  deps: ApiDeps,
  resource: Resource,
  verb: Verb,
  event: EventName | undefined = attempts[`${resource}.${verb}`],
): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    const { actor } = c.var;
    if (actor.kind === "socket" || adminAllowed(actor.roles, resource, verb)) return next();
    if (event !== undefined) {
      const draft = { event, actor: actor.name, success: false, error: "access denied", remote: remoteOf(c) };
      await recordEvents(deps.store, [draft], deps.now());
    }
    throw new Failure("access_denied", `your roles do not let you ${verb} ${resource}s`, {
      hint: "ask your mcpgate admin, or run the command on the proxy's own host",
    });
  };
}
