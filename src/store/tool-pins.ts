/** How the tools of apps stand, as their agents report it (`tool_pinning`), and what an admin has approved of it. */
import { inTransaction, type Store } from "./store.ts";

export interface ToolPin {
  agentId: string;
  /** The agent's name. */
  agent: string;
  app: string;
  tool: string;
  /** The app says `tool_pinning: enforce`: what is pending is hidden. */
  enforce: boolean;
  /** SHA-256 of the definition that is trusted; undefined: none yet. */
  pinned: string | undefined;
  /** SHA-256 of the definition that waits for approval. */
  pending: string | undefined;
  /** What would change, for people. */
  diff: string[];
  /** The newest approval, whether or not its definition is still the one that waits. */
  approved: { hash: string; by: string; at: number } | undefined;
}

export interface ReportedPin {
  tool: string;
  pinned: string | null;
  pending: string | null;
  diff: string[];
}

/** The approval of one definition, for the agent that it concerns. */
export interface Approval {
  agentId: string;
  agent: string;
  tool: string;
  hash: string;
}

/**
 * Makes `tools` the whole of what is known of this agent's app; approvals stay. Answers with the approvals of what waits
 * there: the agent was away, or did not hear. Of an app that the agent does not offer nothing is kept.
 */
export function reportPins(
  store: Store,
  o: { agentId: string; app: string; enforce: boolean; tools: readonly ReportedPin[]; now: number },
): Promise<{ tool: string; hash: string }[]> {
  return inTransaction(store, async (tx) => {
    const offered = tx.selectFrom("apps").select("name").where("agent_id", "=", o.agentId).where("name", "=", o.app);
    if ((await offered.executeTakeFirst()) === undefined) return [];
    const known = await tx
      .selectFrom("tool_pins")
      .select(["tool", "approved", "approved_by", "approved_at"])
      .where("agent_id", "=", o.agentId)
      .where("app", "=", o.app)
      .execute();
    const approvals = new Map(known.map((row) => [row.tool, row]));
    await tx.deleteFrom("tool_pins").where("agent_id", "=", o.agentId).where("app", "=", o.app).execute();
    const due: { tool: string; hash: string }[] = [];
    for (const { tool, pinned, pending, diff } of o.tools) {
      const { approved = null, approved_by = null, approved_at = null } = approvals.get(tool) ?? {};
      const row = { agent_id: o.agentId, app: o.app, tool, enforce: o.enforce ? 1 : 0, pinned, pending };
      const rest = { diff: JSON.stringify(diff), approved, approved_by, approved_at, reported_at: o.now };
      await tx
        .insertInto("tool_pins")
        .values({ ...row, ...rest })
        .execute();
      if (pending !== null && approved === pending) due.push({ tool, hash: pending });
    }
    return due;
  });
}

/** By app, tool and agent; of one app, when it is given. */
export async function listPins(store: Store, app?: string): Promise<ToolPin[]> {
  const query = store
    .selectFrom("tool_pins")
    .innerJoin("agents", "agents.id", "tool_pins.agent_id")
    .selectAll("tool_pins")
    .select("agents.name as agent")
    .orderBy("tool_pins.app")
    .orderBy("tool_pins.tool")
    .orderBy("agents.name");
  const rows = await (app === undefined ? query : query.where("tool_pins.app", "=", app)).execute();
  return rows.map((row) => ({
    agentId: row.agent_id,
    agent: row.agent,
    app: row.app,
    tool: row.tool,
    enforce: row.enforce === 1,
    pinned: row.pinned ?? undefined,
    pending: row.pending ?? undefined,
    diff: JSON.parse(row.diff) as string[],
    approved:
      row.approved === null ? undefined : { hash: row.approved, by: row.approved_by ?? "", at: row.approved_at ?? 0 },
  }));
}

/** Approves the definitions that wait under these hashes, at every agent; another one that waits by now is not meant. */
export function approvePins(
  store: Store,
  o: { app: string; tools: readonly { tool: string; hash: string }[]; by: string; now: number },
): Promise<Approval[]> {
  return inTransaction(store, async (tx) => {
    const waiting = (await listPins(tx, o.app)).filter(({ pending }) => pending !== undefined);
    const approvals: Approval[] = [];
    for (const { agentId, agent, tool, pending = "" } of waiting) {
      if (!o.tools.some((each) => each.tool === tool && each.hash === pending)) continue;
      await tx
        .updateTable("tool_pins")
        .set({ approved: pending, approved_by: o.by, approved_at: o.now })
        .where("agent_id", "=", agentId)
        .where("app", "=", o.app)
        .where("tool", "=", tool)
        .execute();
      approvals.push({ agentId, agent, tool, hash: pending });
    }
    return approvals;
  });
}
