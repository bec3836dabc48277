/**
 * The language of `app_labels_expression`: the original's, as far as it is about labels and users.
 *
 *     labels["env"] == "staging" || contains(user.spec.traits["teams"], labels["team"])
 *
 * `==` `!=` `&&` `||` `!` and brackets bind as in Go; strings are in double quotes (escapes as in JSON) or backquotes.
 * Every expression has a type, checked when the role is written, so that nothing is left to go wrong later.
 */
import { Failure } from "../errors.ts";
import { FUNCTIONS, type Type, type Value } from "./predicate-functions.ts";
import { readTokens, type Token } from "./predicate-tokens.ts";
import { type Traits, traitValues } from "./traits.ts";

export const MAX_EXPRESSION_CHARS = 4096;
const MAX_DEPTH = 32;

/** What an expression is about. */
export interface Facts {
  /** As selectors see them: `effectiveLabels`. */
  labels: Readonly<Record<string, string>>;
  user: { name: string; traits: Traits };
}

/** Whether the expression holds. */
export type Predicate = (facts: Facts) => boolean;

type Node =
  | { type: "bool"; value: (facts: Facts) => boolean }
  | { type: "string"; literal?: string; value: (facts: Facts) => string }
  | { type: "list"; value: (facts: Facts) => readonly string[] };

/** Throws a `Failure("invalid")` that says what is wrong, and at which character (from 1). */
export function compilePredicate(text: string, canonicalKey: (key: string) => string = (key) => key): Predicate {
  if (text.length > MAX_EXPRESSION_CHARS) {
    throw new Failure("invalid", `the expression is longer than ${MAX_EXPRESSION_CHARS} characters`);
  }
  const node = new Parser(readTokens(text), canonicalKey).parse();
  if (node.type !== "bool") throw new Failure("invalid", `the expression is a ${node.type}, not a condition`);
  return node.value;
}

class Parser {
  readonly #tokens: Token[];
  readonly #canonicalKey: (key: string) => string;
  #at = 0;
  #depth = 0;

  constructor(tokens: Token[], canonicalKey: (key: string) => string) {
    this.#tokens = tokens;
    this.#canonicalKey = canonicalKey;
  }

  parse(): Node {
    const node = this.#or();
    const rest = this.#peek();
    if (rest.kind !== "end") throw this.#unexpected(rest);
    return node;
  }

  #or(): Node {
    let left = this.#and();
    while (this.#take("||")) {
      const [a, b] = this.#bools(left, this.#and(), "||");
      left = { type: "bool", value: (facts) => a(facts) || b(facts) };
    }
    return left;
  }

  #and(): Node {
    let left = this.#equality();
    while (this.#take("&&")) {
      const [a, b] = this.#bools(left, this.#equality(), "&&");
      left = { type: "bool", value: (facts) => a(facts) && b(facts) };
    }
    return left;
  }

  #equality(): Node {
    const left = this.#unary();
    const operator = this.#take("==") ? "==" : this.#take("!=") ? "!=" : undefined;
    if (operator === undefined) return left;
    const right = this.#unary();
    if (left.type === "list" || left.type !== right.type) {
      throw this.#fault(`${operator} takes two strings or two conditions, not a ${left.type} and a ${right.type}`);
    }
    const wanted = operator === "==";
    return { type: "bool", value: (facts) => (left.value(facts) === right.value(facts)) === wanted };
  }

  #unary(): Node {
    return this.#deeper(() => {
      if (!this.#take("!")) return this.#primary();
      const { type, value } = this.#unary();
      if (type !== "bool") throw this.#fault(`! takes a condition, not a ${type}`);
      return { type, value: (facts) => !value(facts) };
    });
  }

  #primary(): Node {
    const token = this.#next();
    if (token.kind === "string") return { type: "string", literal: token.text, value: () => token.text };
    if (token.text === "(" && token.kind === "mark") {
      const node = this.#or();
      this.#expect(")");
      return node;
    }
    if (token.kind !== "name") throw this.#unexpected(token);
    switch (token.text) {
      case "true":
      case "false": {
        const value = token.text === "true";
        return { type: "bool", value: () => value };
      }
      case "labels": {
        const key = this.#canonicalKey(this.#key());
        // A label that an app doesn't have is the empty string, as in the original.
        return { type: "string", value: ({ labels }) => (Object.hasOwn(labels, key) ? (labels[key] ?? "") : "") };
      }
      case "user.metadata.name":
        return { type: "string", value: ({ user }) => user.name };
      case "user.spec.traits": {
        const name = this.#key();
        return { type: "list", value: ({ user }) => traitValues(user.traits, name) ?? [] };
      }
      default:
        return this.#call(token);
    }
  }

  /** `["key"]` after a mapping. */
  #key(): string {
    this.#expect("[");
    const key = this.#next();
    if (key.kind !== "string") throw this.#fault('a key must be a string, like labels["env"]', key);
    this.#expect("]");
    return key.text;
  }

  #call(name: Token): Node {
    const make = Object.hasOwn(FUNCTIONS, name.text) ? FUNCTIONS[name.text] : undefined;
    if (make === undefined) throw this.#fault(`nothing is called ${name.text} here`, name);
    this.#expect("(");
    const args: Node[] = [];
    if (!this.#take(")")) {
      do args.push(this.#or());
      while (this.#take(","));
      this.#expect(")");
    }
    const literals = args.map((arg) => (arg.type === "string" ? arg.literal : undefined));
    let result: { type: Type; apply(values: Value[]): Value };
    try {
      result = make(
        args.map(({ type }) => type),
        literals,
      );
    } catch (error) {
      throw this.#fault(`${name.text}: ${Failure.from(error).message}`, name);
    }
    const { type, apply } = result;
    return { type, value: (facts: Facts) => apply(args.map((arg) => arg.value(facts))) } as Node;
  }

  #bools(left: Node, right: Node, operator: string): [(facts: Facts) => boolean, (facts: Facts) => boolean] {
    if (left.type === "bool" && right.type === "bool") return [left.value, right.value];
    throw this.#fault(`${operator} takes two conditions, not a ${left.type} and a ${right.type}`);
  }

  #deeper<T>(read: () => T): T {
    if (++this.#depth > MAX_DEPTH) throw new Failure("invalid", "the expression is nested too deeply");
    try {
      return read();
    } finally {
      this.#depth--;
    }
  }

  #peek(): Token {
    return this.#tokens[this.#at] as Token;
  }

  #next(): Token {
    const token = this.#peek();
    if (token.kind !== "end") this.#at++;
    return token;
  }

  #take(mark: string): boolean {
    const token = this.#peek();
    if (token.kind !== "mark" || token.text !== mark) return false;
    this.#at++;
    return true;
  }

  #expect(mark: string): void {
    if (!this.#take(mark)) throw this.#unexpected(this.#peek(), ` where ${mark} should be`);
  }

  #unexpected(token: Token, tail = ""): Failure {
    const what = token.kind === "end" ? "the expression ends" : `unexpected ${JSON.stringify(token.text)}`;
    return this.#fault(what + tail, token);
  }

  #fault(what: string, token = this.#tokens[Math.max(0, this.#at - 1)] as Token): Failure {
    return new Failure("invalid", `${what} (at character ${token.at})`);
  }
}
