/** Sessions that their agents do not take: none of them is left behind as a live one. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { closeSessions } from "../../src/audit/sessions.ts";
import { Failure } from "../../src/errors.ts";
import type { ToAgent } from "../../src/link/to-agent.ts";
import { createLog } from "../../src/log.ts";
import { AgentCalls } from "../../src/proxy/agent-calls.ts";
import { Placement } from "../../src/proxy/placement.ts";
import type { SessionGrants } from "../../src/proxy/session-grants.ts";
import { jobsHere } from "../../src/proxy/store-jobs.ts";
import { joinAgent } from "../../src/store/agents.ts";
import { enrolApps, findApps } from "../../src/store/apps.ts";
import { addLogin } from "../../src/store/logins.ts";
import { openStore } from "../../src/store/open.ts";
import { findSession } from "../../src/store/sessions.ts";
import type { Store } from "../../src/store/store.ts";
import { addUser } from "../../src/store/users.ts";

const NOW = Date.UTC(2026, 10, 23);
const SID = "0123456789abcdef0123456789abcdef";
const now = () => NOW;

let store: Store;
let calls: AgentCalls;
let asked: string[];
/** What an agent does with a session that it is asked for, as the proxy hears of it. */
let onOpen: (agent: string, attach: string) => Promise<void>;

beforeEach(async () => {
  store = await openStore(":memory:", { now });
  asked = [];
  for (const name of ["a", "b"]) {
    const { id } = await joinAgent(store, { name, jkt: name, publicJwk: {}, now: NOW });
    await enrolApps(store, id, [{ name: "db", description: "", labels: {}, shared: true }], NOW);
  }
  await addUser(store, { name: "bob", roles: ["mcp-user"], now: NOW });
  await addLogin(store, { jkt: "k", user: "bob", now: NOW });
  calls = new AgentCalls({
    ...{ store, run: jobsHere(store), log: createLog({ write: () => {} }), now },
    publicAddr: { host: "mcpgate.example.com", port: 443 },
    placement: new Placement(),
    grants: { sign: async () => "grant" } as unknown as SessionGrants,
    agents: {
      send(agent: string, message: ToAgent) {
        if (message.t !== "session.open") return true;
        asked.push(agent);
        void onOpen(agent, message.attach);
        return true;
      },
    },
  });
});
afterEach(() => store.destroy());

/** As `agent-messages.ts` has it. */
async function refuse(agentId: string, attach: string): Promise<void> {
  if (!calls.hasAnother(attach)) {
    await closeSessions(store, { sid: SID, agentId }, "no room", NOW, { cause: "not_started" });
  }
  calls.refused(attach, new Failure("too_many_requests", "no room"));
}

async function open(isOpen: () => boolean): Promise<unknown> {
  const [first, ...others] = await findApps(store, "db");
  const { agentId = "", agent = "" } = first ?? {};
  const session = { sid: SID, user: "bob", app: "db", agentId, agent, clientJkt: "k", remote: "192.0.2.1" };
  const begun = await jobsHere(store)("beginSession", { ...session, now: NOW });
  return calls.call(begun, others, [1], isOpen);
}

test("one that no agent takes has ended", async () => {
  onOpen = refuse;
  await expect(open(() => true)).rejects.toThrow("no room");
  expect(asked).toHaveLength(2);
  expect(await findSession(store, SID)).toMatchObject({ endReason: "no room" });
});

test("one whose client is gone by then is asked for nowhere else, and has ended, too", async () => {
  let isOpen = true;
  onOpen = async (...refused) => {
    isOpen = false;
    await refuse(...refused);
  };
  await expect(open(() => isOpen)).rejects.toThrow("no room");
  expect(asked).toHaveLength(1);
  expect(await findSession(store, SID)).toMatchObject({ endReason: "no room" });
});
