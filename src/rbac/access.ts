/** From a user's roles to what they may reach: apps by label, and the rules that a session gets with its grant. */
import { compileSelector, effectiveLabels, type Labels } from "./labels.ts";
import type { AdminRule, Role, RoleConditions } from "./role.ts";
import type { AppRules, McpRules } from "./rules.ts";

export interface AppIdentity {
  name: string;
  labels: Labels;
}

/**
 * Whether the roles reach the app, and the rules for it. An app is reached by a role whose `allow.app_labels` match,
 * unless some role's `deny.app_labels` match. What a role denies in it applies whether or not its labels match.
 */
export function appAccess(roles: readonly Role[], app: AppIdentity): { allowed: boolean; rules: AppRules } {
  const labels = effectiveLabels(app.labels);
  let reached = false;
  let denied = false;
  const rules: AppRules = { v: 1, roles: [] };
  for (const role of roles) {
    const { allow, deny } = role.spec;
    const matches = selects(allow, labels);
    reached ||= matches;
    denied ||= selects(deny, labels);
    const allowed: McpRules = matches ? (allow.mcp ?? {}) : NOTHING;
    const refused: McpRules = deny.mcp ?? {};
    if (matches || Object.keys(refused).length > 0) {
      rules.roles.push({ role: role.metadata.name, allow: allowed, deny: refused });
    }
  }
  return { allowed: reached && !denied, rules };
}

/** A role that does not reach the app; `server_methods` is the one field whose absence allows something. */
const NOTHING: McpRules = { server_methods: [] };

/** Whether the roles may do this in the admin API. Deny wins; nothing is allowed unless said. */
export function adminAllowed(roles: readonly Role[], resource: string, verb: string): boolean {
  const says = (rules: AdminRule[] | undefined) =>
    rules?.some((rule) => covers(rule.resources, resource) && covers(rule.verbs, verb)) === true;
  if (roles.some((role) => says(role.spec.deny.rules))) return false;
  return roles.some((role) => says(role.spec.allow.rules));
}

const covers = (words: readonly string[], word: string): boolean => words.includes("*") || words.includes(word);

const selects = (conditions: RoleConditions, labels: Labels): boolean =>
  compileSelector(conditions.app_labels ?? {})(labels);
