/** What a command is: citty's definition, with what the help text needs, run with our context. */
import { type ArgDef, type ArgsDef, type CommandDef, defineCommand, runCommand } from "citty";
import type { Context } from "./context.ts";

/** What a command gets: citty's `ParsedArgs` lets any key pass, and takes every positional for optional. */
export type Args<T extends ArgsDef> = {
  [K in keyof T]: Value<T[K]> | (IsGiven<T[K]> extends true ? never : undefined);
};
type Value<D extends ArgDef> = D extends { type: "boolean" }
  ? boolean
  : D extends { options: readonly (infer O)[] }
    ? O
    : string;
type IsGiven<D extends ArgDef> = D extends { required: true } | { default: string }
  ? true
  : D extends { type: "positional" }
    ? D extends { required: false }
      ? false
      : true
    : false;

export interface Command {
  args: ArgsDef;
  /** Further lines of the help text: what people ask about it. */
  about?: string | undefined;
  examples: string[];
  /** Runs with arguments that `checkArgv` let through; answers with the exit code. */
  run(context: Context, rawArgs: string[]): Promise<number>;
}

export function command<const T extends ArgsDef>(o: {
  args: T;
  about?: string;
  examples?: string[];
  /** Nothing stands for exit code 0. */
  run(context: Context, args: Args<T>): Promise<number | undefined | undefined>;
}): Command {
  const definition: CommandDef<T> = defineCommand<T>({
    args: o.args,
    run: async ({ args, data }) => await o.run(data as Context, args as unknown as Args<T>),
  });
  return {
    args: o.args,
    about: o.about,
    examples: o.examples ?? [],
    async run(context, rawArgs) {
      const { result } = await runCommand(definition, { rawArgs, data: context });
      return typeof result === "number" ? result : 0;
    },
  };
}

/** `--format` of every listing. */
export const formatFlag = {
  format: {
    type: "enum",
    options: ["text", "json", "yaml"],
    default: "text",
    description: "text for people, json or yaml for programs",
  },
} as const satisfies ArgsDef;

/** `--config` of every command that reads the configuration. */
export const configFlag = {
  config: {
    type: "string",
    alias: "c",
    valueHint: "FILE",
    description: "configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)",
  },
} as const satisfies ArgsDef;
