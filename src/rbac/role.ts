/** Roles: who may do what. The document is the original's (`kind: role`, `version: v8`), read strictly. */
import * as v from "valibot";
import { nearest } from "../config/nearest.ts";
import { Failure } from "../errors.ts";
import { compileCondition } from "./condition.ts";
import { canonicalKey, compileSelector, type LabelSelector } from "./labels.ts";
import { compilePattern } from "./match.ts";
import { compilePredicate } from "./predicate.ts";
import { compileResource } from "./resource-pattern.ts";
import { type McpRules, nameOf, RULE_KINDS, type RuleEntry } from "./rules.ts";
import { withoutTemplate } from "./template.ts";

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
  /** `predicate.ts`. In `allow` both have to match where both are there; in `deny` one of them is enough. */
  app_labels_expression?: string;
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
  /** What the role is to allow and to deny (`role-tests.ts`). */
  tests?: RoleTest[];
}

/** Of a user who holds the role and no other. */
export interface RoleTest {
  name?: string;
  /** By name alone: without traits. */
  user?: string | { name: string; traits?: Record<string, string[]> };
  /** By name alone: without labels. */
  app: string | { name: string; labels?: Record<string, string> };
  method?: string;
  tool?: string;
  prompt?: string;
  resource?: string;
  server_method?: string;
  /** Of the tool or prompt. */
  arguments?: Record<string, unknown>;
  expect: "allow" | "deny";
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

const isMapping = (input: unknown): boolean => typeof input === "object" && input !== null && !Array.isArray(input);

const entries = v.pipe(
  v.array(
    v.lazy((input) => (isMapping(input) ? object({ name: text, where: text }) : text)),
    "must be a list",
  ),
  v.maxLength(1000, "has more than 1000 entries"),
);

const mcp = object({
  tools: v.nullish(entries),
  prompts: v.nullish(entries),
  resources: v.nullish(texts),
  methods: v.nullish(texts),
  server_methods: v.nullish(texts),
});

const conditions = object({
  app_labels: v.nullish(
    v.record(text, v.union([text, texts], "must be a string or a list of strings"), "must be a mapping"),
  ),
  app_labels_expression: v.nullish(text),
  mcp: v.nullish(mcp),
  rules: v.nullish(
    v.array(
      object({ resources: v.array(picked(ADMIN_RESOURCES)), verbs: v.array(picked(ADMIN_VERBS)) }),
      "must be a list",
    ),
  ),
});

const named = v.optional(text);
const tests = v.pipe(
  v.array(
    object({
      name: named,
      user: v.optional(
        v.lazy((input) =>
          typeof input === "string" ? text : object({ name: text, traits: v.optional(v.record(text, v.array(text))) }),
        ),
      ),
      app: v.lazy((input) =>
        typeof input === "string" ? text : object({ name: text, labels: v.optional(v.record(text, text)) }),
      ),
      method: named,
      tool: named,
      prompt: named,
      resource: named,
      server_method: named,
      arguments: v.optional(v.record(v.string(), v.unknown(), "must be a mapping")),
      expect: picked(["allow", "deny"]),
    }),
    "must be a list",
  ),
  v.maxLength(1000, "has more than 1000 tests"),
);

const NAME = /^[a-z0-9][a-z0-9._@-]{0,62}$/i;

export const roleShape = object({
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
  tests: v.nullish(tests),
});

/** A role from its parsed YAML or JSON. Throws a `Failure("invalid")` that says where and what. */
export function parseRole(value: unknown): Role {
  const parsed = v.safeParse(roleShape, value);
  if (!parsed.success) throw refused(parsed.issues[0]);
  const { metadata, spec, tests: given } = parsed.output;
  const role: Role = {
    kind: "role",
    version: "v8",
    metadata: {
      name: metadata.name,
      ...(metadata.description ? { description: metadata.description } : {}),
      ...(metadata.labels ? { labels: metadata.labels } : {}),
    },
    spec: { allow: withoutEmpty(spec.allow), deny: withoutEmpty(spec.deny) },
    ...(given ? { tests: given as RoleTest[] } : {}),
  };
  checkPatterns(role.spec.allow, "spec.allow");
  checkPatterns(role.spec.deny, "spec.deny");
  return role;
}

function withoutEmpty(from: v.InferOutput<typeof conditions> | null | undefined): RoleConditions {
  const out: RoleConditions = {};
  if (from?.app_labels) out.app_labels = from.app_labels;
  if (from?.app_labels_expression != null) out.app_labels_expression = from.app_labels_expression;
  if (from?.rules) out.rules = from.rules;
  if (from?.mcp) {
    out.mcp = {};
    for (const kind of RULE_KINDS) {
      const entries = from.mcp[kind];
      if (entries) out.mcp[kind] = entries as string[];
    }
  }
  return out;
}

function checkPatterns(conditions: RoleConditions, path: string): void {
  const { app_labels = {}, app_labels_expression } = conditions;
  within(`${path}.app_labels`, () => compileSelector(plainSelector(app_labels)));
  if (app_labels_expression !== undefined) {
    within(`${path}.app_labels_expression`, () => compilePredicate(app_labels_expression, canonicalKey));
  }
  for (const kind of RULE_KINDS) {
    conditions.mcp?.[kind]?.forEach((entry: RuleEntry, i) => {
      const at = `${path}.mcp.${kind}.${i}`;
      within(typeof entry === "string" ? at : `${at}.name`, () => {
        const name = nameOf(entry);
        if (name === "") throw new Failure("invalid", "an empty entry matches nothing");
        const plain = withoutTemplate(name);
        return kind === "resources" ? compileResource(plain) : compilePattern(plain);
      });
      if (typeof entry === "string") return;
      within(`${at}.where`, () => compileCondition(entry.where, kind === "prompts" ? "prompt" : "tool"));
    });
  }
}

function plainSelector(selector: LabelSelector): LabelSelector {
  const entries = Object.entries(selector).map(([key, value]): [string, string[]] => {
    if (key.includes("{{")) throw new Failure("invalid", `${JSON.stringify(key)}: a label's name takes no template`);
    return [key, [value].flat().map(withoutTemplate)];
  });
  return Object.fromEntries(entries);
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
