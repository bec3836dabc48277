/** The rules that a grant carries to the agent: plain JSON, so that both ends read the same. */

/** A call needs both: a name that the entry matches, and a condition on its arguments that holds (`condition.ts`). */
export interface ConditionalEntry {
  name: string;
  where: string;
}

/** A literal, a glob (`*` is any text) or, written `^…$`, a regular expression; alone, or under a condition. */
export type RuleEntry = string | ConditionalEntry;

/** Absent: the defaults apply. */
export interface McpRules {
  tools?: RuleEntry[];
  prompts?: RuleEntry[];
  /** URIs and URI templates. */
  resources?: string[];
  /** Methods that a client may use beyond those that every revision's clients need, or (deny) may not use. */
  methods?: string[];
  /** What a server may ask of the client. */
  server_methods?: string[];
}

export const RULE_KINDS = ["tools", "prompts", "resources", "methods", "server_methods"] as const;

/** What one user may do with one app. */
export interface AppRules {
  v: 1;
  /** `allow` allows nothing where the role's labels do not reach the app; `deny` always applies. */
  roles: { role: string; allow: McpRules; deny: McpRules }[];
  /** What conditions speak of; where there are none, absent. */
  facts?: CallFacts;
}

export interface CallFacts {
  user: { name: string; roles: string[]; traits: Record<string, readonly string[]> };
  app: { name: string; labels: Record<string, string> };
}

/** The pattern of an entry. */
export const nameOf = (entry: RuleEntry): string => (typeof entry === "string" ? entry : entry.name);

/** The entry with another pattern. */
export const renamed = <E extends RuleEntry>(entry: E, name: string): RuleEntry =>
  typeof entry === "string" ? name : { name, where: entry.where };

/** The entry as people read it. */
export const shownEntry = (entry: RuleEntry): string =>
  typeof entry === "string" ? entry : `${entry.name} where ${entry.where}`;

export const hasConditions = ({ tools = [], prompts = [] }: McpRules): boolean =>
  [...tools, ...prompts].some((entry) => typeof entry !== "string");
