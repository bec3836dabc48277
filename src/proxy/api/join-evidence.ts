/** What a joining agent has to show, method by method: a secret, AWS's word on its credentials, or AWS's word on its host. */
import * as v from "valibot";
import { Failure } from "../../errors.ts";
import { allowsCaller, allowsInstance } from "../../identity/allow-rules.ts";
import { claimInstance } from "../../store/instances.ts";
import type { Store } from "../../store/store.ts";
import { findTokenResource, type StoredToken } from "../../store/token-resources.ts";
import { checkToken } from "../../store/tokens.ts";
import { askCallerIdentity } from "../caller-identity.ts";
import { checkInstanceIdentity, type InstanceIdentity } from "../instance-identity.ts";
import type { ApiDeps } from "./deps.ts";
import { agentName, secret } from "./schemas.ts";

const text = (max: number) => v.pipe(v.string(), v.maxLength(max, `at most ${max} characters`));

export const joinBody = v.strictObject({
  /** The secret, or the token's name. */
  token: secret,
  name: agentName,
  iam: v.optional(
    v.strictObject({
      nonce: text(128),
      host: text(128),
      authorization: text(1024),
      amz_date: text(32),
      security_token: v.optional(text(8192)),
    }),
  ),
  ec2: v.optional(v.strictObject({ message: text(16_384) })),
});
export type JoinBody = v.InferOutput<typeof joinBody>;

export interface Evidence {
  /** What the event tells of it; grows while it is gathered. Holds no secret. */
  details: Record<string, unknown>;
  /** In the transaction that lets the agent in: whether it still counts, and, where it counts once, that it is used. */
  confirm(tx: Store): Promise<void>;
}

/** An instance that is younger than this proxy's clock is by more than that has a document from elsewhere, milliseconds. */
const MAX_AHEAD_MS = 60_000;
/** Requests to STS at once: whoever knows a token's name can have them made. */
const MAX_ASKING = 8;

/** Gathers the evidence for joins at one proxy. */
export class JoinEvidence {
  readonly #deps: ApiDeps;
  #asking = 0;

  constructor(deps: ApiDeps) {
    this.#deps = deps;
  }

  /**
   * Everything that takes its time is done here, before the transaction. `details` is filled while it goes on, so that a
   * refusal can tell what was known. `jkt`: of the key that joins. `url`: where. Throws `Failure("token_invalid")` with
   * the true reason.
   */
  async gather(body: JoinBody, o: { jkt: string; url: string; details: Evidence["details"] }): Promise<Evidence> {
    const { iam, ec2 } = body;
    if (iam !== undefined && ec2 !== undefined) throw new Failure("invalid", "ec2: takes either this or iam");
    o.details.method = methodOf(body);
    if (iam !== undefined) return this.#byCredentials(body.token, iam, o);
    if (ec2 !== undefined) return this.#byInstance(body.token, ec2.message, o);
    return this.#bySecret(body.token, o);
  }

  #bySecret(token: string, { details }: { details: Evidence["details"] }): Evidence {
    const { now } = this.#deps;
    return {
      details,
      async confirm(tx) {
        details.token_id = (await checkToken(tx, token, { type: "app", now: now() })).id;
      },
    };
  }

  async #byCredentials(
    name: string,
    iam: NonNullable<JoinBody["iam"]>,
    o: { jkt: string; url: string; details: Evidence["details"] },
  ): Promise<Evidence> {
    const { store, nonces, fetchSts } = this.#deps;
    const { details } = o;
    await this.#tokenOf(store, name, "iam", details);
    const { nonce, ...request } = iam;
    if (!nonces.take(nonce)) throw refused("its challenge is unknown, used or too old");
    if (this.#asking >= MAX_ASKING) {
      throw new Failure("unavailable", "too many agents join at once", { hint: "try again in a moment" });
    }
    this.#asking += 1;
    const caller = await askCallerIdentity(request, { nonce, jkt: o.jkt, url: o.url, fetch: fetchSts }).finally(() => {
      this.#asking -= 1;
    });
    Object.assign(details, caller);
    return {
      details,
      // the token may have been changed while AWS was asked
      confirm: async (tx) => {
        const { allow } = await this.#tokenOf(tx, name, "iam", details);
        if (!allowsCaller(allow, caller)) throw refused(`no rule of the token ${name} allows ${caller.arn}`);
      },
    };
  }

  async #byInstance(
    name: string,
    message: string,
    { jkt, details }: { jkt: string; details: Evidence["details"] },
  ): Promise<Evidence> {
    const { store, config, now } = this.#deps;
    await this.#tokenOf(store, name, "ec2", details);
    const found = await checkInstanceIdentity(message, { directory: config.awsCertificates, now: now() });
    const { account, instance, region } = found;
    Object.assign(details, { account, instance, region });
    return {
      details,
      confirm: async (tx) => {
        const token = await this.#tokenOf(tx, name, "ec2", details);
        checkAge(found, token.iidTtl, now());
        if (!allowsInstance(token.allow, found)) {
          throw refused(`no rule of the token ${name} allows instances of ${account} in ${region}`);
        }
        await claimInstance(tx, { account, instance, jkt, now: now() });
      },
    };
  }

  async #tokenOf(
    store: Store,
    name: string,
    method: "iam" | "ec2",
    details: Evidence["details"],
  ): Promise<StoredToken> {
    const token = await findTokenResource(store, name, this.#deps.now());
    // Not its name: it may be a secret that was put in the wrong place.
    if (token === undefined) throw refused("there is no such token, or it has expired");
    details.token = token.name;
    if (token.method !== method) throw refused(`the token ${name} is for the method ${token.method}, not ${method}`);
    return token;
  }
}

export const methodOf = ({ iam, ec2 }: JoinBody) => (iam ? "iam" : ec2 ? "ec2" : "token");

function checkAge({ instance, startedAt }: InstanceIdentity, ttl: number, now: number): void {
  const since = new Date(startedAt).toISOString();
  if (startedAt - now > MAX_AHEAD_MS) throw refused(`the instance ${instance} started at ${since}, which is to come`);
  if (now - startedAt > ttl * 1000) {
    throw refused(`the instance ${instance} started at ${since}, over aws_iid_ttl (${ttl} s) ago`);
  }
}

const refused = (why: string): Failure => new Failure("token_invalid", why);
