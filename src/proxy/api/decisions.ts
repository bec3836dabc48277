/** Admin: what a user may do, and which rule says so. The decision is the one that sessions go through. */
import type { Hono } from "hono";
import * as v from "valibot";
import { Failure } from "../../errors.ts";
import { explain, type Verdict } from "../../rbac/explain.ts";
import { lockedText, lockOn } from "../../rbac/lock.ts";
import { parseRole, type Role } from "../../rbac/role.ts";
import { findApps } from "../../store/apps.ts";
import { activeLocks } from "../../store/locks.ts";
import { loadSubject } from "../../store/roles.ts";
import { type ApiEnv, may } from "./actor.ts";
import { MAX_ROLE_BODY, parse, readJson } from "./body.ts";
import type { ApiDeps } from "./deps.ts";
import { filterText, userName } from "./schemas.ts";

const name = v.optional(v.pipe(v.string(), v.maxLength(4096, "at most 4096 characters")));
const question = v.strictObject({
  user: userName,
  app: filterText,
  method: name,
  tool: name,
  prompt: name,
  resource: name,
  /** JSON as text, so that its numbers arrive as they were written. */
  arguments: v.optional(v.pipe(v.string(), v.maxLength(64 * 1024, "at most 65536 characters"))),
  /** Roles as they would be: in the place of the stored ones of the same names. */
  roles: v.optional(v.pipe(v.array(v.unknown()), v.maxLength(64, "at most 64 roles"))),
});

export function decisionRoutes(app: Hono<ApiEnv>, deps: ApiDeps): void {
  const { store, now } = deps;

  app.post("/v1/api/decisions", may(deps, "role", "read"), may(deps, "user", "read"), async (c) => {
    const {
      user,
      app: appName,
      roles: given = [],
      arguments: args,
      ...deed
    } = parse(question, await readJson(c, MAX_ROLE_BODY));
    const subject = await loadSubject(store, user);
    const roles = replaced(subject.roles, given.map(parseRole));
    const offers = await findApps(store, appName);
    if (offers.length === 0) {
      throw new Failure("not_found", `no agent offers an app ${appName}`, { hint: "mcpgate agents ls" });
    }
    const encoded = args === undefined ? undefined : new TextEncoder().encode(args);
    const locks = await activeLocks(store, now());
    const verdicts = offers.map((offer): Verdict => {
      const held = roles.map(({ metadata }) => metadata.name);
      const lock = lockOn(locks, { user, roles: held, app: offer.name, agent: offer.agent });
      if (lock !== undefined) return { allowed: false, reason: lockedText(lock) };
      return explain(roles, offer, subject, { ...deed, arguments: encoded });
    });
    // Of a shared app, any offer will do.
    return c.json(verdicts.find(({ allowed }) => allowed) ?? verdicts[0]);
  });
}

const replaced = (stored: readonly Role[], given: readonly Role[]): Role[] =>
  stored.map((role) => given.find(({ metadata }) => metadata.name === role.metadata.name) ?? role);
