/** Decisions in words: the same `appAccess` and `decide` that sessions go through, and where in which role the rule stands. */
import { type AppIdentity, appAccess, type Person } from "./access.ts";
import { compile, type Decision, decide, type QueryKind } from "./decide.ts";
import { compilePattern } from "./match.ts";
import { compileResource } from "./resource-pattern.ts";
import type { Role } from "./role.ts";
import { type McpRules, nameOf, type RuleEntry, renamed, shownEntry } from "./rules.ts";
import { expandEntry } from "./template.ts";
import type { Traits } from "./traits.ts";

/** What somebody wants to do with an app. Nothing but the app: whether they reach it. */
export interface Deed {
  /** A JSON-RPC method of the client; where it is left out, the one that goes with the rest. */
  method?: string | undefined;
  tool?: string | undefined;
  prompt?: string | undefined;
  resource?: string | undefined;
  /** A method of the server. */
  server_method?: string | undefined;
  /** Of the tool or prompt, as JSON. */
  arguments?: Uint8Array | undefined;
}

export interface Verdict {
  allowed: boolean;
  /** For people: lower case, no full stop. */
  reason: string;
  /** The role that decided. */
  role?: string;
  /** Where in that role's document: `spec.allow.mcp.tools.0`. */
  path?: string;
  /** The entry that decided, templates filled in. */
  entry?: string;
}

/** One after the other; the first that is refused decides, else the last. */
export function explain(roles: readonly Role[], app: AppIdentity, person: Person, deed: Deed): Verdict {
  const reach = explainReach(roles, app, person);
  if (!reach.allowed) return reach;
  const policy = compile(appAccess(roles, app, person).rules);
  let verdict = reach;
  for (const { kind, name } of steps(deed)) {
    const call = kind === "tool" || kind === "prompt" ? { call: { arguments: deed.arguments } } : {};
    verdict = inWords(roles, person.traits, kind, name, decide(policy, { kind, name, ...call }));
    if (!verdict.allowed) return verdict;
  }
  return verdict;
}

function explainReach(roles: readonly Role[], app: AppIdentity, person: Person): Verdict {
  const alone = (role: Role) => appAccess([role], app, person).allowed;
  // A role that allows every app but for what this one denies: refused only by the denial.
  const shutOut = roles.find(({ metadata, spec }) => {
    const allow = { app_labels: { "*": "*" } };
    return !alone({ kind: "role", version: "v8", metadata, spec: { allow, deny: spec.deny } });
  });
  if (shutOut !== undefined) {
    const role = shutOut.metadata.name;
    return { allowed: false, reason: `the role ${role} shuts out the app ${app.name}`, role, path: "spec.deny" };
  }
  if (!appAccess(roles, app, person).allowed) {
    return { allowed: false, reason: `no role reaches the app ${app.name}` };
  }
  const role = roles.find(({ metadata, spec }) =>
    alone({ kind: "role", version: "v8", metadata, spec: { allow: spec.allow, deny: {} } }),
  );
  const name = role?.metadata.name ?? "";
  return { allowed: true, reason: `the role ${name} reaches the app ${app.name}`, role: name, path: "spec.allow" };
}

const NATURAL = { tool: "tools/call", prompt: "prompts/get", resource: "resources/read" } as const;

/** What the gate asks for one message: its method, then what it names. */
function steps(deed: Deed): { kind: QueryKind; name: string }[] {
  const named = (["tool", "prompt", "resource", "server_method"] as const).flatMap((kind) => {
    const name = deed[kind];
    return name === undefined ? [] : [{ kind, name }];
  });
  const natural = named.flatMap(({ kind }) => (kind === "server_method" ? [] : [NATURAL[kind]]))[0];
  const method = deed.method ?? natural;
  return [...(method === undefined ? [] : [{ kind: "method" as const, name: method }]), ...named];
}

const WORDS: Record<QueryKind, string> = {
  tool: "tool",
  prompt: "prompt",
  resource: "resource",
  template: "resource template",
  method: "method",
  server_method: "server's method",
};

function inWords(
  roles: readonly Role[],
  traits: Traits,
  kind: QueryKind,
  name: string,
  { allowed, role, rule, fault }: Decision,
): Verdict {
  const what = `the ${WORDS[kind]} ${name}`;
  if (role === undefined) {
    if (allowed) return { allowed, reason: `${what} is always allowed` };
    return { allowed, reason: `no role allows ${what}` };
  }
  if (rule === "default") return { allowed, reason: `the role ${role} allows ${what} by default`, role };
  // A condition that can't be judged denies on either side.
  const sides: Side[] = allowed ? ["allow"] : ["deny", "allow"];
  const path = placeOf(roles, traits, role, rule ?? "", kind, sides);
  const why = fault === undefined ? "" : `: its condition can't be judged: ${fault}`;
  const verb = allowed ? "allows" : fault === undefined ? "denies" : "does not allow";
  return {
    allowed,
    reason: `the role ${role} ${verb} ${what}${why}`,
    role,
    ...(path === undefined ? {} : { path }),
    ...(rule === undefined ? {} : { entry: rule }),
  };
}

type Side = "allow" | "deny";

const FIELDS: Record<QueryKind, (keyof McpRules)[]> = {
  // a method that is denied as a whole denies what it would use
  tool: ["tools", "methods"],
  prompt: ["prompts", "methods"],
  resource: ["resources", "methods"],
  template: ["resources", "methods"],
  method: ["methods"],
  server_method: ["server_methods"],
};

/** Where the entry stands that was, or whose template became, `rule`. */
function placeOf(
  roles: readonly Role[],
  traits: Traits,
  name: string,
  rule: string,
  kind: QueryKind,
  sides: Side[],
): string | undefined {
  const role = roles.find(({ metadata }) => metadata.name === name);
  for (const side of sides) {
    for (const field of FIELDS[kind]) {
      const entries: readonly RuleEntry[] = role?.spec[side].mcp?.[field] ?? [];
      const sound = field === "resources" ? compileResource : compilePattern;
      const index = entries.findIndex((entry) =>
        expandEntry(nameOf(entry), traits, side, sound).some((text) => shownEntry(renamed(entry, text)) === rule),
      );
      if (index >= 0) return `spec.${side}.mcp.${field}.${index}`;
    }
  }
  return undefined;
}
