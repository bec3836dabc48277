/**
 * The handshake of the revisions that have one (2024-11-05 to 2025-11-25), as it was done with the first server: a new
 * session does it again with the same bytes, and its server has to be the same to go on with.
 */
import { isDeepStrictEqual } from "node:util";
import { printable } from "../log.ts";
import { memberAt } from "../mcp/members.ts";
import type { Response } from "../mcp/message.ts";
import type { Call } from "./open-calls.ts";

/** What an MCP client goes by for as long as it is connected: these decide which requests it sends. */
export interface ServerIdentity {
  protocolVersion: unknown;
  serverInfo: unknown;
  capabilities: unknown;
}

export interface Recorded {
  /** The `initialize` request, under the MCP client's id. */
  request: Uint8Array;
  server: ServerIdentity;
  /** `notifications/initialized`; undefined while the MCP client has not sent it. */
  initialized: Uint8Array | undefined;
}

export class Handshake {
  #recorded: Recorded | undefined;

  get recorded(): Recorded | undefined {
    return this.#recorded;
  }

  /** The server answered `initialize`. */
  answered({ bytes }: Call, response: Response): void {
    if (bytes === undefined || !response.ok) return;
    this.#recorded = { request: bytes, server: identityOf(response), initialized: undefined };
  }

  /** The MCP client sent `notifications/initialized`. */
  initialized(bytes: Uint8Array): void {
    if (this.#recorded !== undefined) this.#recorded.initialized = bytes.slice();
  }

  /** The MCP client begins anew. */
  forget(): void {
    this.#recorded = undefined;
  }
}

export function identityOf({ bytes }: Response): ServerIdentity {
  const { protocolVersion, serverInfo, capabilities } = (memberAt(bytes, ["result"]) ?? {}) as Record<string, unknown>;
  return { protocolVersion, serverInfo, capabilities };
}

/** What differs, for a person; undefined where nothing does. */
export function changeOf(before: ServerIdentity, after: ServerIdentity): string | undefined {
  if (!isDeepStrictEqual(before.serverInfo, after.serverInfo)) {
    const [was, is] = [nameOf(before.serverInfo), nameOf(after.serverInfo)];
    return was === is ? `${was} describes itself differently` : `it was ${was} and is ${is}`;
  }
  if (before.protocolVersion !== after.protocolVersion) {
    return `it spoke revision ${shown(before.protocolVersion)} and speaks ${shown(after.protocolVersion)}`;
  }
  return isDeepStrictEqual(before.capabilities, after.capabilities) ? undefined : "its capabilities are not the same";
}

function nameOf(serverInfo: unknown): string {
  const { name, version } = (serverInfo ?? {}) as Record<string, unknown>;
  return `${shown(name)} ${shown(version)}`;
}

const shown = (value: unknown): string => printable(String(value)).slice(0, 100);
