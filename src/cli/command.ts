/** What a command is: citty's definition, with what the help text needs, run with our context. */
import { type ArgsDef, type CommandDef, defineCommand, type ParsedArgs, runCommand } from "citty";
import type { Context } from "./context.ts";

/** citty's `ParsedArgs` lets any key pass; this one knows its own only. */
export type Args<T extends ArgsDef> = { [K in keyof T]: ParsedArgs<T>[K] };

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
