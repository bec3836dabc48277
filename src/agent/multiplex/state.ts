/** What is kept of a shared server and its sessions. */
import { SharedHandshake } from "./handshake.ts";
import type { Port } from "./port.ts";
import { SharedRequests } from "./requests.ts";

/** What to write, in this order. */
export interface Routed {
  toServer: Uint8Array[];
  toPorts: { port: Port; bytes: Uint8Array }[];
  /** Lines of the server that are no messages. */
  junk: string[];
  /** The handshake was refused. */
  refused?: true;
  /** The server's answer when it doesn't know `server/discover`: that it is of the era before. */
  unknown?: Uint8Array;
}

export const nothing = (): Routed => ({ toServer: [], toPorts: [], junk: [] });

export class MultiplexState {
  readonly onePerson: boolean;
  readonly ports = new Set<Port>();
  readonly requests: SharedRequests;
  readonly handshake = new SharedHandshake();
  /** Tasks (2025-11-25), and whose request became each. */
  readonly tasks = new Map<string, Port>();
  /** Whether the server has answered anything yet. */
  answered = false;

  constructor(onePerson: boolean, random: () => string) {
    this.onePerson = onePerson;
    this.requests = new SharedRequests(random);
  }

  isSubscribed(uri: string): boolean {
    for (const port of this.ports) if (port.subscriptions.has(uri)) return true;
    return false;
  }
}
