/**
 * The proxy's API: one Hono app for the TLS listener and for the admin socket, `app.fetch(request, connection)`.
 *
 * Requests and answers are JSON; times are RFC 3339 in UTC; names are snake_case; unknown keys are refused. Bodies are
 * at most 64 KiB, a role's 256 KiB. A failure is `{error: {code, message, hint?}}` with the status of its code
 * (`errors.ts`).
 *
 * Proof of possession (RFC 9449): a JWT by `signProof` over the request's method, `publicUrl(public_addr, path)` without
 * the query, and a nonce: from GET /v1/nonce, or from the header `DPoP-Nonce` that every 401 and every authenticated
 * answer carries; it goes into the header `DPoP`. On 401 `bad_proof` with a `DPoP-Nonce`: sign again with that, once.
 * Routes marked K register the key that the proof carries; routes marked P take a proof of the login's key, A of an agent's. On the
 * admin socket P is not needed, and the actor is `uid:N`.
 *
 * | method and path                | body or query → answer                                                             |
 * |--------------------------------|------------------------------------------------------------------------------------|
 * | GET /v1/webapi/find            | → {server_version, min_client_version, cluster_name, auth{type, second_factor, login_ttl, min_password_length}, proxy{public_addr}} |
 * | GET /v1/webapi/ca              | → {ca_pem}; `not_found` where the certificate is checked as a web site's |
 * | GET /v1/nonce                  | → {nonce} |
 * | POST /v1/join              K   | {token, name, and by its method nothing, iam{nonce, host, authorization, amz_date, security_token?} or ec2{message}} → {agent_id, agent_name, CLUSTER} |
 * | GET /v1/agent/whoami       A   | → {agent_id, agent_name, online}; `access_denied` where the agent is not known |
 * | POST /v1/login             K   | {user, password} → {user, expires_at, expires_in, roles[], CLUSTER} |
 * | POST /v1/invite                | {invite, password} → {user, cluster_name} |
 * | POST /v1/logout            P   | no body → {user, ended_sessions} |
 * | GET /v1/whoami             P   | → {actor, user, expires_at, expires_in, roles[], cluster_name}; on the socket {actor, cluster_name} |
 * | GET /v1/apps               P   | → {apps: [{name, description, type: "stdio", labels{}, allowed_tools[], denied_tools[], online}]} |
 *
 * CLUSTER: cluster_name, public_addr ("host:port"), signing_keys[] (public JWKs), ca_pem?. `expires_in`: seconds.
 *
 * Operations of admins, P or socket; [resource verb] is what a role's `rules` must allow:
 *
 * | POST /v1/api/tokens            [token create]   | {type: "app", ttl_seconds?} → 201 {token, TOKEN, TRUST}; 1 s to 24 h, 30 min unless told |
 * | GET /v1/api/tokens             [token list]     | → {tokens: [TOKEN]}, expired ones left out |
 * | POST /v1/api/tokens/revoke     [token delete]   | {token: the token, its id or its name} → {id} |
 * | GET /v1/api/tokens/documents   [token list]     | those that are no secret → {tokens: [{name, document}]} |
 * | GET /v1/api/tokens/documents/:name [token read] | → {name, document} |
 * | POST /v1/api/tokens/documents  [token create]   | the document → 201 {name, document, created: true}; of a secret one only its id as name; `already_exists` |
 * | PUT /v1/api/tokens/documents/:name [token create, update] | the document → {name, document, created} |
 * | DELETE /v1/api/tokens/documents/:name [token delete] | → {name} |
 * | GET /v1/api/users              [user list]      | → {users: [USER]} |
 * | GET /v1/api/users/:name        [user read]      | → USER |
 * | POST /v1/api/users             [user create]    | {name, roles[], traits?{name: [value]}} → 201 {USER, INVITE} |
 * | POST /v1/api/users/:name/invite [user update]   | no body → 201 {name, INVITE}: a new invite, the older is void |
 * | PATCH /v1/api/users/:name      [user update]    | {roles[]?, traits?{name: [value] or null}}: traits that are not named stay → USER |
 * | DELETE /v1/api/users/:name     [user delete]    | → {name, ended_sessions} |
 * | GET /v1/api/roles              [role list]      | → {roles: [ROLE]} |
 * | GET /v1/api/roles/:name        [role read]      | → ROLE |
 * | POST /v1/api/roles             [role create]    | the document, whose own tests must hold → 201 {ROLE, created: true}; `already_exists` |
 * | PUT /v1/api/roles/:name        [role create, update] | the document → {ROLE, created} |
 * | DELETE /v1/api/roles/:name     [role delete]    | → {name}; `conflict` for a preset, or while users hold it |
 * | POST /v1/api/decisions         [role read, user read] | {user, app, method?, tool?, prompt?, resource?, arguments?: JSON as text, roles?: [documents in the place of stored ones]} → {allowed, reason, role?, path?, entry?} |
 * | GET /v1/api/locks              [lock list]      | those in force → {locks: [LOCK]} |
 * | GET /v1/api/locks/:name        [lock read]      | → LOCK |
 * | POST /v1/api/locks             [lock create]    | the document → 201 {LOCK, created: true}; `already_exists` |
 * | PUT /v1/api/locks/:name        [lock create, update] | the document → {LOCK, created} |
 * | DELETE /v1/api/locks/:name     [lock delete]    | → {name} |
 * | GET /v1/api/agents             [agent list]     | → {agents: [{id, name, online, apps[], joined_at, last_seen_at or null}]} |
 * | DELETE /v1/api/agents/:name    [agent delete]   | name or id → {id, name, ended_sessions} |
 * | GET /v1/api/apps               [app list]       | → {apps: [{name, agent, online, description, labels{}, resource, tools, pending}], refused: [{name, agent, reason}]}: one for each agent's offer, and the app resources that agents don't run |
 * | GET /v1/api/app-resources      [app list]       | → {apps: [APP]} |
 * | GET /v1/api/app-resources/:name [app read]      | → APP |
 * | POST /v1/api/app-resources     [app create]     | the document → 201 {APP, created: true}; `already_exists` |
 * | PUT /v1/api/app-resources/:name [app create, update] | the document → {APP, created} |
 * | DELETE /v1/api/app-resources/:name [app delete] | → {name}: its sessions end |
 * | GET /v1/api/apps/:name/pins    [app read]       | → {pins: [{agent, tool, enforce, pinned, pending, diff[], approved_by, approved_at}]} |
 * | POST /v1/api/apps/:name/approve [app update]    | {tools: [{tool, hash}]} → {approved: [{agent, tool, hash}]}, those that waited |
 * | GET /v1/api/sessions           [session list]   | live ones → {sessions: [{sid, user, app, agent, remote, started_at, last_seen_at}]} |
 * | DELETE /v1/api/sessions/:sid   [session delete] | → {sid} |
 * | GET /v1/api/events             [event list]     | ?event=a,b &user= &app= &agent= &sid= &since= &until= &limit= (1 to 1000, 1000 unless told), and &before= or &after= |
 * | GET /v1/api/audit/chains       [event list]     | ?before= &limit= → {chains: [{chain, kind, owner, public_jwk, jkt, n, hash, head}], more, signing_keys[]}, the newest first |
 * | GET /v1/api/audit/lines        [event list]     | ?chain= &after= &since= &limit= → {lines: [{seq, n, uid, event, time, user, app, agent, sid, verdict, line}]} |
 *
 * TOKEN: id (of one that is no secret: its name), type, method, created_at, expires_at or null, created_by. TRUST:
 * public_addr, ca_pin?, key_pin? (`sha256//…`, as curl takes it). USER: name, roles[], traits{}, status ("active" or
 * "invited"), created_at. INVITE: invite_url, invite_expires_at, TRUST. ROLE: name, preset, updated_at, document (as it
 * was given). APP: name, updated_at, updated_by, document, agents[{agent, online, state ("offered", "refused", or
 * "waiting" for its word), reason?}]: those whose selectors match. LOCK: name, target{kind, name}, message, expires_at
 * or null, created_at, created_by, document.
 *
 * Events: without `after`, the newest `limit`, oldest first → {events[], more, cursor, before?}; while `more`, ask again
 * with `before` for the page further back; `cursor` is where a tail begins. With `after=N` (0: from the first), in the
 * order in which they were stored → {events[], more, cursor}: ask again with after=cursor, at once while `more`.
 */
