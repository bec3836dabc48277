/** Roles: who may do what. The document is the original's (`kind: role`, `version: v8`), read strictly. */
import * as v from "valibot";
import { Failure } from "../errors.ts";
import { compileSelector, type LabelSelector } from "./labels.ts";
import { compilePattern } from "./match.ts";
import { nearest } from "./nearest.ts";
import { compileResource } from "./resource-pattern.ts";
import { type McpRules, RULE_KINDS } from "./rules.ts";

/** What the admin API knows; a rule names them in the singular, as the original's do. */
export const ADMIN_RESOURCES = [
  "*",
  "agent",
  "app",
  "event",
  "lock",
  "login",
  "role",
  "session",
  "token",
  "user",
] as const;
export const ADMIN_VERBS = ["*", "create", "delete", "list", "read", "update"] as const;

export type AdminResource = (typeof ADMIN_RESOURCES)[number];
export type AdminVerb = (typeof ADMIN_VERBS)[number];

export interface AdminRule {
  resources: AdminResource[];
  verbs: AdminVerb[];
}

export interface RoleConditions {
  app_labels?: LabelSelector;
  mcp?: McpRules;
  /** What the role may do in the admin API. */
  rules?: AdminRule[];
}

/** A role as it is stored and printed: the document without its empty parts. */
export interface Role {
  kind: "role";
  version: "v8";
  metadata: { name: string; description?: string; labels?: Record<string, string> };
  spec: { allow: RoleConditions; deny: RoleConditions };
}

/** An object that takes these keys and no others; a wrong key gets the nearest right one. */
function object<const E extends v.ObjectEntries>(entries: E) {
  return v.strictObject(entries, (issue) => {
    if (issue.expected !== "never") return "must be a mapping";
    const key = String(issue.input === undefined ? "" : issue.path?.at(-1)?.key);
    const near = nearest(key, Object.keys(entries));
    return `unknown key${near === undefined ? "" : `; did you mean ${near}?`}`;
  });
}

const text = v.string("must be a string");
const texts = v.pipe(v.array(text, "must be a list"), v.maxLength(1000, "has more than 1000 entries"));
const picked = <const T extends readonly string[]>(words: T) =>
  v.picklist(words, (issue) => {
    const near = nearest(String(issue.input), words);
    return `is none of ${words.join(", ")}${near === undefined ? "" : `; did you mean ${near}?`}`;
  });

const mcp = object({
  tools: v.nullish(texts),
  prompts: v.nullish(texts),
  resources: v.nullish(texts),
  methods: v.nullish(texts),
  server_methods: v.nullish(texts),
});

const conditions = object({
  app_labels: v.nullish(
    v.record(text, v.union([text, texts], "must be a string or a list of strings"), "must be a mapping"),
  ),
  mcp: v.nullish(mcp),
  rules: v.nullish(
    v.array(
      object({ resources: v.array(picked(ADMIN_RESOURCES)), verbs: v.array(picked(ADMIN_VERBS)) }),
      "must be a list",
    ),
  ),
});

const NAME = /^[a-z0-9][a-z0-9._@-]{0,62}$/i;

const document = object({
  kind: v.literal("role", "must be role"),
  version: v.literal("v8", "must be v8"),
  metadata: object({
    name: v.pipe(text, v.regex(NAME, "must be letters, digits and . _ @ -, at most 63, a letter or digit first")),
    description: v.nullish(text),
    labels: v.nullish(v.record(text, text, "must be a mapping")),
  }),
  spec: object({
    allow: v.nullish(conditions),
    deny: v.nullish(conditions),
    options: v.nullish(object({})),
  }),
});

/** A role from its parsed YAML or JSON. Throws a `Failure("invalid")` that says where and what. */
export function parseRole(value: unknown): Role {
  const parsed = v.safeParse(document, value);
  if (!parsed.success) throw refused(parsed.issues[0]);
  const { metadata, spec } = parsed.output;
  const role: Role = {
    kind: "role",
    version: "v8",
    metadata: {
      name: metadata.name,
      ...(metadata.description ? { description: metadata.description } : {}),
      ...(metadata.labels ? { labels: metadata.labels } : {}),
    },
    spec: { allow: withoutEmpty(spec.allow), deny: withoutEmpty(spec.deny) },
  };
  checkPatterns(role.spec.allow, "spec.allow");
  checkPatterns(role.spec.deny, "spec.deny");
  return role;
}

function withoutEmpty(from: v.InferOutput<typeof conditions> | null | undefined): RoleConditions {
  const out: RoleConditions = {};
  if (from?.app_labels) out.app_labels = from.app_labels;
  if (from?.rules) out.rules = from.rules;
  if (from?.mcp) {
    out.mcp = {};
    for (const kind of RULE_KINDS) {
      const entries = from.mcp[kind];
      if (entries) out.mcp[kind] = entries;
    }
  }
  return out;
}

function checkPatterns(conditions: RoleConditions, path: string): void {
  within(`${path}.app_labels`, () => compileSelector(conditions.app_labels ?? {}));
  for (const kind of RULE_KINDS) {
    conditions.mcp?.[kind]?.forEach((entry, i) => {
      within(`${path}.mcp.${kind}.${i}`, () => {
        if (entry === "") throw new Failure("invalid", "an empty entry matches nothing");
        return kind === "resources" ? compileResource(entry) : compilePattern(entry);
      });
    });
  }
}

function within(path: string, compile: () => unknown): void {
  try {
    compile();
  } catch (error) {
    const { message } = Failure.from(error);
    throw new Failure("invalid", `${path}: ${message}`, { cause: error });
  }
}

function refused(issue: v.BaseIssue<unknown>): Failure {
  const path = issue.path?.map((item) => String(item.key)).join(".");
  const missing = issue.input === undefined && issue.expected !== "never";
  return new Failure("invalid", `${path ? `${path}: ` : ""}${missing ? "is missing" : issue.message}`);
}
