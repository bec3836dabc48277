/** Requests of our own to a server, under ids that no MCP client has, and whose answers no MCP client sees. */
import { Failure } from "../errors.ts";
import { withMember } from "../mcp/members.ts";
import type { Id, Response } from "../mcp/message.ts";

export class OwnRequests {
  readonly #waiting = new Map<Id, PromiseWithResolvers<Response>>();

  /** Sends the recorded request again. Fails when no answer came within `ms`, or the session ended. */
  async ask(session: { write(bytes: Uint8Array): boolean }, recorded: Uint8Array, ms: number): Promise<Response> {
    const id = `mcpgate-${crypto.randomUUID()}`;
    const answer = Promise.withResolvers<Response>();
    this.#waiting.set(id, answer);
    const late = () => answer.reject(new Failure("timeout", `the server did not answer within ${ms / 1000} s`));
    const timer = setTimeout(late, ms);
    session.write(withMember(recorded, ["id"], id));
    try {
      return await answer.promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  /** Whether this is the answer to one of them. */
  answered(response: Response): boolean {
    const waiting = this.#waiting.get(response.id);
    waiting?.resolve(response);
    return waiting !== undefined;
  }

  /** The session has ended. */
  abandon(failure: Failure): void {
    for (const waiting of this.#waiting.values()) waiting.reject(failure);
  }
}
