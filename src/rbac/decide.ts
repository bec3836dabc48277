/** The one decision that lists, calls, reads, subscriptions and completions all go through. Deny wins. */
import { ALWAYS, CLIENT_NOTIFICATIONS, CLIENT_REQUESTS, SERVER_NOTIFICATIONS, SERVER_REQUESTS } from "./defaults.ts";
import { compilePattern, type TextMatcher } from "./match.ts";
import { compileResource } from "./resource-pattern.ts";
import type { AppRules, McpRules } from "./rules.ts";
import { canonicalTemplate, canonicalUri, deniableForms } from "./uri.ts";

/** `template`: a URI template in a list or a completion. `method`: of a client; `server_method`: of a server. */
export type QueryKind = "tool" | "prompt" | "resource" | "template" | "method" | "server_method";

export interface Query {
  kind: QueryKind;
  /** Tool, prompt or method name, URI or URI template, as the message has it. */
  name: string;
}

export interface Decision {
  allowed: boolean;
  /** The role that decided; undefined where nobody allowed it. */
  role?: string;
  /** The entry of that role that decided, or what stands in for it: `default`. */
  rule?: string;
}

interface Entry {
  role: string;
  rule: string;
  matches: TextMatcher;
}

interface Rules {
  allow: Entry[];
  deny: Entry[];
}

/** Rules made ready; remembers what it decided, within a bound. */
export interface Policy {
  readonly rules: AppRules;
  readonly compiled: Readonly<Record<QueryKind, Rules>>;
  readonly decided: Readonly<Record<QueryKind, Map<string, Decision>>>;
}

const KINDS = ["tool", "prompt", "resource", "template", "method", "server_method"] as const;
const FIELD = {
  tool: "tools",
  prompt: "prompts",
  resource: "resources",
  template: "resources",
  method: "methods",
  server_method: "server_methods",
} as const satisfies Record<QueryKind, keyof McpRules>;

const REMEMBERED = 4096;
const NOBODY: Decision = Object.freeze({ allowed: false });

/** Throws a `Failure("invalid")` for a broken pattern; roles were checked when they were written. */
export function compile(rules: AppRules): Policy {
  const perKind = <T>(make: (kind: QueryKind) => T) =>
    Object.fromEntries(KINDS.map((kind) => [kind, make(kind)])) as Record<QueryKind, T>;
  return { rules, compiled: perKind((kind) => compileKind(rules, kind)), decided: perKind(() => new Map()) };
}

/**
 * May they? A tool, prompt or resource is allowed when a role says so and none denies it, or the method that uses it; a
 * resource must have a canonical URI. Methods that a revision knows pass unless denied.
 */
export function decide(policy: Policy, query: Query): Decision {
  const memory = policy.decided[query.kind];
  const known = memory.get(query.name);
  if (known !== undefined) return known;
  const decision = judge(policy.compiled[query.kind], query);
  if (query.name.length <= 256) {
    if (memory.size >= REMEMBERED) memory.clear();
    memory.set(query.name, decision);
  }
  return decision;
}

/** The entries for tools as they stand in the roles, for listings. */
export function allowedTools(rules: AppRules): { allowed: string[]; denied: string[] } {
  const all = (side: "allow" | "deny") => [...new Set(rules.roles.flatMap((role) => role[side].tools ?? []))].sort();
  return { allowed: all("allow"), denied: all("deny") };
}

function judge(rules: Rules, { kind, name }: Query): Decision {
  const text = kind === "resource" ? canonicalUri(name) : kind === "template" ? canonicalTemplate(name) : name;
  if (text === undefined || text === "") return NOBODY;
  if (ALWAYS.has(text) && (kind === "method" || kind === "server_method")) return { allowed: true, rule: "default" };
  const forms = kind === "resource" ? deniableForms(text) : [text];
  for (const entry of rules.deny) {
    if (forms.some(entry.matches)) return { allowed: false, role: entry.role, rule: entry.rule };
  }
  for (const entry of rules.allow) {
    if (entry.matches(text)) return { allowed: true, role: entry.role, rule: entry.rule };
  }
  return NOBODY;
}

function compileKind({ roles }: AppRules, kind: QueryKind): Rules {
  const entries = (side: "allow" | "deny") =>
    roles.flatMap((role) => (role[side][FIELD[kind]] ?? []).map((rule) => entry(role.role, rule, kind)));
  const allow = entries("allow");
  for (const role of roles) allow.push(...defaults(role, kind));
  return { allow, deny: [...entries("deny"), ...wholeMethodDenied(roles, kind)] };
}

function entry(role: string, rule: string, kind: QueryKind): Entry {
  const matches = kind === "resource" || kind === "template" ? compileResource(rule) : compilePattern(rule);
  return { role, rule, matches };
}

/** What a role allows where it says nothing. */
function defaults({ role, allow }: AppRules["roles"][number], kind: QueryKind): Entry[] {
  const of = (matches: TextMatcher): Entry[] => [{ role, rule: "default", matches }];
  switch (kind) {
    case "tool":
      return [];
    case "prompt":
    case "resource":
    case "template":
      // The seed's role, `tools: ['*']`, opens the whole server; one that names its tools opens nothing else.
      return allow[FIELD[kind]] === undefined && allow.tools?.includes("*") ? of(() => true) : [];
    case "method":
      return of((name) => CLIENT_REQUESTS.has(name) || CLIENT_NOTIFICATIONS.has(name));
    case "server_method":
      return of(
        (name) => SERVER_NOTIFICATIONS.has(name) || (allow.server_methods === undefined && SERVER_REQUESTS.has(name)),
      );
  }
}

const METHOD_OF: Partial<Record<QueryKind, string>> = {
  tool: "tools/call",
  prompt: "prompts/get",
  resource: "resources/read",
  template: "resources/read",
};

/** A role that denies a method denies whatever the method would use, so that lists and calls agree. */
function wholeMethodDenied(roles: AppRules["roles"], kind: QueryKind): Entry[] {
  const method = METHOD_OF[kind];
  if (method === undefined) return [];
  return roles.flatMap(({ role, deny }) =>
    (deny.methods ?? [])
      .filter((rule) => compilePattern(rule)(method))
      .map((rule) => ({ role, rule, matches: () => true })),
  );
}
