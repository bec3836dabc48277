/**
 * What a span says of a call, by OpenTelemetry's semantic conventions for MCP (open-telemetry/semantic-conventions-genai,
 * docs/gen-ai/mcp.md, status: development). Arguments and results are never in it; nor are resources' URIs, which may hold
 * what is secret: the audit log has them.
 */
import { memberAt } from "../mcp/members.ts";
import type { Request, Response } from "../mcp/message.ts";
import type { Attributes, TraceContext } from "./span.ts";

/** Revisions without a handshake (2026-07-28) say it in each request. */
const PROTOCOL_VERSION = "io.modelcontextprotocol/protocolVersion";
const REVISION = /^\d{4}-\d\d-\d\d$/;

/** `{mcp.method.name} {target}`; the target where it is a tool's or a prompt's name. */
export function spanName({ method, target }: Request): string {
  return target.kind === "tool" || target.kind === "prompt" ? `${method} ${target.name}` : method;
}

/** `revision`: what this session's handshake agreed on, where it had one. */
export function callAttributes(request: Request, revision: string | undefined): Attributes {
  const { id, method, target } = request;
  const said = metaOf(request)[PROTOCOL_VERSION];
  const version = typeof said === "string" && REVISION.test(said) ? said : revision;
  return {
    "mcp.method.name": method,
    "jsonrpc.request.id": String(id),
    ...(target.kind === "tool" ? { "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": target.name } : {}),
    ...(target.kind === "prompt" ? { "gen_ai.prompt.name": target.name } : {}),
    ...(version === undefined ? {} : { "mcp.protocol.version": version }),
  };
}

/** What the MCP client says its call belongs to (SEP-414: unprefixed keys of `_meta`). */
export function contextOf(request: Request): TraceContext | undefined {
  const { traceparent, tracestate } = metaOf(request);
  if (typeof traceparent !== "string") return undefined;
  return { traceparent, ...(typeof tracestate === "string" ? { tracestate } : {}) };
}

/** An answer that is an error: what kind, and its code where it is JSON-RPC's. */
export function faultOf({ ok, body, bytes }: Response, method: string): { type: string; code?: string } | undefined {
  if (!ok) {
    const code = memberAt(bytes, ["error", "code"]);
    return typeof code === "number" ? { type: String(code), code: String(code) } : { type: "error" };
  }
  return method === "tools/call" && body.is("isError", "true") ? { type: "tool_error" } : undefined;
}

/** The revision that an `initialize` result agrees on. */
export function agreedRevision({ bytes }: Response): string | undefined {
  const said = memberAt(bytes, ["result", "protocolVersion"]);
  return typeof said === "string" && REVISION.test(said) ? said : undefined;
}

function metaOf({ params, bytes }: Request): Record<string, unknown> {
  if (params === undefined || params.find("_meta") === -1) return {};
  const meta = memberAt(bytes, ["params", "_meta"]);
  return typeof meta === "object" && meta !== null ? (meta as Record<string, unknown>) : {};
}
