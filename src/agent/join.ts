/**
 * The agent's identity: a key made on this host that never leaves it, registered at the proxy once, with a join token or
 * with AWS's word on this host. From then on the key is what joins, and the rest is not needed again.
 */
import { rmSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import * as v from "valibot";
import type { Config } from "../config/config.ts";
import { type HostPort, parseHostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { readSecretFile, writeSecretFile } from "../identity/files.ts";
import { generateKeyPair, type KeyPair, type PublicJwk, parseKeyPair, parsePublicJwk } from "../identity/keys.ts";
import { request } from "../link/request.ts";
import { fetchPinnedCa, findProxy, type Trust } from "../link/trust.ts";
import type { Log } from "../log.ts";
import { gatherEvidence, JOIN_PATH } from "./join-evidence.ts";

export interface AgentIdentity {
  /** The id that the proxy gave. */
  agent: string;
  name: string;
  cluster: string;
  key: KeyPair;
  /** The cluster's keys, pinned when this agent joined: grants that another key signed are worth nothing here. */
  signingKeys: PublicJwk[];
  trust: Trust;
}

const stored = v.object({
  v: v.literal(1),
  agent: v.string(),
  name: v.string(),
  cluster: v.string(),
  key: v.unknown(),
  signing_keys: v.array(v.unknown()),
  ca_pem: v.optional(v.string()),
  ca_pin: v.optional(v.string()),
});

const joinAnswer = v.object({ agent_id: v.string(), cluster_name: v.string(), signing_keys: v.array(v.unknown()) });

/** The identity in `dir`, or a new one by what `join_params` says. */
export async function loadIdentity(config: Config, dir: string, log: Log): Promise<AgentIdentity> {
  const proxy = proxyOf(config);
  return (await findIdentity(config, dir)) ?? joinCluster(config, proxy, identityFile(dir), log);
}

/** The identity in `dir`; undefined where this agent has not joined yet. */
export async function findIdentity(config: Config, dir: string): Promise<AgentIdentity | undefined> {
  const file = identityFile(dir);
  const text = readSecretFile(file);
  return text === undefined ? undefined : parseIdentity(text, file, proxyOf(config), config.caPin);
}

const identityFile = (dir: string): string => join(dir, "identity.json");

function proxyOf({ proxyServer, file }: Config): HostPort {
  if (proxyServer !== undefined) return proxyServer;
  throw new Failure("config", `${file ?? "configuration"}: mcpgate.proxy_server is missing`, {
    hint: "add under mcpgate: `proxy_server: HOST:443`",
  });
}

async function parseIdentity(
  text: string,
  file: string,
  proxy: HostPort,
  pin: string | undefined,
): Promise<AgentIdentity> {
  const parsed = v.safeParse(stored, parseJson(text));
  if (!parsed.success) {
    throw new Failure("data_dir", `${file} is damaged`, {
      hint: `remove it and join again with a new token: rm ${file}`,
    });
  }
  const { agent, name, cluster, key, signing_keys, ca_pem, ca_pin } = parsed.output;
  if (pin !== undefined && ca_pin !== undefined && pin !== ca_pin) {
    throw new Failure(
      "pin_mismatch",
      `ca_pin in the configuration is not the pin that this agent joined with (${ca_pin})`,
      {
        hint: `to join another proxy, remove ${file} and give a new token`,
      },
    );
  }
  return {
    agent,
    name,
    cluster,
    key: await parseKeyPair(key),
    signingKeys: signing_keys.map(parsePublicJwk),
    trust: { proxy, ...(ca_pem === undefined ? {} : { caPem: ca_pem }) },
  };
}

async function joinCluster(config: Config, proxy: HostPort, file: string, log: Log): Promise<AgentIdentity> {
  if (config.join === undefined) {
    throw new Failure("config", `${config.file}: mcpgate.join_params: is required to join for the first time`, {
      hint: "on the proxy's host: mcpgate tokens add --type=app",
    });
  }
  const evidence = gatherEvidence(config.join);
  const pin = config.caPin;
  const caPem = pin === undefined ? undefined : await fetchPinnedCa(proxy, pin);
  const trust: Trust = { proxy, caPem };
  const found = await findProxy(trust);
  const keyFile = join(dirname(file), "join-key.json");
  const key = await loadJoinKey(keyFile);
  const name = config.nodename ?? hostname();
  const at: Trust = { ...trust, proxy: publicAddress(found.public_addr, proxy) };
  const answer = await request({
    trust: at,
    key,
    method: "POST",
    path: JOIN_PATH,
    body: { name, ...(await evidence(at, key)) },
    schema: joinAnswer,
  });
  const signingKeys = answer.signing_keys.map(parsePublicJwk);
  const identity = {
    v: 1,
    agent: answer.agent_id,
    name,
    cluster: answer.cluster_name,
    key: key.privateJwk,
    signing_keys: signingKeys,
    ...(caPem === undefined ? {} : { ca_pem: caPem }),
    ...(pin === undefined ? {} : { ca_pin: pin }),
  };
  writeSecretFile(file, `${JSON.stringify(identity, null, 2)}\n`);
  rmSync(keyFile, { force: true });
  log.info("agent.joined", { agent: answer.agent_id, name, cluster: answer.cluster_name });
  return { agent: answer.agent_id, name, cluster: answer.cluster_name, key, signingKeys, trust };
}

/** Kept before it is registered: where the answer was lost, the next try is the same agent's, and not a second one's. */
async function loadJoinKey(file: string): Promise<KeyPair> {
  const text = readSecretFile(file);
  if (text !== undefined) {
    const kept = await parseKeyPair(parseJson(text)).catch(() => undefined);
    if (kept !== undefined) return kept;
  }
  const key = await generateKeyPair();
  writeSecretFile(file, `${JSON.stringify(key.privateJwk)}\n`);
  return key;
}

/** A proof names the proxy's own public address, so this one has to be the same, or it could be passed on by another. */
function publicAddress(found: string, dialled: HostPort): HostPort {
  const address = parseHostPort(found, { defaultPort: 443 });
  if (typeof address === "string") throw new Failure("unreachable", `the proxy's public address: ${address}`);
  if (address.host !== dialled.host || address.port !== dialled.port) {
    throw new Failure("config", `the proxy's public address is ${found}, not what proxy_server says`, {
      hint: `in this agent's configuration: proxy_server: ${found}`,
    });
  }
  return address;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
