/**
 * One variable of `mcp.env`. A text stands for itself, unless it begins with a reference's word:
 *
 *     file:/run/secrets/key     the file's content, without one final line feed
 *     env:NAME                  a variable of the agent's own environment
 *     command:op read op://…    what a secret store's own tool prints; words at spaces, no shell
 *
 * Or a mapping with one key: `{value: "file:/not-a-reference"}`, `{file: …}`, `{env: …}`, `{command: [argv, …]}`.
 * References are read whenever a server starts, and their values are kept nowhere.
 */

export type Variable = string | { file: string } | { env: string } | { command: string[] };

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** From parsed YAML; a string is what is wrong with it, and after a line feed the hint. Never says the value. */
export function parseVariable(value: unknown): Exclude<Variable, string> | { value: string } | string {
  if (typeof value === "string") {
    const [, kind, rest = ""] = /^(file|env|command):([\s\S]*)$/.exec(value) ?? [];
    if (kind === undefined) return plain(value);
    const argument = kind === "command" ? rest.split(/\s+/).filter((word) => word !== "") : rest;
    const parsed = reference(kind, argument);
    // `file:./dev.db` is also how SQLite spells a URL.
    return typeof parsed === "string" ? `${parsed}\nto give the text itself, write {value: "${kind}:…"}` : parsed;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    if (value === null || Array.isArray(value))
      return `expected a string, got ${value === null ? "nothing" : "a list"}`;
    return "is no text\nput it in quotes";
  }
  const entries = Object.entries(value);
  const [kind, argument] = entries[0] ?? [];
  if (entries.length !== 1 || kind === undefined) return "expected exactly one of value, file, env, command";
  if (kind === "value") return typeof argument === "string" ? plain(argument) : "value: expected a string";
  return reference(kind, argument);
}

const plain = (value: string): { value: string } | string =>
  value.includes("\0") ? "holds a NUL character" : { value };

function reference(kind: string, argument: unknown): Exclude<Variable, string> | string {
  switch (kind) {
    case "file":
      return typeof argument === "string" && argument.startsWith("/") && !argument.includes("\0")
        ? { file: argument }
        : "file: needs an absolute path";
    case "env":
      return typeof argument === "string" && NAME.test(argument) ? { env: argument } : "env: needs a variable's name";
    case "command": {
      const words = Array.isArray(argument) ? (argument as unknown[]) : [];
      const texts = words.filter((word): word is string => typeof word === "string" && !word.includes("\0"));
      if (texts.length === 0 || texts.length !== words.length) return "command: needs a list of strings";
      return texts[0]?.startsWith("/") ? { command: texts } : "command: needs an absolute path to the program";
    }
    default:
      return `unknown key ${JSON.stringify(kind)}: expected one of value, file, env, command`;
  }
}
