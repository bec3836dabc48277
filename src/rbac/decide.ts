/** The one decision that lists, calls, reads, subscriptions and completions all go through. Deny wins. */
import { Failure } from "../errors.ts";
import { type Condition, compileCondition } from "./condition.ts";
import { ALWAYS, CLIENT_NOTIFICATIONS, CLIENT_REQUESTS, SERVER_NOTIFICATIONS, SERVER_REQUESTS } from "./defaults.ts";
import { compilePattern, type TextMatcher } from "./match.ts";
import { compileResource } from "./resource-pattern.ts";
import { type AppRules, type CallFacts, type McpRules, nameOf, type RuleEntry, shownEntry } from "./rules.ts";
import { canonicalTemplate, canonicalUri, deniableForms } from "./uri.ts";

/** `template`: a URI template in a list or a completion. `method`: of a client; `server_method`: of a server. */
export type QueryKind = "tool" | "prompt" | "resource" | "template" | "method" | "server_method";

export interface Query {
  kind: QueryKind;
  /** Tool, prompt or method name, URI or URI template, as the message has it. */
  name: string;
  /**
   * A call of this tool or prompt, whose conditions are judged by its arguments (JSON; undefined: none). Without it the
   * question is whether it is listed: what is allowed under a condition is.
   */
  call?: { arguments: Uint8Array | undefined };
}

export interface Decision {
  allowed: boolean;
  /** The role that decided; undefined where nobody allowed it. */
  role?: string;
  /** The entry of that role that decided, or what stands in for it: `default`. */
  rule?: string;
  /** Why a condition could not be judged, which denies. */
  fault?: string;
}

interface Entry {
  role: string;
  rule: string;
  matches: TextMatcher;
  where?: Condition;
}

interface Rules {
  allow: Entry[];
  deny: Entry[];
  /** Some entry has a condition. */
  conditional: boolean;
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
  const rules = policy.compiled[query.kind];
  if (query.call !== undefined && rules.conditional) return judge(rules, query, policy.rules.facts);
  const memory = policy.decided[query.kind];
  const known = memory.get(query.name);
  if (known !== undefined) return known;
  const decision = judge(rules, { kind: query.kind, name: query.name });
  if (query.name.length <= 256) {
    if (memory.size >= REMEMBERED) memory.clear();
    memory.set(query.name, decision);
  }
  return decision;
}

/** The entries for tools as they stand in the roles, for listings. */
export function allowedTools(rules: AppRules): { allowed: string[]; denied: string[] } {
  const all = (side: "allow" | "deny") =>
    [...new Set(rules.roles.flatMap((role) => (role[side].tools ?? []).map(shownEntry)))].sort();
  return { allowed: all("allow"), denied: all("deny") };
}

function judge(rules: Rules, query: Query, facts?: CallFacts): Decision {
  const { kind, name } = query;
  const text = kind === "resource" ? canonicalUri(name) : kind === "template" ? canonicalTemplate(name) : name;
  if (text === undefined || text === "") return NOBODY;
  if (ALWAYS.has(text) && (kind === "method" || kind === "server_method")) return { allowed: true, rule: "default" };
  const forms = kind === "resource" ? deniableForms(text) : [text];
  for (const entry of rules.deny) {
    if (!forms.some(entry.matches)) continue;
    const { holds, fault } = conditionOf(entry, query, facts, "deny");
    if (holds) return { allowed: false, role: entry.role, rule: entry.rule, ...fault };
  }
  let broken: Decision = NOBODY;
  for (const entry of rules.allow) {
    if (!entry.matches(text)) continue;
    const { holds, fault } = conditionOf(entry, query, facts, "allow");
    if (holds) return { allowed: true, role: entry.role, rule: entry.rule };
    if (fault !== undefined && broken === NOBODY)
      broken = { allowed: false, role: entry.role, rule: entry.rule, ...fault };
  }
  return broken;
}

/** What can't be judged denies: as a condition of an allow rule it does not hold, as one of a deny rule it does. */
function conditionOf(
  { where }: Entry,
  { kind, name, call }: Query,
  facts: CallFacts | undefined,
  side: "allow" | "deny",
): { holds: boolean; fault?: { fault: string } } {
  if (where === undefined) return { holds: true };
  if (call === undefined) return { holds: side === "allow" };
  try {
    if ((kind !== "tool" && kind !== "prompt") || facts === undefined)
      throw new Failure("invalid", "nothing to judge by");
    return { holds: where({ kind, name, arguments: call.arguments }, facts) };
  } catch (error) {
    return { holds: side === "deny", fault: { fault: Failure.from(error).message } };
  }
}

function compileKind({ roles }: AppRules, kind: QueryKind): Rules {
  const entries = (side: "allow" | "deny") =>
    roles.flatMap((role) =>
      (role[side][FIELD[kind]] ?? []).map((rule: RuleEntry) => compileEntry(role.role, rule, kind)),
    );
  const allow = entries("allow");
  const deny = entries("deny");
  const conditional = [...allow, ...deny].some(({ where }) => where !== undefined);
  for (const role of roles) allow.push(...defaults(role, kind));
  return { allow, deny: [...deny, ...wholeMethodDenied(roles, kind)], conditional };
}

function compileEntry(role: string, rule: RuleEntry, kind: QueryKind): Entry {
  const name = nameOf(rule);
  const matches = kind === "resource" || kind === "template" ? compileResource(name) : compilePattern(name);
  const entry = { role, rule: shownEntry(rule), matches };
  if (typeof rule === "string") return entry;
  return { ...entry, where: compileCondition(rule.where, kind === "prompt" ? "prompt" : "tool") };
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
