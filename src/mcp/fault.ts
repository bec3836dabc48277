/**
 * Why a message was not understood. Thrown inside `mcp/` and turned into a value at its border (`decode`), so it carries
 * no stack: a client that sends only rubbish must not cost more than one that does not.
 */

/** JSON-RPC 2.0, section 5.1. */
export const PARSE_ERROR = -32700;
export const INVALID_REQUEST = -32600;
export const METHOD_NOT_FOUND = -32601;
export const INVALID_PARAMS = -32602;

/**
 * Codes of our own. JSON-RPC reserves -32768…-32000, and MCP 2026-07-28 says that a gateway's errors stay outside it.
 */
export const OUTCOME_UNKNOWN = -31001;
export const TOO_MANY_REQUESTS = -31002;
export const BAD_SERVER_ANSWER = -31003;
export const SERVER_GONE = -31004;
export const SERVER_METHOD_DENIED = -31006;
/** The client command could not reach its server at all: not logged in, no agent, no access. */
export const CONNECTION_FAILED = -31005;

export class Fault {
  /** JSON-RPC error code. */
  readonly code: number;
  /** Lower case, no full stop; never holds content of the message. */
  readonly reason: string;

  constructor(code: number, reason: string) {
    this.code = code;
    this.reason = reason;
  }
}
