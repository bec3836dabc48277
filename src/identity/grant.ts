/**
 * Grants: what the proxy signs for one session, and all that an agent takes its word for. A JWS of type
 * `mcpgate-grant+jwt`, its audience one agent, its `kid` one of the cluster's signing keys, which the agent pinned when it
 * joined.
 *
 * Time: an agent's own clock is never compared, as a wrong one would lock everybody out. The proxy stamps `iat` and
 * `start_by`; the agent counts the lifetime between them from the moment it received the grant (a grant is signed when
 * it is sent, over the agent's own control connection), and, where it has learnt the proxy's clock on that connection
 * (`PeerClock`), refuses one that is old by the proxy's own clock. A grant's `attach` id works once: the agent keeps those
 * that it has seen for `startWithinMs`.
 */
import { compactVerify } from "jose/jws/compact/verify";
import { SignJWT } from "jose/jwt/sign";
import * as v from "valibot";
import { Failure } from "../errors.ts";
import type { AppRules } from "../rbac/rules.ts";
import type { Traits } from "../rbac/traits.ts";
import { ALGORITHM, type KeyPair, type PublicJwk, parsePublicJwk, thumbprint } from "./keys.ts";

export const GRANT_TYPE = "mcpgate-grant+jwt";
/** How long after its signing a grant starts a session, seconds. */
export const GRANT_LIFETIME_S = 60;
/** What an agent accepts at the most, seconds: room for a proxy of a neighbouring release. */
const MAX_LIFETIME_S = 300;
/** Two clocks read over a network differ by its delay, seconds. */
const LEEWAY_S = 10;
/** A grant at the most, characters; the rules make up nearly all of it. */
export const MAX_GRANT_LENGTH = 1024 * 1024;

export interface Grant {
  v: 1;
  /** The session's id, minted by the client. */
  sid: string;
  /** This attachment's id: another for every opening and resume. */
  attach: string;
  user: string;
  /** The user's, for what an agent's own configuration says of them; bounded where they are stored. */
  traits: Traits;
  app: string;
  /** The agent's id: the grant's audience. */
  agent: string;
  /** Thumbprint of the client's key. */
  client_jkt: string;
  /** The user's effective rules for this app. */
  rules: AppRules;
  /** The policy revision that the rules are of. */
  revision: number;
  /** By the proxy's clock, seconds since the epoch. */
  start_by: number;
}

export interface ReceivedGrant extends Grant {
  /** How long from now this grant would be accepted again, milliseconds of a monotonic clock: remember its `attach` so long. */
  startWithinMs: number;
}

export interface GrantCheck {
  /** This agent's id. */
  agent: string;
  /** Seconds since the epoch by the proxy's clock (`PeerClock.now`); while it is unknown only the lifetime is counted. */
  proxyNow?: () => number | undefined;
}

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(512));
const names = v.optional(v.array(v.string()));
const conditional = v.optional(v.array(v.union([v.string(), v.strictObject({ name: v.string(), where: v.string() })])));
// Strict where a member that we don't know could mean "deny"; the grant around it may grow.
const mcpRules = v.strictObject({
  tools: conditional,
  prompts: conditional,
  resources: names,
  methods: names,
  server_methods: names,
});
const appRules = v.strictObject({
  v: v.literal(1),
  roles: v.array(v.strictObject({ role: v.string(), allow: mcpRules, deny: mcpRules })),
  facts: v.optional(
    v.strictObject({
      user: v.strictObject({
        name: v.string(),
        roles: v.array(v.string()),
        traits: v.record(v.string(), v.array(v.string())),
      }),
      app: v.strictObject({ name: v.string(), labels: v.record(v.string(), v.string()) }),
    }),
  ),
});
const seconds = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const grantClaims = v.object({
  v: v.literal(1),
  sid: text,
  attach: text,
  user: text,
  traits: v.optional(v.record(v.string(), v.array(v.string())), {}),
  app: text,
  aud: text,
  client_jkt: text,
  rules: appRules,
  revision: seconds,
  start_by: seconds,
  iat: seconds,
});

/**
 * Signs a grant. `issuer`: the cluster's name. `now`: seconds since the epoch, by default the clock; `start_by` is at most
 * five minutes after it.
 */
export function signGrant(grant: Grant, key: KeyPair, issuer: string, now = Date.now() / 1000): Promise<string> {
  const { agent, ...claims } = grant;
  return new SignJWT({ ...claims, iss: issuer, aud: agent, iat: Math.floor(now) })
    .setProtectedHeader({ typ: GRANT_TYPE, alg: ALGORITHM, kid: key.jkt })
    .sign(key.privateJwk);
}

/** Checks a grant against the cluster's signing keys. Any fault throws `Failure("bad_proof")`. */
export async function verifyGrant(
  jws: unknown,
  keys: readonly PublicJwk[],
  expected: GrantCheck,
): Promise<ReceivedGrant> {
  if (typeof jws !== "string" || jws.length > MAX_GRANT_LENGTH) throw bad("is missing or too long");
  const { aud, iat, ...claims } = await verifiedClaims(jws, keys);
  if (aud !== expected.agent) throw bad("is for another agent");
  const lifetime = claims.start_by - iat;
  if (lifetime <= 0 || lifetime > MAX_LIFETIME_S) throw bad("has no proper lifetime");
  const age = (expected.proxyNow?.() ?? iat) - iat;
  const left = lifetime + LEEWAY_S - age;
  if (left < 0) throw bad("is too old");
  return { ...claims, rules: claims.rules as AppRules, agent: aud, startWithinMs: Math.floor(left * 1000) };
}

async function verifiedClaims(jws: string, keys: readonly PublicJwk[]): Promise<v.InferOutput<typeof grantClaims>> {
  try {
    const { payload } = await compactVerify(
      jws,
      async (header) => {
        if (header.typ !== GRANT_TYPE) throw bad("is of another type");
        if (header.crit !== undefined) throw bad("asks for extensions");
        return keyNamed(header.kid, keys);
      },
      { algorithms: [ALGORITHM] },
    );
    const parsed = v.safeParse(
      grantClaims,
      JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(payload)),
    );
    if (!parsed.success) throw bad("has claims that this release does not understand");
    return parsed.output;
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw bad("does not verify", error);
  }
}

async function keyNamed(kid: string | undefined, keys: readonly PublicJwk[]): Promise<PublicJwk> {
  for (const key of keys) {
    const jwk = parsePublicJwk(key);
    if ((await thumbprint(jwk)) === kid) return jwk;
  }
  throw bad("is signed by none of the cluster's keys");
}

function bad(fault: string, cause?: unknown): Failure {
  return new Failure("bad_proof", `the grant ${fault}`, { cause });
}
