/** From a user's roles and traits to what they may reach: apps by label, and the rules that a session gets with its grant. */
import { Failure } from "../errors.ts";
import { canonicalKey, compileSelector, effectiveLabels, expandSelector, type Labels } from "./labels.ts";
import { compilePattern } from "./match.ts";
import { compilePredicate, type Facts } from "./predicate.ts";
import { compileResource } from "./resource-pattern.ts";
import type { AdminRule, Role, RoleConditions } from "./role.ts";
import { type AppRules, hasConditions, type McpRules, nameOf, RULE_KINDS, type RuleEntry, renamed } from "./rules.ts";
import { expandEntry } from "./template.ts";
import type { Traits } from "./traits.ts";

export interface AppIdentity {
  name: string;
  labels: Labels;
}

/** Whose roles they are; what templates and expressions speak of. */
export interface Person {
  name: string;
  traits: Traits;
}

/** Where nobody is named, templates stand for nothing. */
const NOBODY: Person = { name: "", traits: {} };

/** Entries of one role for one kind of thing, after templates were filled in. */
const MAX_ENTRIES = 5000;

/**
 * Whether the roles reach the app, and the rules for it, templates filled in. An app is reached by a role whose
 * `allow.app_labels` and `allow.app_labels_expression` match (those of the two that are there), unless some role's
 * `deny.app_labels` or `deny.app_labels_expression` does. What a role denies in it applies whether or not its labels match.
 * Throws a `Failure("invalid")` when templates make too many entries.
 */
export function appAccess(
  roles: readonly Role[],
  app: AppIdentity,
  person: Person = NOBODY,
): { allowed: boolean; rules: AppRules } {
  const facts: Facts = { labels: effectiveLabels(app.labels), user: person };
  let reached = false;
  let denied = false;
  const rules: AppRules = { v: 1, roles: [] };
  for (const role of roles) {
    const { allow, deny } = role.spec;
    const matches = reaches(allow, facts);
    reached ||= matches;
    denied ||= shutsOut(deny, facts);
    const allowed: McpRules = matches ? expandRules(allow.mcp ?? {}, person.traits, "allow") : NOTHING;
    const refused: McpRules = expandRules(deny.mcp ?? {}, person.traits, "deny");
    if (matches || Object.keys(refused).length > 0) {
      rules.roles.push({ role: role.metadata.name, allow: allowed, deny: refused });
    }
  }
  if (rules.roles.some((role) => hasConditions(role.allow) || hasConditions(role.deny))) {
    const { name, traits } = person;
    rules.facts = {
      user: { name, roles: roles.map((role) => role.metadata.name), traits },
      app: { name: app.name, labels: app.labels },
    };
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

/** An expression that can't be judged allows nothing. */
function reaches({ app_labels, app_labels_expression }: RoleConditions, facts: Facts): boolean {
  if (app_labels === undefined && app_labels_expression === undefined) return false;
  if (app_labels !== undefined) {
    const selector = expandSelector(app_labels, facts.user.traits, "allow");
    if (!compileSelector(selector)(facts.labels)) return false;
  }
  return app_labels_expression === undefined || holds(app_labels_expression, facts, false);
}

/** An expression that can't be judged denies. */
function shutsOut({ app_labels, app_labels_expression }: RoleConditions, facts: Facts): boolean {
  const selector = expandSelector(app_labels ?? {}, facts.user.traits, "deny");
  if (compileSelector(selector)(facts.labels)) return true;
  return app_labels_expression !== undefined && holds(app_labels_expression, facts, true);
}

function holds(expression: string, facts: Facts, onError: boolean): boolean {
  try {
    return compilePredicate(expression, canonicalKey)(facts);
  } catch {
    return onError;
  }
}

/** A kind whose templates all expand to nothing stays, as an empty list: an absent one would mean the defaults. */
function expandRules(rules: McpRules, traits: Traits, side: "allow" | "deny"): McpRules {
  const out: McpRules = {};
  for (const kind of RULE_KINDS) {
    const entries = rules[kind];
    if (entries === undefined) continue;
    const compile = kind === "resources" ? compileResource : compilePattern;
    const expanded = entries.flatMap((entry: RuleEntry) =>
      expandEntry(nameOf(entry), traits, side, compile).map((name) => renamed(entry, name)),
    );
    if (expanded.length > MAX_ENTRIES) {
      throw new Failure("invalid", `the templates in mcp.${kind} make more than ${MAX_ENTRIES} entries`);
    }
    // Only tools and prompts have entries with conditions, and an entry stays what it was.
    out[kind] = expanded as string[];
  }
  return out;
}
