/**
 * `where:` of a rule: a condition on one call, in CEL (https://cel.dev), over
 *
 *     tool or prompt    its name
 *     arguments         its arguments: what JSON can hold, integers as integers
 *     user              name, roles, traits
 *     app               name, labels
 *
 * It is checked, types included, when the role is written. What goes wrong when it is evaluated (a missing argument, one
 * of another type, a number that can't be held exactly, too much work) is an error, and an error denies.
 */
import { Environment } from "@marcbachmann/cel-js";
import { Failure } from "../errors.ts";
import { fold } from "../fold.ts";
import { CONDITION_FUNCTIONS, measured } from "./condition-functions.ts";
import { rewrite } from "./condition-rewrite.ts";
import { type Arguments, readArguments } from "./condition-values.ts";
import { compileRegex, type TextMatcher } from "./match.ts";
import type { CallFacts } from "./rules.ts";

export const MAX_CONDITION_CHARS = 2048;
const LIMITS = { maxAstNodes: 256, maxDepth: 32, maxListElements: 200, maxMapEntries: 0, maxCallArguments: 4 };

/** What is called. */
export interface Call {
  kind: "tool" | "prompt";
  name: string;
  /** As the message has them; undefined: none. */
  arguments: Uint8Array | undefined;
}

/** Whether the condition holds. Throws a `Failure("invalid")` that says why it can't be told. */
export type Condition = (call: Call, facts: CallFacts) => boolean;

/** Throws a `Failure("invalid")` that says what is wrong with the text. */
export function compileCondition(text: string, kind: Call["kind"]): Condition {
  if (text.length > MAX_CONDITION_CHARS) {
    throw new Failure("invalid", `the condition is longer than ${MAX_CONDITION_CHARS} characters`);
  }
  const checked = parse(ENVIRONMENTS[kind], text);
  const { text: strict, reads, patterns } = rewrite(checked.ast);
  const matchers = new Map<string, TextMatcher>();
  for (const pattern of patterns) matchers.set(pattern, compileRegex(pattern));
  const { run } = parse(ENVIRONMENTS[kind], strict);
  const folded = new Map([...reads].map((key) => [fold(key), key]));

  return (call, { user, app }) => {
    const args = readArguments(call.arguments);
    refuseLookalikes(args, reads, folded);
    const { name } = call;
    const result = measured(matchers, () => run({ [kind]: name, arguments: args.value, user, app }));
    if (typeof result !== "boolean") throw new Failure("invalid", "the condition is neither true nor false");
    return result;
  };
}

/** A key that the server may take for one that the condition reads, which the condition itself would not see. */
function refuseLookalikes({ keys }: Arguments, reads: ReadonlySet<string>, folded: ReadonlyMap<string, string>): void {
  for (const [form, key] of folded) {
    for (const found of keys.get(form) ?? []) {
      if (!reads.has(found)) throw new Failure("invalid", `the arguments have a key that may be mistaken for "${key}"`);
    }
  }
}

function parse(environment: Environment, text: string) {
  let parsed: ReturnType<Environment["parse"]>;
  try {
    parsed = environment.parse(text);
  } catch (error) {
    throw broken(error);
  }
  const { valid, type, error } = parsed.check();
  if (!valid) throw broken(error);
  if (type !== "bool" && type !== "dyn") {
    throw new Failure("invalid", `the condition is a ${type}, which is neither true nor false`);
  }
  return { ast: parsed.ast, run: (context: Record<string, unknown>): unknown => parsed(context) };
}

/** The library's message goes on with the line and an arrow to the place. */
function broken(cause: unknown): Failure {
  const [first = ""] = (cause instanceof Error ? cause.message : String(cause)).split("\n");
  return new Failure("invalid", `the condition is broken: ${first.charAt(0).toLowerCase()}${first.slice(1)}`, {
    cause,
  });
}

function environment(kind: Call["kind"]): Environment {
  const made = new Environment({ limits: LIMITS })
    .registerVariable(kind, "string")
    .registerVariable("arguments", "map<string, dyn>")
    .registerVariable({
      name: "user",
      schema: { name: "string", roles: "list<string>", traits: "map<string, list<string>>" },
    })
    .registerVariable({ name: "app", schema: { name: "string", labels: "map<string, string>" } });
  for (const [signature, work] of CONDITION_FUNCTIONS) made.registerFunction(signature, work, { async: false });
  return made;
}

const ENVIRONMENTS = { tool: environment("tool"), prompt: environment("prompt") };
