/** An agent joins: what it shows buys the registration of its key, and is not needed again. */
import type { Hono } from "hono";
import { recordEvents } from "../../audit/store.ts";
import { Failure } from "../../errors.ts";
import { publicUrl } from "../../identity/url.ts";
import { locked, lockOn } from "../../rbac/lock.ts";
import { findAgent, joinAgent } from "../../store/agents.ts";
import { activeLocks } from "../../store/locks.ts";
import { inTransaction } from "../../store/store.ts";
import { type ApiEnv, proofOf, remoteOf } from "./actor.ts";
import { readBody } from "./body.ts";
import type { ApiDeps } from "./deps.ts";
import { clusterJson } from "./discovery.ts";
import { JoinEvidence, joinBody, methodOf } from "./join-evidence.ts";
import { AttemptLimits, addressKey } from "./limits.ts";

const PATH = "/v1/join";

export function joinRoutes(app: Hono<ApiEnv>, deps: ApiDeps): void {
  const { store, now } = deps;
  const failures = new AttemptLimits({ max: 60, windowMs: 5 * 60_000, now });
  const evidence = new JoinEvidence(deps);

  app.post(PATH, async (c) => {
    const body = await readBody(c, joinBody);
    const remote = remoteOf(c);
    const address = addressKey(remote);
    if (!failures.take(address)) {
      throw new Failure("too_many_requests", "too many failed joins from this address", {
        hint: "try again in 5 minutes",
      });
    }
    const key = await proofOf(c, deps);
    const details: Record<string, unknown> = {};
    try {
      const url = publicUrl(deps.config.publicAddr, PATH);
      const { confirm } = await evidence.gather(body, { jkt: key.jkt, url, details });
      const agent = await inTransaction(store, async (tx) => {
        await confirm(tx);
        const locks = await activeLocks(tx, now());
        // By the name that its key goes by, too: another name is no way out.
        const known = await findAgent(tx, { jkt: key.jkt });
        for (const agent of [body.name, ...(known === undefined ? [] : [known.name])]) {
          const lock = lockOn(locks, { agent });
          if (lock !== undefined) throw locked(lock);
        }
        const joined = await joinAgent(tx, { name: body.name, jkt: key.jkt, publicJwk: key.publicJwk, now: now() });
        const event = { event: "agent.join" as const, agent: joined.name, success: true, remote };
        await recordEvents(tx, [{ ...event, details: { agent_id: joined.id, ...details } }], now());
        return joined;
      });
      failures.giveBack(address);
      deps.log.info("agent.join", { agent: agent.name, remote });
      return c.json({ agent_id: agent.id, agent_name: agent.name, ...clusterJson(deps) });
    } catch (error) {
      const { code, message } = Failure.from(error);
      // Not tried at all, for want of room: hosts that start together behind one address are no reason to shut it out.
      if (code === "unavailable") failures.giveBack(address);
      await recordEvents(
        store,
        [{ event: "agent.join", agent: body.name, success: false, error: message, remote, details }],
        now(),
      );
      throw methodOf(body) === "token" ? error : told(error);
    }
  });
}

/** A stranger whom AWS or a rule did not vouch for hears that, and not what came near. */
function told(error: unknown): unknown {
  if (!(error instanceof Failure) || error.code !== "token_invalid") return error;
  return new Failure("token_invalid", "this host may not join with that token", {
    hint: "the proxy's audit log says why; on its host: mcpgate audit ls --event=agent.join",
    cause: error,
  });
}
