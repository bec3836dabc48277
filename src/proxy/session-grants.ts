/** Grants: what the proxy signs so that an agent runs a session, and by which rules. */
import { GRANT_LIFETIME_S, type Grant, signGrant } from "../identity/grant.ts";
import type { KeyPair } from "../identity/keys.ts";
import type { Session } from "../store/sessions.ts";
import type { Standing } from "./admission.ts";
import type { RunJob } from "./store-jobs.ts";

export interface SessionGrantsOptions {
  run: RunJob;
  clusterName: string;
  signingKey: KeyPair;
  /** Milliseconds since the epoch. */
  now(): number;
}

export class SessionGrants {
  readonly #options: SessionGrantsOptions;

  constructor(options: SessionGrantsOptions) {
    this.#options = options;
  }

  /**
   * The rules of a live session as they are now. Throws `Failure("not_found")` when its user may not reach the app any more,
   * `session_gone` when its agent offers it no more, `locked` when the user, a role of theirs, the app or its agent is locked.
   */
  async current(session: Session): Promise<string> {
    const { run, now } = this.#options;
    return this.sign(session, crypto.randomUUID(), await run("readStanding", { session, now: now() }));
  }

  /** `attach`: what the agent's connection for the session says that it is for. */
  sign(session: Session, attach: string, { rules, traits, revision }: Standing): Promise<string> {
    const { now, signingKey, clusterName } = this.#options;
    const grant: Grant = {
      v: 1,
      sid: session.sid,
      attach,
      user: session.user,
      app: session.app,
      agent: session.agentId,
      client_jkt: session.clientJkt,
      traits,
      rules,
      revision,
      start_by: Math.floor(now() / 1000) + GRANT_LIFETIME_S,
    };
    return signGrant(grant, signingKey, clusterName, now() / 1000);
  }
}
