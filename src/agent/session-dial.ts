/** A session's own connection to the proxy, dialled out as everything is. */
import { signProof } from "../identity/proof.ts";
import { publicUrl } from "../identity/url.ts";
import { dial } from "../link/dial.ts";
import { AGENT_SESSION_PATH, parseMessage } from "../link/protocol.ts";
import { beforeLink } from "../link/session-messages.ts";
import type { AgentIdentity } from "./join.ts";
import type { Session } from "./session.ts";

export interface SessionDial {
  identity: AgentIdentity;
  /** The attachment that the grant is for. */
  attach: string;
  /** The version of the link's frames. */
  link: number;
  /** Seconds. */
  resumeWindow: number;
}

/** Resolves when the session has the connection. Throws what `dial` throws. */
export async function dialSession(
  session: Session,
  { identity, attach, link, resumeWindow }: SessionDial,
): Promise<void> {
  const { trust, key } = identity;
  let joined = false;
  await dial({
    trust,
    path: AGENT_SESSION_PATH,
    answer: async (nonce) => ({
      t: "accept",
      attach,
      link,
      resume_window: resumeWindow,
      proof: await signProof({
        key,
        method: "GET",
        url: publicUrl(trust.proxy, AGENT_SESSION_PATH),
        nonce,
        claims: { attach },
      }),
    }),
    onText: (from, text) => {
      if (joined) session.watch?.onText(from, text);
      if (joined || parseMessage(beforeLink, text)?.t !== "joined") return false;
      joined = true;
      session.watch?.onJoined();
      session.attach(from);
      return true;
    },
    onFrame: (from, bytes) => {
      session.watch?.onFrame(bytes.length);
      session.link.receive(from, bytes);
    },
    onClose: (from, reason) => session.link.detach(from, reason),
  });
}
