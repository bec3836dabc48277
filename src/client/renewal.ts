/** A new session in the place of one that ended: what its server is told, and what the MCP client is. */
import { Failure } from "../errors.ts";
import { printable } from "../log.ts";
import { encodeNotification } from "../mcp/encode.ts";
import { memberAt } from "../mcp/members.ts";
import type { Response } from "../mcp/message.ts";
import { changeOf, identityOf, type Recorded } from "./handshake.ts";
import type { OwnRequests } from "./own-requests.ts";
import type { ServerState } from "./server-state.ts";

/** How long a server may take to start and to answer, milliseconds: the first `docker run` of an image is slow. */
const HANDSHAKE_MS = 60_000;
const KEPT_MS = 60_000;

/**
 * Repeats the handshake, where there was one, and what the old server was asked to keep. Fails with `server_changed` when
 * it is another server than the MCP client knows. Resolves, once requests may follow, with what of the state could not
 * be brought over: undefined where it could.
 */
export async function renew(
  session: { write(bytes: Uint8Array): boolean },
  own: OwnRequests,
  recorded: Recorded | undefined,
  kept: ServerState,
): Promise<Promise<string | undefined>[]> {
  if (recorded === undefined) return [];
  const answer = await own.ask(session, recorded.request, HANDSHAKE_MS);
  if (!answer.ok) throw new Failure("unavailable", `the new server refused the handshake: ${errorOf(answer)}`);
  const change = changeOf(recorded.server, identityOf(answer));
  if (change !== undefined) {
    throw new Failure("server_changed", `the server changed: ${change}`, {
      hint: "reconnect the server in your MCP client",
    });
  }
  if (recorded.initialized === undefined) return [];
  session.write(recorded.initialized);
  return kept.requests().map(({ what, bytes }) =>
    own.ask(session, bytes, KEPT_MS).then(
      (response) => (response.ok ? undefined : `${printable(what)}: ${errorOf(response)}`),
      (error: unknown) => `${printable(what)}: ${Failure.from(error).message}`,
    ),
  );
}

export interface Renewed {
  app: string;
  /** Why the session before ended. */
  before: string;
  kept: ServerState;
  handshake: Recorded | undefined;
}

/**
 * What the MCP client is told of a new session: that it is one, as a log message, and that lists may have changed. Only
 * what its server declared; a revision without handshake knows no such messages outside of a request.
 */
export function noticesOf({ app, before, kept, handshake }: Renewed): Uint8Array[] {
  if (handshake?.initialized === undefined) return [];
  const text = `the session with "${app}" ended (${before}) and a new one has begun: what the server held in memory is lost`;
  const declared = capabilitiesOf(handshake);
  const changed = (["tools", "prompts", "resources"] as const)
    .filter((list) => declared[list]?.listChanged === true)
    .map((list) => encodeNotification(`notifications/${list}/list_changed`));
  return [...logMessage(handshake, kept, text), ...changed];
}

/** `notifications/message`, where the server declared that it logs and the MCP client wants to hear it. */
export function logMessage(handshake: Recorded | undefined, kept: ServerState, data: string): Uint8Array[] {
  if (handshake === undefined || capabilitiesOf(handshake).logging === undefined || !kept.wants("warning")) return [];
  return [encodeNotification("notifications/message", { level: "warning", logger: "mcpgate", data })];
}

type Capabilities = Record<string, { listChanged?: unknown } | undefined>;

const capabilitiesOf = ({ server }: Recorded): Capabilities => (server.capabilities ?? {}) as Capabilities;

function errorOf({ bytes }: Response): string {
  return printable(String(memberAt(bytes, ["error", "message"]) ?? "no reason given")).slice(0, 2000);
}
