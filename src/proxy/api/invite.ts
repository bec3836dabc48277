/** An invite sets a password, once. */
import type { Hono } from "hono";
import * as v from "valibot";
import { recordEvents } from "../../audit/store.ts";
import { Failure } from "../../errors.ts";
import { revokeLogins } from "../../store/logins.ts";
import { inTransaction } from "../../store/store.ts";
import { acceptInvite, checkInvite } from "../../store/users.ts";
import { type ApiEnv, remoteOf } from "./actor.ts";
import { readBody } from "./body.ts";
import type { ApiDeps } from "./deps.ts";
import { AttemptLimits, addressKey } from "./limits.ts";
import { checkPassword, type Passwords } from "./passwords.ts";
import { password, secret } from "./schemas.ts";

const inviteBody = v.strictObject({ invite: secret, password });

export function inviteRoutes(app: Hono<ApiEnv>, deps: ApiDeps, passwords: Passwords): void {
  const { store, live, now, config } = deps;
  const failures = new AttemptLimits({ max: 60, windowMs: 5 * 60_000, now });

  app.post("/v1/invite", async (c) => {
    const body = await readBody(c, inviteBody);
    const remote = remoteOf(c);
    const address = addressKey(remote);
    if (!failures.take(address)) {
      throw new Failure("too_many_requests", "too many failed invites from this address", {
        hint: "try again in 5 minutes",
      });
    }
    checkPassword(body.password, await checkInvite(store, body.invite, now()));
    const hash = await passwords.hash(body.password);
    const user = await inTransaction(store, async (tx) => {
      const name = await acceptInvite(tx, body.invite, hash, now());
      // a new password ends what the old one began
      await revokeLogins(tx, { user: name }, now());
      await recordEvents(tx, [{ event: "user.invite.accept", user: name, success: true, remote }], now());
      return name;
    });
    failures.giveBack(address);
    live.endSessions({ user }, "password changed");
    return c.json({ user, cluster_name: config.clusterName });
  });
}
