/**
 * A client's attach: who it is, by a proof of its key; whether it may reach the app; and which agents it may go to. Opening a
 * session and going on with it are the same, authorised every time.
 */
import { closeSessions } from "../audit/sessions.ts";
import { recordEvents } from "../audit/store.ts";
import { formatHostPort, type HostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { verifyProof } from "../identity/proof.ts";
import { publicUrl } from "../identity/url.ts";
import { CLIENT_PATH, parseMessage } from "../link/protocol.ts";
import { attach as attachMessage } from "../link/session-messages.ts";
import type { App } from "../store/apps.ts";
import type { Login } from "../store/logins.ts";
import type { Session } from "../store/sessions.ts";
import type { Store } from "../store/store.ts";
import type { Arrival, Asked, Begun } from "./admission.ts";
import { offline } from "./agent-calls.ts";
import type { Agents } from "./agents.ts";
import type { Placement } from "./placement.ts";
import type { Socket } from "./socket.ts";
import type { RunJob } from "./store-jobs.ts";

export interface AttachOptions {
  store: Store;
  run: RunJob;
  publicAddr: HostPort;
  /** Milliseconds since the epoch. */
  now(): number;
  agents: Pick<Agents, "send" | "online" | "arrival" | "failing">;
  placement: Placement;
}

export interface Attached {
  login: Login;
  /** On record, with the agent that was chosen. */
  begun: Begun;
  /** Offers of a new session's app by other agents, the best first. */
  others: readonly App[];
  /** The versions of the link's frames that the client speaks. */
  link: number[];
}

/** How long a client that comes back waits here for an agent that is away, milliseconds: less than its dial may take. */
const ARRIVAL_MS = 5_000;

/** Undefined: the client has left while it waited. Throws whatever the client is to be told. */
export async function takeAttach(options: AttachOptions, socket: Socket, text: string): Promise<Attached | undefined> {
  const { store, run, publicAddr, now } = options;
  const message = parseMessage(attachMessage, text);
  if (message === undefined) throw new Failure("invalid", "the client's request is not of this version");
  const { sid, app, link } = message;
  const { jkt, claims } = await verifyProof(message.proof, {
    method: "GET",
    url: publicUrl(publicAddr, CLIENT_PATH),
    nonce: socket.nonce,
  });
  if (claims.sid !== sid || claims.app !== app) throw new Failure("bad_proof", "the proof is for another session");
  const asked = { jkt, sid, app };
  let arrival = await readArrival(options, asked);
  const away = agentAway(options, arrival);
  if (away !== undefined) {
    // A session that paused: it goes on in the moment that its agent is back, or its client hears that it is over.
    await away;
    if (socket.closed) return undefined;
    arrival = await readArrival(options, asked);
  }
  const { login, refusal } = arrival;
  if (refusal !== undefined) {
    const about = { user: login.user, app, sid, remote: socket.remote };
    const event = { event: "mcp.session.start" as const, ...about, success: false, error: refusal.message };
    await recordEvents(store, [event], now());
    throw Failure.fromJSON(refusal);
  }
  const { chosen, others } = choose(options, arrival);
  const { agentId, agent } = chosen;
  const begun = await run("beginSession", {
    ...{ sid, user: login.user, app, agentId, agent },
    ...{ clientJkt: jkt, remote: socket.remote, now: now() },
  });
  if (begun.loggedOut !== undefined) throw await loggedOut(options, begun, Failure.fromJSON(begun.loggedOut));
  return { login, begun, others: begun.created ? others : [], link };
}

async function readArrival({ run, now, publicAddr }: AttachOptions, asked: Omit<Asked, "now">): Promise<Arrival> {
  return run("readArrival", { ...asked, now: now() }).catch((error: unknown) => {
    throw toLogIn(publicAddr, Failure.from(error));
  });
}

/** With the command that helps. */
function toLogIn(publicAddr: HostPort, failure: Failure): Failure {
  const { code, message } = failure;
  if (code !== "not_logged_in" && code !== "login_expired") return failure;
  return new Failure(code, message, { hint: `mcpgate client login --proxy=${formatHostPort(publicAddr)}` });
}

/** The login ended while the session was put on record: a logout from then on finds it. */
async function loggedOut(
  { store, agents, now, publicAddr }: AttachOptions,
  { session, created }: { session: Session; created: boolean },
  failure: Failure,
): Promise<Failure> {
  const { sid, agentId } = session;
  // One that is only paused goes on after the next login.
  if (created || failure.code === "not_logged_in") {
    await closeSessions(store, { sid }, "logged out", now(), { cause: "logout" });
    agents.send(agentId, { t: "session.end", sid, reason: "logged out" });
  }
  return toLogIn(publicAddr, failure);
}

/** The offer of the agent that has the session; for a new one that of the best agent, and those of others that are there. */
function choose(
  { agents, placement }: AttachOptions,
  { known, offers, load }: Arrival,
): { chosen: App; others: App[] } {
  const online = agents.online();
  const fits = (agentId: string) => (known === undefined ? online.has(agentId) : agentId === known.agentId);
  const [chosen, ...others] = placement.order(
    offers.filter(({ agentId }) => fits(agentId)),
    { load: new Map(load), failing: (agentId) => agents.failing(agentId, offers[0]?.name ?? "") },
  );
  if (chosen !== undefined) return { chosen, others };
  if (known !== undefined) throw new Failure("session_gone", "the session's agent does not offer the app any more");
  throw offline(offers[0]?.name ?? "", offers[0]?.agent ?? "");
}

/** The user's live session whose agent is away: resolves when the agent is back, or it has been waited for long enough. */
function agentAway({ agents }: AttachOptions, { known, login }: Arrival): Promise<void> | undefined {
  if (known === undefined || known.endedAt !== undefined || known.user !== login.user) return undefined;
  return agents.arrival(known.agentId, ARRIVAL_MS);
}
