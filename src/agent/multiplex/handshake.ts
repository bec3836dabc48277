/** The one handshake with a shared server: the first session's is done, in our own name; later ones get its answer. */
import { memberAt, textAt, withText } from "../../mcp/members.ts";
import type { Id, Request, Response } from "../../mcp/message.ts";
import { VERSION } from "../../version.ts";
import type { Port } from "./port.ts";

const CLIENT_INFO = { name: "mcpgate", version: VERSION };

/** With the handshake. */
const REVISIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/** The revision that a handshake is done with: where the client wants one that nobody knows, servers offer their last. */
export const handshakeRevision = (wanted: unknown): string => REVISIONS.find((each) => each === wanted) ?? "2025-11-25";

/** What each request says where there is no handshake. */
export const STATELESS = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientCapabilities": {},
  "io.modelcontextprotocol/clientInfo": CLIENT_INFO,
};

/** A session that waits for the answer. */
interface Waiting {
  port: Port;
  id: Id;
  idText: string;
}

export class SharedHandshake {
  #waiting: Waiting[] | undefined;
  #answer: Uint8Array | undefined;
  #revision: unknown;

  /** Whether the server took it. */
  get done(): boolean {
    return this.#answer !== undefined;
  }

  /** What it was done with. */
  get revision(): unknown {
    return this.#revision;
  }

  waits(port: Port): boolean {
    return this.#waiting?.some((each) => each.port === port) === true;
  }

  leave(port: Port): void {
    this.#waiting = this.#waiting?.filter((each) => each.port !== port);
  }

  /** A session's `initialize`: its answer where there is one already, or what to ask the server, or neither: it waits. */
  join(port: Port, { id, bytes }: Request): { answer?: Uint8Array; ask?: object } {
    const idText = textAt(bytes, ["id"]) ?? JSON.stringify(id);
    if (this.#answer !== undefined) return { answer: withText(this.#answer, ["id"], idText) };
    if (this.#waiting !== undefined) {
      this.#waiting.push({ port, id, idText });
      return {};
    }
    this.#waiting = [{ port, id, idText }];
    const protocolVersion = handshakeRevision(memberAt(bytes, ["params", "protocolVersion"]));
    return { ask: { protocolVersion, capabilities: {}, clientInfo: CLIENT_INFO } };
  }

  /** The server's answer. */
  answered({ ok, bytes }: Response): void {
    if (!ok) return;
    this.#answer = bytes;
    this.#revision = memberAt(bytes, ["result", "protocolVersion"]);
  }

  /** Who waits for the answer; they are told now. */
  takeWaiting(): readonly Waiting[] {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    return waiting;
  }
}
