/** Where in a message stands what is read or rewritten. */
import { SUBSCRIPTION_ID } from "../../mcp/params.ts";

/** The token that a request asks for progress with, and the one that progress is told with. */
export const TOKEN = ["params", "_meta", "progressToken"] as const;
export const PROGRESS_TOKEN = ["params", "progressToken"] as const;
export const REQUEST_ID = ["params", "requestId"] as const;
export const SUBSCRIPTION = ["params", "_meta", SUBSCRIPTION_ID] as const;
export const LEVEL = ["params", "level"] as const;
/** The level that a single request asks for (2026-07-28). */
export const LOG_LEVEL = ["params", "_meta", "io.modelcontextprotocol/logLevel"] as const;
