/** The rules that a grant carries to the agent: plain JSON, so that both ends read the same. */

/** Entries are literals, globs (`*` is any text) or, written `^…$`, regular expressions. Absent: the defaults apply. */
export interface McpRules {
  tools?: string[];
  prompts?: string[];
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
}
