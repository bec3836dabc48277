/** What a login leaves on this machine: one file, 0600, in a directory of its own, 0700. */
import { rmSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import * as v from "valibot";
import { formatHostPort, parseHostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { readSecretFile, writeSecretFile } from "../identity/files.ts";
import { type KeyPair, parseKeyPair } from "../identity/keys.ts";
import type { Trust } from "../link/trust.ts";

/** A login as it was saved. Whether it is still good, only the proxy knows. */
export interface Profile {
  trust: Trust;
  caPin?: string | undefined;
  cluster: string;
  user: string;
  /** As the proxy said, RFC 3339. */
  expiresAt: string;
  /** As good as the login until it expires or is revoked. */
  key: KeyPair;
}

const saved = v.object({
  v: v.literal(1),
  proxy: v.string(),
  cluster: v.string(),
  user: v.string(),
  expires_at: v.string(),
  ca_pem: v.optional(v.string()),
  ca_pin: v.optional(v.string()),
  key: v.unknown(),
});

/** `MCPGATE_HOME`, or `~/.mcpgate`. */
export function clientHome(env: Record<string, string | undefined>): string {
  return env.MCPGATE_HOME ? resolve(env.MCPGATE_HOME) : join(env.HOME || homedir(), ".mcpgate");
}

const fileIn = (home: string): string => join(home, "login.json");

/** The saved login, or `undefined` where there is none. */
export async function loadProfile(home: string): Promise<Profile | undefined> {
  const text = readSecretFile(fileIn(home));
  if (text === undefined) return undefined;
  const parsed = v.safeParse(saved, parseJson(text));
  const proxy = parsed.success ? parseHostPort(parsed.output.proxy, { defaultPort: 443 }) : "damaged";
  if (!parsed.success || typeof proxy === "string") {
    throw new Failure("data_dir", `${fileIn(home)} is damaged`, { hint: "log in again: mcpgate client login" });
  }
  const { cluster, user, expires_at, ca_pem, ca_pin, key } = parsed.output;
  return {
    trust: { proxy, caPem: ca_pem },
    caPin: ca_pin,
    cluster,
    user,
    expiresAt: expires_at,
    key: await parseKeyPair(key),
  };
}

/** The saved login, or a failure that says how to get one. */
export async function requireProfile(home: string): Promise<Profile> {
  const profile = await loadProfile(home);
  if (profile === undefined) {
    throw new Failure("not_logged_in", "not logged in", { hint: "mcpgate client login --proxy=HOST:PORT --user=NAME" });
  }
  return profile;
}

export function saveProfile(home: string, profile: Profile): void {
  const { trust, caPin, cluster, user, expiresAt, key } = profile;
  const value = {
    v: 1,
    proxy: formatHostPort(trust.proxy),
    cluster,
    user,
    expires_at: expiresAt,
    ca_pem: trust.caPem,
    ca_pin: caPin,
    key: key.privateJwk,
  };
  writeSecretFile(fileIn(home), `${JSON.stringify(value, null, 2)}\n`);
}

export function removeProfile(home: string): void {
  rmSync(fileIn(home), { force: true });
}

/** The very command that logs this user in again. */
export const loginCommand = ({ trust, user }: Pick<Profile, "trust" | "user">): string =>
  `mcpgate client login --proxy=${formatHostPort(trust.proxy)} --user=${user}`;

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
