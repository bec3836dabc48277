/** The API over a real store in a directory of its own, with real keys and proofs; only the live side is recorded. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newestEvents } from "../../../src/audit/store.ts";
import type { AuditEvent } from "../../../src/event.ts";
import { generateKeyPair, type KeyPair } from "../../../src/identity/keys.ts";
import { Nonces } from "../../../src/identity/nonce.ts";
import { signProof } from "../../../src/identity/proof.ts";
import { publicUrl } from "../../../src/identity/url.ts";
import { createLog } from "../../../src/log.ts";
import { createApi } from "../../../src/proxy/api/app.ts";
import type { ApiConfig, ApiDeps, Connection, Live } from "../../../src/proxy/api/deps.ts";
import { NOBODY } from "../../../src/proxy/api/passwords.ts";
import { addLogin } from "../../../src/store/logins.ts";
import { openStore } from "../../../src/store/open.ts";
import { addUser } from "../../../src/store/users.ts";

export const SOCKET: Connection = { remote: "admin socket", uid: 1000 };
export const OUTSIDE: Connection = { remote: "192.0.2.7" };
const publicAddr = { host: "mcpgate.example.com", port: 443 };

export interface Answer {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: what an answer holds is what the tests are about
  body: any;
}

export async function openFixture(config: Partial<ApiConfig> = {}, more: Pick<ApiDeps, "fetchSts"> = {}) {
  const dir = mkdtempSync(join(tmpdir(), "mcpgate-api-"));
  const clock = { now: Date.UTC(2026, 10, 23) };
  const store = await openStore(join(dir, "mcpgate.db"), { now: () => clock.now });
  const calls: unknown[][] = [];
  const online = new Set<string>();
  const live: Live = {
    onlineAgents: () => online,
    endSessions: (match, reason) => void calls.push(["endSessions", match, reason]),
    disconnectAgent: (agentId, reason) => void calls.push(["disconnectAgent", agentId, reason]),
    policyChanged: () => void calls.push(["policyChanged"]),
    toolsApproved: (agentId, app, tools) => void calls.push(["toolsApproved", agentId, app, tools]),
    locksChanged: () => void calls.push(["locksChanged"]),
  };
  const logged: string[] = [];
  const nonces = new Nonces();
  const signing = await generateKeyPair();
  const api = createApi({
    store,
    live,
    log: createLog({ write: (line) => void logged.push(line), severity: "DEBUG" }),
    now: () => clock.now,
    nonces,
    config: { publicAddr, clusterName: "example", signingKeys: [{ ...signing.publicJwk }], ...config },
    ...more,
  });

  const send = async (
    method: string,
    path: string,
    o: { body?: unknown; key?: KeyPair; proof?: string; from?: Connection } = {},
  ): Promise<Answer> => {
    const headers: Record<string, string> = {};
    if (o.key !== undefined) {
      const url = publicUrl(publicAddr, path.split("?")[0] ?? path);
      headers.dpop = await signProof({ key: o.key, method, url, nonce: nonces.issue() });
    }
    if (o.proof !== undefined) headers.dpop = o.proof;
    const body = o.body === undefined ? {} : { body: typeof o.body === "string" ? o.body : JSON.stringify(o.body) };
    const response = await api.fetch(
      new Request(`http://whatever${path}`, { method, headers, ...body }),
      o.from ?? OUTSIDE,
    );
    return { status: response.status, headers: response.headers, body: await response.json() };
  };

  return {
    api,
    store,
    clock,
    calls,
    online,
    logged,
    nonces,
    publicAddr,
    send,
    /** As the admin on the socket. */
    admin: (method: string, path: string, body?: unknown) => send(method, path, { body, from: SOCKET }),
    /** A user with these roles who is logged in with the returned key. The password is nobody's. */
    async user(name: string, roles: string[]): Promise<KeyPair> {
      await addUser(store, { name, roles, now: clock.now });
      await store.updateTable("users").set({ password_hash: NOBODY }).where("name", "=", name).execute();
      const key = await generateKeyPair();
      await addLogin(store, { jkt: key.jkt, user: name, now: clock.now });
      return key;
    },
    async events(...names: string[]): Promise<AuditEvent[]> {
      return (await newestEvents(store, { events: names }, { limit: 1000 })).events;
    },
    async close() {
      await store.destroy();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

export type Fixture = Awaited<ReturnType<typeof openFixture>>;
