/** EC2 instances that have joined: each may once, so that an identity document that was copied is worth nothing. */
import { Failure } from "../errors.ts";
import { findAgent } from "./agents.ts";
import { inTransaction, type Store } from "./store.ts";

/**
 * Takes the instance for the key that is about to join. The same key again, while its agent is known, is an agent that did
 * not hear the answer. Never forgotten, also when its agent is removed: to AWS the document stays valid. Throws
 * `Failure("token_invalid")` when another key had the instance.
 */
export function claimInstance(
  store: Store,
  o: { account: string; instance: string; jkt: string; now: number },
): Promise<void> {
  return inTransaction(store, async (tx) => {
    const row = { account: o.account, instance: o.instance, jkt: o.jkt, joined_at: o.now };
    const taken = await tx
      .insertInto("instances")
      .values(row)
      .onConflict((conflict) => conflict.columns(["account", "instance"]).doNothing())
      .returning("jkt")
      .executeTakeFirst();
    if (taken !== undefined) return;
    const before = await tx
      .selectFrom("instances")
      .selectAll()
      .where("account", "=", o.account)
      .where("instance", "=", o.instance)
      .executeTakeFirstOrThrow();
    if (before.jkt === o.jkt && (await findAgent(tx, { jkt: o.jkt })) !== undefined) return;
    const since = new Date(before.joined_at).toISOString();
    throw new Failure("token_invalid", `the instance ${o.instance} has joined already, at ${since}`);
  });
}
