/**
 * A condition's syntax tree, checked against what conditions may use and written anew so that its evaluation is strict
 * and bounded:
 * - `==`, `!=` and `in` go to functions of ours that fail where CEL would call values of different types just unequal:
 *   `["prod"] != "prod"` is a trick, not an answer;
 * - `matches` takes a literal pattern and runs in linear time (RE2);
 * - every step of `all`, `exists`, `map` and `filter` is counted, and every function's operands by their length.
 */
import type { ASTNode } from "@marcbachmann/cel-js";
import { Failure } from "../errors.ts";

/** Loops within loops, at the most. */
const MAX_LOOPS = 2;

const METHODS = new Map([
  ["startsWith", "starts_with"],
  ["endsWith", "ends_with"],
  ["contains", "has_text"],
]);
const FUNCTIONS = new Set(["size", "int", "double", "string"]);
const MACROS = new Set(["all", "exists", "exists_one", "map", "filter"]);
const INFIX = new Set(["+", "-", "*", "/", "%", "<", "<=", ">", ">=", "&&", "||"]);

export interface Rewritten {
  text: string;
  /** Keys that the condition may look for: every key and every string that it has, apart from those of user and app. */
  reads: Set<string>;
  /** Its patterns. */
  patterns: Set<string>;
}

/** Throws a `Failure("invalid")` that names what a condition may not use. */
export function rewrite(tree: ASTNode): Rewritten {
  const out: Rewritten = { text: "", reads: new Set(), patterns: new Set() };
  out.text = new Writer(out).write(tree, 0);
  return out;
}

class Writer {
  readonly #out: Rewritten;

  constructor(out: Rewritten) {
    this.#out = out;
  }

  write(node: ASTNode, loops: number): string {
    const again = (inner: ASTNode) => this.write(inner, loops);
    switch (node.op) {
      case "value":
        return this.#literal(node.args);
      case "id":
        if (node.args === "cel") throw refused("cel.bind");
        return node.args;
      case ".":
        return `${this.#subject(node.args[0], node.args[1], loops)}.${node.args[1]}`;
      case "[]": {
        const [subject, key] = node.args;
        if (key.op !== "value" || (typeof key.args !== "string" && typeof key.args !== "bigint")) {
          throw refused('an index that is not written out, like ["key"] or [0]');
        }
        return `${this.#subject(subject, key.args, loops)}[${this.#quoted(key.args)}]`;
      }
      case "==":
        return this.#same(node.args, loops);
      case "!=":
        return `!${this.#same(node.args, loops)}`;
      case "in":
        return `within(${node.args.map(again).join(", ")})`;
      case "!_":
        return `!(${again(node.args)})`;
      case "-_":
        return `-(${again(node.args)})`;
      case "?:":
        return `(${again(node.args[0])} ? ${again(node.args[1])} : ${again(node.args[2])})`;
      case "list":
        return `[${node.args.map(again).join(", ")}]`;
      case "call":
        return this.#call(node.args[0], node.args[1], loops);
      case "rcall":
        return this.#method(node.args[0], node.args[1], node.args[2], loops);
      default:
        if (INFIX.has(node.op)) {
          const [left, right] = node.args as [ASTNode, ASTNode];
          const logic = node.op === "&&" || node.op === "||";
          const operand = (inner: ASTNode) => (logic ? again(inner) : this.#charged(inner, loops));
          return `(${operand(left)} ${node.op} ${operand(right)})`;
        }
        throw refused(node.op === "map" ? "maps written out" : node.op);
    }
  }

  #same([left, right]: readonly [ASTNode, ASTNode], loops: number): string {
    const null_ = [left, right].some((node) => node.op === "value" && node.args === null);
    return `${null_ ? "same_or_null" : "same"}(${this.write(left, loops)}, ${this.write(right, loops)})`;
  }

  #charged(node: ASTNode, loops: number): string {
    const text = this.write(node, loops);
    return node.op === "value" ? text : `charged(${text})`;
  }

  #literal(value: unknown): string {
    if (typeof value === "string") this.#out.reads.add(value);
    else if (value !== null && !["bigint", "number", "boolean"].includes(typeof value)) throw refused("such literal");
    return this.#quoted(value);
  }

  #quoted(value: unknown): string {
    if (typeof value === "string") return JSON.stringify(value);
    // A double has to stay one: 100.0 prints as 100.
    if (typeof value === "number") return Number.isInteger(value) ? value.toFixed(1) : String(value);
    return String(value);
  }

  /** What a key is looked up in. */
  #subject(node: ASTNode, key: unknown, loops: number): string {
    if (typeof key === "string" && !ofUsOnly(node)) this.#out.reads.add(key);
    return this.write(node, loops);
  }

  #call(name: string, args: readonly ASTNode[], loops: number): string {
    const [first] = args;
    if (name === "has" && first?.op === ".") return `has(${this.write(first, loops)})`;
    if (!FUNCTIONS.has(name)) throw refused(`${name}()`);
    const inner = args.map((arg) => this.#charged(arg, loops)).join(", ");
    return `${name === "size" ? "size_of" : name}(${inner})`;
  }

  #method(name: string, subject: ASTNode, args: readonly ASTNode[], loops: number): string {
    const on = this.write(subject, loops);
    const [first, ...rest] = args;
    if (MACROS.has(name) && first?.op === "id" && rest.length > 0) {
      if (loops === MAX_LOOPS) throw refused(`loops more than ${MAX_LOOPS} deep`);
      const [step, ...others] = rest.map((arg) => this.write(arg, loops + 1));
      // The first of them is evaluated at every step.
      const counted = name === "map" && others.length === 0 ? `charged(${step})` : `(counted() ? ${step} : false)`;
      return `${on}.${name}(${[first.args, counted, ...others].join(", ")})`;
    }
    if (name === "size" && args.length === 0) return `size_of(${on})`;
    if (name === "matches" && args.length === 1) {
      if (first?.op !== "value" || typeof first.args !== "string") throw refused("a pattern that is not written out");
      this.#out.patterns.add(first.args);
      return `matches_re2(${on}, ${this.#quoted(first.args)})`;
    }
    const ours = METHODS.get(name);
    if (ours === undefined || args.length !== 1) throw refused(`.${name}()`);
    return `${ours}(${on}, ${args.map((arg) => this.write(arg, loops)).join(", ")})`;
  }
}

/** `user.…` and `app.…` are ours: no client writes their keys. */
function ofUsOnly(node: ASTNode): boolean {
  if (node.op === "id") return node.args === "user" || node.args === "app";
  return (node.op === "." || node.op === "[]") && ofUsOnly(node.args[0]);
}

const refused = (what: string): Failure => new Failure("invalid", `a condition takes no ${what}`);
