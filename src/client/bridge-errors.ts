/** What a call hears that no server answers. */
import type { Failure } from "../errors.ts";
import { encodeError } from "../mcp/encode.ts";
import { CONNECTION_FAILED, OUTCOME_UNKNOWN } from "../mcp/fault.ts";
import type { Id } from "../mcp/message.ts";
import type { Call } from "./open-calls.ts";

/** No session was given it. */
export function refusal(id: Id | null, { code, message, hint }: Failure): Uint8Array {
  const text = hint === undefined ? `mcpgate: ${message}` : `mcpgate: ${message}; try: ${hint}`;
  return encodeError(id, CONNECTION_FAILED, text, { code, ...(hint === undefined ? {} : { hint }) });
}

/** Its session has ended under it. */
export function endedAnswer({ id, state }: Call, message: string, code: string): Uint8Array {
  if (state === "missed") {
    const text = `mcpgate: ${message}, before this call reached the server: send it again`;
    return encodeError(id, CONNECTION_FAILED, text, { code, outcome: "not_sent" });
  }
  const text = `mcpgate: ${message}; whether the call took effect is not known: check before you repeat it; the next request starts a new session`;
  return encodeError(id, OUTCOME_UNKNOWN, text, { code, outcome: "unknown" });
}
