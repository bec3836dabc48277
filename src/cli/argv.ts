/**
 * The strict check of a command's arguments, before citty sees them: citty takes unknown, repeated and valueless flags
 * as they come. What leaves here is one spelling of what was meant: every flag as `--name=value` or `--name`, then
 * `--`, then the positionals.
 */
import type { ArgDef, ArgsDef } from "citty";
import { nearest } from "../config/nearest.ts";
import { Failure } from "../errors.ts";

/** What stands on the command line for one command: `words` are its name, like `tokens add`. */
export function checkArgv(words: string, args: ArgsDef, argv: string[]): string[] {
  const help = `${["mcpgate", words].filter(Boolean).join(" ")} --help`;
  const fail = (message: string, hint = help): never => {
    throw new Failure("usage", message, { hint });
  };
  const flags = new Map<string, string>();
  const positionals: string[] = [];

  for (let index = 0; index < argv.length; index++) {
    const word = argv[index] ?? "";
    if (word === "--") {
      positionals.push(...argv.slice(index + 1));
      break;
    }
    if (!isFlag(word)) {
      positionals.push(word);
      continue;
    }
    const { spelled, value: attached } = splitFlag(word);
    const found = findFlag(args, spelled);
    if (found === undefined) {
      const near = nearestFlag(args, spelled);
      return fail(`unknown flag ${spelled}`, near === undefined ? help : `did you mean: ${near}`);
    }
    const [name, def] = found;
    const before = flags.get(name);
    if (before !== undefined && between(def) === undefined) fail(`--${name} is given more than once`);
    if (def.type === "boolean") {
      if (attached !== undefined) fail(`--${name} takes no value`);
      flags.set(name, `--${name}`);
      continue;
    }
    const value = attached ?? argv[index + 1];
    if (attached === undefined) {
      // a value that begins with a dash must be attached, so that a forgotten value is never filled with a flag
      if (value === undefined || isFlag(value) || value === "--") fail(`--${name} needs a value`);
      index++;
    }
    if (value === undefined || value === "") return fail(`--${name} needs a value`);
    const options = "options" in def ? (def.options ?? []) : [];
    if (options.length > 0 && !options.includes(value)) {
      const near = nearest(value, options);
      const hint = near === undefined ? help : `did you mean: --${name}=${near}`;
      fail(`--${name} is one of ${options.join(", ")}, not ${JSON.stringify(value)}`, hint);
    }
    flags.set(name, before === undefined ? `--${name}=${value}` : `${before}${between(def)}${value}`);
  }

  const wanted = Object.entries(args).filter(([, def]) => def.type === "positional");
  for (const [index, [name, def]] of wanted.entries()) {
    const value = positionals[index];
    if (value === "") fail(`${label(name, def)} is empty`);
    if (value === undefined && def.required !== false) fail(`${label(name, def)} is missing`);
  }
  const extra = positionals[wanted.length];
  if (extra !== undefined) fail(`unexpected argument ${JSON.stringify(extra)}`);
  for (const [name, def] of Object.entries(args)) {
    if (def.type !== "positional" && def.required && !flags.has(name)) fail(`--${name} is required`);
  }
  return [...flags.values(), "--", ...positionals];
}

/** `-` alone is a file name (standard input), not a flag. */
export const isFlag = (word: string): boolean => word.startsWith("-") && word !== "-" && word !== "--";

/** `--name=value` apart; the value is undefined where there is no `=`. */
export function splitFlag(word: string): { spelled: string; value: string | undefined } {
  const equals = word.indexOf("=");
  if (equals < 0) return { spelled: word, value: undefined };
  return { spelled: word.slice(0, equals), value: word.slice(equals + 1) };
}

/** Between the values of each `--flag=value` with `repeatable: "each"`, which may hold any other character. */
export const EACH = "\0";

/** What joins the values of a flag that may be given twice: with `repeatable: true` its value is a list of words. */
function between(def: ArgDef): string | undefined {
  if (!("repeatable" in def)) return undefined;
  return def.repeatable === "each" ? EACH : def.repeatable === true ? "," : undefined;
}

/** How a positional is called in texts: its `valueHint`, else its name in capitals. */
export const label = (name: string, def: ArgDef): string => def.valueHint ?? name.toUpperCase();

function findFlag(args: ArgsDef, spelled: string): [string, ArgDef] | undefined {
  return Object.entries(args).find(
    ([name, def]) => def.type !== "positional" && (spelled === `--${name}` || aliases(def).includes(spelled)),
  );
}

/** Short names with their dash. */
export function aliases(def: ArgDef): string[] {
  if (!("alias" in def) || def.alias === undefined) return [];
  return [def.alias].flat().map((alias) => `-${alias}`);
}

function nearestFlag(args: ArgsDef, spelled: string): string | undefined {
  if (!spelled.startsWith("--")) return undefined;
  const names = Object.entries(args).flatMap(([name, def]) => (def.type === "positional" ? [] : [name]));
  const near = nearest(spelled.slice(2), [...names, "help"]);
  return near === undefined ? undefined : `--${near}`;
}