import { Hono } from "hono";
import { Failure } from "../../errors.ts";
import { type ApiEnv, authenticated } from "./actor.ts";
import { agentSelfRoutes } from "./agent-self.ts";
import { agentRoutes } from "./agents.ts";
import { appResourceRoutes } from "./app-resources.ts";
import { appRoutes } from "./apps.ts";
import { decisionRoutes } from "./decisions.ts";
import type { ApiDeps } from "./deps.ts";
import { discoveryRoutes } from "./discovery.ts";
import { eventRoutes } from "./events.ts";
import { inviteRoutes } from "./invite.ts";
import { joinRoutes } from "./join.ts";
import { lockRoutes } from "./locks.ts";
import { loginRoutes } from "./login.ts";
import { Passwords } from "./passwords.ts";
import { roleRoutes } from "./roles.ts";
import { sessionRoutes } from "./sessions.ts";
import { tokenDocumentRoutes } from "./token-documents.ts";
import { tokenRoutes } from "./tokens.ts";
import { toolPinRoutes } from "./tool-pins.ts";
import { userRoutes } from "./users.ts";

/** The whole API over the given store. Called as `app.fetch(request, connection)`; see `Connection` for who may say what. */
export function createApi(deps: ApiDeps): Hono<ApiEnv> {
  const app = new Hono<ApiEnv>();
  const passwords = new Passwords();

  app.use(async (c, next) => {
    await next();
    c.header("cache-control", "no-store");
    c.header("x-content-type-options", "nosniff");
  });
  app.use("/v1/api/*", authenticated(deps));

  discoveryRoutes(app, deps);
  joinRoutes(app, deps);
  agentSelfRoutes(app, deps);
  loginRoutes(app, deps, passwords);
  inviteRoutes(app, deps, passwords);
  appRoutes(app, deps);
  tokenRoutes(app, deps);
  tokenDocumentRoutes(app, deps);
  userRoutes(app, deps);
  roleRoutes(app, deps);
  lockRoutes(app, deps);
  decisionRoutes(app, deps);
  agentRoutes(app, deps);
  appResourceRoutes(app, deps);
  toolPinRoutes(app, deps);
  sessionRoutes(app, deps);
  eventRoutes(app, deps);

  app.notFound((c) => {
    const failure = new Failure("not_found", `no such operation: ${c.req.method} ${c.req.path}`, {
      hint: "check that client and proxy are of the same release: mcpgate version",
    });
    return c.json({ error: failure }, 404);
  });
  app.onError((error, c) => {
    const failure = Failure.from(error);
    if (failure.code === "internal") {
      // what went wrong inside is for the proxy's log, not for whoever asked
      deps.log.error("api.failed", { method: c.req.method, path: c.req.path, error: failure.message });
      return c.json({ error: new Failure("internal", "the proxy failed; its log says why") }, 500);
    }
    if (failure.httpStatus === 401) c.header("dpop-nonce", deps.nonces.issue());
    if (failure.code === "too_many_requests") c.header("retry-after", "300");
    return c.json({ error: failure }, failure.httpStatus as 400);
  });
  return app;
}
