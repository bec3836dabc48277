/**
 * What the store says of a client that comes for a session: who it is, whose offers of the app it may reach, and what it may
 * do there. Each function is one job of the store's thread (`store-jobs.ts`): asked for statement by statement it took twenty
 * ways there and back.
 */
import { moveSession as moveInStore, openSession } from "../audit/sessions.ts";
import { Failure, type FailureJson } from "../errors.ts";
import { appAccess } from "../rbac/access.ts";
import { locked, lockOn } from "../rbac/lock.ts";
import type { AppRules } from "../rbac/rules.ts";
import type { Traits } from "../rbac/traits.ts";
import { type App, findApps } from "../store/apps.ts";
import { activeLocks } from "../store/locks.ts";
import { checkLogin, type Login } from "../store/logins.ts";
import { policyRevision } from "../store/meta.ts";
import { loadSubject, type Subject } from "../store/roles.ts";
import { findSession, type Load, type NewSession, type Session, sessionLoad, touchSession } from "../store/sessions.ts";
import type { Store } from "../store/store.ts";

export interface Asked {
  /** The thumbprint of the key that was proved. */
  jkt: string;
  sid: string;
  app: string;
  now: number;
}

export interface Arrival {
  login: Login;
  /** The session, where it is there already; whoever's it is. */
  known: Session | undefined;
  /** The offers of the app that the user may reach and nobody locked. A shared app's may carry labels of their own. */
  offers: App[];
  /** Where there are several for a new session: how many live ones their agents have. */
  load: [agentId: string, load: Load][];
  /** Why there are none: `not_found` where there is no such app or the user may not reach it, which look the same; `locked`. */
  refusal?: FailureJson;
}

/** Throws `Failure("not_logged_in")` or `login_expired`. */
export async function readArrival(store: Store, { jkt, sid, app, now }: Asked): Promise<Arrival> {
  const login = await checkLogin(store, jkt, now);
  const known = await findSession(store, sid);
  try {
    const offers = await openOffers(store, login.user, app, now);
    return {
      login,
      known,
      offers,
      load: known === undefined && offers.length > 1 ? await sessionLoad(store, app) : [],
    };
  } catch (error) {
    const failure = Failure.from(error);
    if (failure.code !== "not_found" && failure.code !== "locked") throw failure;
    return { login, known, offers: [], load: [], refusal: failure.toJSON() };
  }
}

async function openOffers(store: Store, user: string, name: string, now: number): Promise<App[]> {
  const subject = await loadSubject(store, user);
  const offers = (await findApps(store, name)).filter((app) => appAccess(subject.roles, app, subject).allowed);
  const [first] = offers;
  if (first === undefined) {
    throw new Failure("not_found", `no such app "${name}", or you may not reach it`, { hint: "mcpgate client ls" });
  }
  const locks = await activeLocks(store, now);
  const open = offers.filter((app) => lockOn(locks, lockable(subject, app)) === undefined);
  const lock = open.length === 0 ? lockOn(locks, lockable(subject, first)) : undefined;
  if (lock !== undefined) throw locked(lock);
  return open;
}

/** What a session may do, as of a revision of the policy. */
export interface Standing {
  rules: AppRules;
  traits: Traits;
  revision: number;
}

export interface Begun {
  session: Session;
  created: boolean;
  /** The login is over by now. */
  loggedOut?: FailureJson;
  /** What it may do, or why it may not be. */
  standing: Standing | { failure: FailureJson };
}

/**
 * Opens the session, or finds it. Login and rules are read after it is on record: what changes before that is found here, and
 * what changes from then on finds the session. Throws as `openSession` does.
 */
export async function beginSession(store: Store, { now, ...asked }: NewSession & { now: number }): Promise<Begun> {
  const { session, created } = await openSession(store, asked, now);
  const { sid, clientJkt, remote } = { ...session, remote: asked.remote };
  try {
    await checkLogin(store, clientJkt, now);
  } catch (error) {
    const failure = Failure.from(error).toJSON();
    return { session, created, loggedOut: failure, standing: { failure } };
  }
  if (!created) await touchSession(store, sid, { remote, now });
  return withStanding(store, { session, created, now });
}

/**
 * The session's agent did not take it, and another one is to: it begins there anew. `undefined` where the session has ended
 * meanwhile, or was moved by somebody else.
 */
export async function moveSession(
  store: Store,
  { now, ...move }: { session: Session; agentId: string; agent: string; reason: string; now: number },
): Promise<Begun | undefined> {
  const session = await moveInStore(store, move, now);
  return session === undefined ? undefined : withStanding(store, { session, created: true, now });
}

async function withStanding(
  store: Store,
  { now, ...begun }: { session: Session; created: boolean; now: number },
): Promise<Begun> {
  try {
    return { ...begun, standing: await readStanding(store, { session: begun.session, now }) };
  } catch (error) {
    return { ...begun, standing: { failure: Failure.from(error).toJSON() } };
  }
}

/**
 * Throws `Failure("not_found")` when the user may not reach the app any more, `session_gone` when the session's agent offers it
 * no more, `locked` when the user, a role of theirs, the app or its agent is locked.
 */
export async function readStanding(
  store: Store,
  { session: { user, app: name, agentId }, now }: { session: Session; now: number },
): Promise<Standing> {
  // Read first: rules are never older than the revision that they go under.
  const revision = await policyRevision(store);
  const subject = await loadSubject(store, user);
  const app = (await findApps(store, name)).find((offer) => offer.agentId === agentId);
  if (app === undefined) throw new Failure("session_gone", "the agent does not offer the app any more");
  const access = appAccess(subject.roles, app, subject);
  if (!access.allowed) throw new Failure("not_found", "you may not reach this app any more");
  const lock = lockOn(await activeLocks(store, now), lockable(subject, app));
  if (lock !== undefined) throw locked(lock);
  return { rules: access.rules, traits: subject.traits, revision };
}

const lockable = ({ name, roles }: Subject, app: App) => ({
  user: name,
  roles: roles.map(({ metadata }) => metadata.name),
  app: app.name,
  agent: app.agent,
});
