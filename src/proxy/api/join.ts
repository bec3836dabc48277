/** An agent joins: a token buys the registration of its key, and is not needed again. */
import type { Hono } from "hono";
import * as v from "valibot";
import { recordEvents } from "../../audit/store.ts";
import { Failure } from "../../errors.ts";
import { locked, lockOn } from "../../rbac/lock.ts";
import { findAgent, joinAgent } from "../../store/agents.ts";
import { activeLocks } from "../../store/locks.ts";
import { inTransaction } from "../../store/store.ts";
import { checkToken } from "../../store/tokens.ts";
import { type ApiEnv, proofOf, remoteOf } from "./actor.ts";
import { readBody } from "./body.ts";
import type { ApiDeps } from "./deps.ts";
import { clusterJson } from "./discovery.ts";
import { AttemptLimits, addressKey } from "./limits.ts";
import { agentName, secret } from "./schemas.ts";

const joinBody = v.strictObject({ token: secret, name: agentName });

export function joinRoutes(app: Hono<ApiEnv>, deps: ApiDeps): void {
  const { store, now } = deps;
  const failures = new AttemptLimits({ max: 60, windowMs: 5 * 60_000, now });

  app.post("/v1/join", async (c) => {
    const body = await readBody(c, joinBody);
    const remote = remoteOf(c);
    const address = addressKey(remote);
    if (!failures.take(address)) {
      throw new Failure("too_many_requests", "too many failed joins from this address", {
        hint: "try again in 5 minutes",
      });
    }
    const key = await proofOf(c, deps);
    try {
      const agent = await inTransaction(store, async (tx) => {
        const token = await checkToken(tx, body.token, { type: "app", now: now() });
        const locks = await activeLocks(tx, now());
        // By the name that its key goes by, too: another name is no way out.
        const known = await findAgent(tx, { jkt: key.jkt });
        for (const agent of [body.name, ...(known === undefined ? [] : [known.name])]) {
          const lock = lockOn(locks, { agent });
          if (lock !== undefined) throw locked(lock);
        }
        const joined = await joinAgent(tx, { name: body.name, jkt: key.jkt, publicJwk: key.publicJwk, now: now() });
        const details = { agent_id: joined.id, token_id: token.id };
        await recordEvents(tx, [{ event: "agent.join", agent: joined.name, success: true, remote, details }], now());
        return joined;
      });
      failures.giveBack(address);
      deps.log.info("agent.join", { agent: agent.name, remote });
      return c.json({ agent_id: agent.id, agent_name: agent.name, ...clusterJson(deps) });
    } catch (error) {
      const { message } = Failure.from(error);
      await recordEvents(
        store,
        [{ event: "agent.join", agent: body.name, success: false, error: message, remote }],
        now(),
      );
      throw error;
    }
  });
}
