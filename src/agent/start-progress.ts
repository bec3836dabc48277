/**
 * Progress while a server starts: from the first question to the server's first word, each request that asked for progress
 * hears every few seconds that the server is on its way, so that the MCP client's patience outlasts an `npx` that downloads.
 * Afterwards progress is the server's own.
 */
import { encodeNotification } from "../mcp/encode.ts";

const EVERY_MS = 5_000;
/** Progress has to grow, and what the server says later should be more than ours. */
const STEP = 1e-6;

interface Asked {
  id: unknown;
  token: string | number;
  next: number;
  steps: number;
}

export class StartProgress {
  #asked: Asked[] = [];
  #over = false;

  /** A line that went to the server. `now`, here and below: monotonic milliseconds. */
  toServer(line: Uint8Array, now: number): void {
    if (this.#over) return;
    const { id, method, params } = JSON.parse(new TextDecoder().decode(line)) as {
      id?: unknown;
      method?: string;
      params?: { requestId?: unknown; _meta?: { progressToken?: unknown } };
    };
    if (method === "notifications/cancelled") this.#asked = this.#asked.filter((each) => each.id !== params?.requestId);
    const token = params?._meta?.progressToken;
    if (id === undefined || !(typeof token === "string" || Number.isSafeInteger(token))) return;
    this.#asked.push({ id, token: token as string | number, next: now + EVERY_MS, steps: 0 });
  }

  /** The server spoke: it is there. */
  end(): void {
    this.#over = true;
    this.#asked = [];
  }

  /** What is to be told by now. */
  due(now: number): Uint8Array[] {
    return this.#asked
      .filter(({ next }) => next <= now)
      .map((each) => {
        each.next = now + EVERY_MS;
        each.steps += 1;
        return encodeNotification("notifications/progress", {
          progressToken: each.token,
          progress: each.steps * STEP,
          message: "the MCP server is starting",
        });
      });
  }
}
