/** An agent's hello: who it is, by a proof of its key, and which sessions it has no more. */
import { closeSessions } from "../audit/sessions.ts";
import type { HostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { verifyProof } from "../identity/proof.ts";
import { publicUrl } from "../identity/url.ts";
import { agentClaim, agentHello, type FromAgent } from "../link/from-agent.ts";
import { AGENT_CONTROL_PATH, parseMessage } from "../link/protocol.ts";
import { locked, lockOn } from "../rbac/lock.ts";
import { type Agent, findAgent } from "../store/agents.ts";
import { activeLocks } from "../store/locks.ts";
import { liveSessions } from "../store/sessions.ts";
import type { Store } from "../store/store.ts";

export interface HelloOptions {
  store: Store;
  publicAddr: HostPort;
  now(): number;
  /** An agent came back without this session. */
  onSessionLost(sid: string, reason: string): void;
}

export type Hello = Extract<FromAgent, { t: "hello" }>;

const LOST = "its agent has it no more: it was restarted, or the server ended while it was away";

/** Throws `Failure("not_found")` for an agent that is not known here, `bad_proof`, `locked`, or `invalid` for another version's hello. */
export async function takeHello(
  { store, publicAddr, now, onSessionLost }: HelloOptions,
  nonce: string,
  text: string,
): Promise<{ agent: Agent; hello: Hello }> {
  const claim = parseMessage(agentClaim, text);
  if (claim === undefined) throw new Failure("invalid", "the agent's hello is not of this version");
  const agent = await findAgent(store, { id: claim.agent });
  if (agent === undefined) {
    throw new Failure("not_found", "this agent is not known here: it was removed, or belongs to another proxy", {
      hint: "to join again: rm /var/lib/mcpgate/agent/identity.json (or under its data_dir), and a new token: mcpgate tokens add --type=app",
    });
  }
  await verifyProof(claim.proof, {
    method: "GET",
    url: publicUrl(publicAddr, AGENT_CONTROL_PATH),
    nonce,
    jkt: agent.jkt,
  });
  const hello = parseMessage(agentHello, text);
  if (hello === undefined) throw new Failure("invalid", "the agent's hello is not of this version");
  const time = now();
  const lock = lockOn(await activeLocks(store, time), { agent: agent.name });
  if (lock !== undefined) throw locked(lock);
  for (const { sid, reason, ok } of hello.ended) {
    const [session] = await closeSessions(store, { sid, agentId: agent.id }, reason, time, { success: ok });
    if (session !== undefined) onSessionLost(sid, reason);
  }
  const there = new Set(hello.sessions);
  const lost = (await liveSessions(store, { agentId: agent.id })).filter(({ sid }) => !there.has(sid));
  for (const { sid } of lost) {
    await closeSessions(store, { sid }, LOST, time, { cause: "agent_lost" });
    onSessionLost(sid, LOST);
  }
  return { agent, hello };
}
