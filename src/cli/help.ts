/** Help texts. */
import type { ArgDef, ArgsDef } from "citty";
import { aliases, label } from "./argv.ts";
import type { Command } from "./command.ts";
import type { Group } from "./tree.ts";

const HELP = ["-h, --help", "show this text"] as const;

/** Of a group, or of the whole program where `words` is empty. */
export function groupHelp(words: string[], group: Group): string {
  const name = ["mcpgate", ...words].join(" ");
  const visible = Object.entries(group.commands).filter(([, node]) => !node.hidden);
  return [
    `${group.summary}`,
    "",
    `Usage: ${name} COMMAND`,
    "",
    "Commands:",
    ...columns(visible.map(([word, node]) => [word, node.summary])),
    "",
    ...(group.about === undefined ? [] : [group.about, ""]),
    `\`${name} COMMAND --help\` tells more about one.`,
    "",
  ].join("\n");
}

export function commandHelp(words: string[], summary: string, command: Command): string {
  const name = ["mcpgate", ...words].join(" ");
  const entries = Object.entries(command.args);
  const positionals = entries.filter(([, def]) => def.type === "positional");
  const flags = entries.filter(([, def]) => def.type !== "positional");
  return [
    summary,
    "",
    `Usage: ${[name, ...usage(command.args)].join(" ")}`,
    "",
    ...(command.about === undefined ? [] : [command.about, ""]),
    ...(positionals.length === 0
      ? []
      : ["Arguments:", ...columns(positionals.map(([key, def]) => [label(key, def), def.description ?? ""])), ""]),
    "Options:",
    ...columns([...flags.map(([key, def]) => [flagNames(key, def), flagText(def)] as const), HELP]),
    ...(command.examples.length === 0 ? [] : ["", "Examples:", ...command.examples.map((line) => `  ${line}`)]),
    "",
  ].join("\n");
}

/** Required flags and positionals by name, the rest as `[options]`. */
function usage(args: ArgsDef): string[] {
  const words: string[] = [];
  let optional = false;
  for (const [name, def] of Object.entries(args)) {
    if (def.type === "positional") words.push(def.required === false ? `[${label(name, def)}]` : label(name, def));
    else if (def.required) words.push(`--${name}=${flagValue(name, def)}`);
    else optional = true;
  }
  return optional ? [...words, "[options]"] : words;
}

function flagNames(name: string, def: ArgDef): string {
  const long = def.type === "boolean" ? `--${name}` : `--${name}=${flagValue(name, def)}`;
  return [...aliases(def), long].join(", ");
}

function flagValue(name: string, def: ArgDef): string {
  if (def.valueHint !== undefined) return def.valueHint;
  if ("options" in def && def.options !== undefined) return def.options.join("|");
  return name.toUpperCase();
}

function flagText(def: ArgDef): string {
  const notes = def.required ? "required" : def.default === undefined ? undefined : `default ${String(def.default)}`;
  return [def.description, notes === undefined ? undefined : `(${notes})`].filter(Boolean).join(" ");
}

function columns(rows: (readonly [string, string])[]): string[] {
  const size = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(size)}  ${right}`.trimEnd());
}
