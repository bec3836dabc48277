/**
 * A valibot schema as JSON Schema (draft 7, which editors know best), for what people write by hand. It may take more than
 * the program does, where a rule is code; never less.
 *
 * Ours and no library's: `@valibot/to-json-schema` stops at the first `custom`, `lazy` or `rawTransform`, and here nearly
 * every kind of value is made of those.
 */
import type * as v from "valibot";

export type JsonSchema = { [key: string]: unknown };

/** What this file reads of valibot's schemas and actions, which are plain objects. */
interface Node {
  kind: "schema" | "validation" | "transformation" | "metadata";
  type: string;
  pipe?: readonly Node[];
  entries?: Record<string, Node>;
  wrapped?: Node;
  item?: Node;
  value?: Node;
  literal?: unknown;
  options?: readonly unknown[];
  getter?: (input: unknown) => Node;
  default?: unknown;
  requirement?: unknown;
  metadata?: { json?: JsonSchema };
}

export interface JsonSchemaOptions {
  title: string;
  /** What a key means, by its path: `a.b`, `list[].key`, `record.*.key`. */
  describe(path: string): string | undefined;
}

export function jsonSchema(schema: v.GenericSchema, { title, describe }: JsonSchemaOptions): JsonSchema {
  const made = convert(schema as unknown as Node, "", describe);
  return { $schema: "http://json-schema.org/draft-07/schema#", title, ...made };
}

type Describe = JsonSchemaOptions["describe"];

function convert(node: Node, path: string, describe: Describe): JsonSchema {
  const below = (child: Node, step: string): JsonSchema => convert(child, `${path}${step}`, describe);
  if (node.pipe !== undefined) return piped(node.pipe, (child) => below(child, ""));
  switch (node.type) {
    case "string":
    case "number":
    case "boolean":
      return { type: node.type };
    case "any":
    case "unknown":
    case "custom":
      return {};
    case "literal":
      return { const: node.literal };
    case "picklist":
      return { enum: [...(node.options ?? [])] };
    case "union":
      return anyOf((node.options as readonly Node[]).map((option) => below(option, "")));
    case "lazy":
      return anyOf(SAMPLES.flatMap((sample) => (node.getter === undefined ? [] : [below(node.getter(sample), "")])));
    case "array":
      return { type: "array", ...(node.item === undefined ? {} : { items: below(node.item, "[]") }) };
    case "record":
      return { type: "object", ...(node.value === undefined ? {} : { additionalProperties: below(node.value, ".*") }) };
    case "strict_object":
    case "loose_object":
      return mapping(node, path, describe);
    case "optional":
    case "nullish":
      return withDefault(node, node.wrapped === undefined ? {} : below(node.wrapped, ""));
    default:
      throw new Error(`no JSON Schema is known for ${node.type} at ${path}`);
  }
}

/** One of each kind: a `lazy` schema chooses by what it is given. */
const SAMPLES: readonly unknown[] = ["", {}, [], false];

/** What a value has to pass one after the other. What is said in so many words (`v.metadata`) counts instead of all of it. */
function piped(items: readonly Node[], schemaOf: (node: Node) => JsonSchema): JsonSchema {
  const said = items.findLast((item) => item.metadata?.json !== undefined)?.metadata?.json;
  if (said !== undefined) return said;
  const all: JsonSchema = {};
  for (const item of items) {
    if (item.kind === "transformation") break; // what comes after it is about what code has made of the value
    Object.assign(all, item.kind === "schema" ? schemaOf(item) : ruleOf(item, all.type));
  }
  return all;
}

function ruleOf({ type, requirement }: Node, of: unknown): JsonSchema {
  const list = of === "array";
  switch (type) {
    case "regex": {
      const { source, flags } = requirement as RegExp;
      return flags === "" ? { pattern: source } : {};
    }
    case "starts_with":
      return { pattern: `^${String(requirement).replace(/[^\w/]/g, "\\$&")}` };
    case "non_empty":
      return list ? { minItems: 1 } : { minLength: 1 };
    case "min_length":
      return list ? { minItems: requirement } : { minLength: requirement };
    case "max_length":
      return list ? { maxItems: requirement } : { maxLength: requirement };
    case "min_value":
      return { minimum: requirement };
    case "max_value":
      return { maximum: requirement };
    case "integer":
    case "safe_integer":
      return { type: "integer" };
    // What only code can tell.
    case "check":
    case "raw_check":
    case "metadata":
      return {};
    default:
      throw new Error(`no JSON Schema is known for the action ${type}`);
  }
}

function mapping(node: Node, path: string, describe: Describe): JsonSchema {
  const entries = Object.entries(node.entries ?? {});
  const properties = entries.map(([key, child]): [string, JsonSchema] => {
    const at = path === "" ? key : `${path}.${key}`;
    const description = describe(at);
    return [key, { ...(description === undefined ? {} : { description }), ...convert(child, at, describe) }];
  });
  const required = entries.flatMap(([key, { type }]) => (type === "nullish" || type === "optional" ? [] : [key]));
  return {
    type: "object",
    properties: Object.fromEntries(properties),
    ...(required.length === 0 ? {} : { required }),
    ...(node.type === "strict_object" ? { additionalProperties: false } : {}),
  };
}

/** A key without a value (`description:`) counts as absent where it may be. */
function withDefault(node: Node, inner: JsonSchema): JsonSchema {
  const standard = node.default === undefined ? {} : { default: node.default };
  if (node.type === "optional") return { ...inner, ...standard };
  if (Array.isArray(inner.enum)) {
    const { type, ...others } = inner;
    return { ...others, enum: [...inner.enum, null], ...standard };
  }
  if (typeof inner.type === "string") return { ...inner, type: [inner.type, "null"], ...standard };
  return Object.keys(inner).length === 0 ? standard : { ...anyOf([inner, { type: "null" }]), ...standard };
}

function anyOf(all: readonly JsonSchema[]): JsonSchema {
  const flat = all.flatMap((each) => (Object.keys(each).join() === "anyOf" ? (each.anyOf as JsonSchema[]) : [each]));
  const different = [...new Map(flat.map((each) => [JSON.stringify(each), each])).values()];
  const [first = {}] = different;
  if (different.length === 1) return first;
  return different.some((each) => Object.keys(each).length === 0) ? {} : { anyOf: different };
}
