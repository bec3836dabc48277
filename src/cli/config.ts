/** `mcpgate config check | schema` */
import { configFile, loadText } from "../config/load.ts";
import { checkConfig } from "../config/parse.ts";
import { dotted } from "../config/positions.ts";
import { type PlacedProblem, placed } from "../config/problem.ts";
import { configWarnings } from "../config/warnings.ts";
import { Failure } from "../errors.ts";
import { command, configFlag, formatFlag } from "./command.ts";
import { json, render } from "./output.ts";

export const check = command({
  args: {
    file: { type: "positional", required: false, description: "MCPGATE_CONFIG, else /etc/mcpgate.yaml, unless given" },
    ...formatFlag,
    config: { ...configFlag.config, description: "the same as FILE" },
  },
  about: [
    "Tells all that is wrong with a configuration file, with places, and what in it may not be meant so. It changes nothing",
    "and asks nobody; `mcpgate agent check` starts the apps, too. Exit code 2 when something is wrong.",
  ].join("\n"),
  examples: ["mcpgate config check", "mcpgate config check agent.yaml --format=json"],
  async run(context, { file: path, config, format }) {
    if (path !== undefined && config !== undefined) {
      throw new Failure("usage", "FILE and --config are the same", { hint: `mcpgate config check ${path}` });
    }
    const { file, named = file } = configFile({ path: path ?? config, env: context.env });
    const text = loadText(file, true) ?? "";
    const own = checkConfig(text, { shownAs: named, uid: context.uid }, configWarnings);
    // what only an agent that is root needs is no fault where none may ever be
    const more = own.problems.length > 0 ? [] : checkConfig(text, { shownAs: named, uid: 0 }).problems;
    const problems = inOrder(own.problems);
    const warnings = inOrder([...own.warnings, ...more]);
    const told = (problem: PlacedProblem) => ({
      line: problem.line,
      column: problem.column,
      path: dotted(problem.path),
      message: problem.message,
      ...(problem.hint === undefined ? {} : { hint: problem.hint }),
    });
    if (format !== "text") {
      const answer = { file, ok: problems.length === 0, problems: problems.map(told), warnings: warnings.map(told) };
      await context.out.print(await render(format, answer, () => ""));
      return problems.length === 0 ? 0 : 2;
    }
    for (const each of problems) {
      context.out.error(new Failure("config", placed(each, named), { hint: each.hint }));
    }
    for (const each of warnings) {
      context.out.warning(placed(each, named));
      if (each.hint !== undefined) context.out.notice(`hint: ${each.hint}`);
    }
    if (problems.length > 0) return 2;
    const but = warnings.length === 0 ? "" : warnings.length === 1 ? ", with a warning" : ", with warnings";
    await context.out.print(`${named}: ok${but}\n`);
    return 0;
  },
});

const inOrder = (problems: readonly PlacedProblem[]): PlacedProblem[] =>
  problems.toSorted((a, b) => a.line - b.line || a.column - b.column);

export const schema = command({
  args: {
    kind: {
      type: "enum",
      options: ["config", "role", "lock", "token", "app"],
      default: "config",
      description: "a configuration, or documents for `mcpgate create -f`",
    },
  },
  about: [
    "A JSON Schema (draft 7), with which editors check and complete such files, for instance with a first line of",
    "# yaml-language-server: $schema=mcpgate.schema.json",
  ].join("\n"),
  examples: ["mcpgate config schema >mcpgate.schema.json", "mcpgate config schema --kind=role"],
  async run(context, { kind }) {
    await context.out.print(json(await schemaOf(kind)));
  },
});

async function schemaOf(kind: "config" | "role" | "lock" | "token" | "app") {
  const { jsonSchema } = await import("../config/json-schema.ts");
  const title = `mcpgate: ${kind}`;
  switch (kind) {
    case "config": {
      const { fileSchema } = await import("../config/schema.ts");
      return jsonSchema(fileSchema, { title, describe: (await import("../config/descriptions.ts")).describeConfig });
    }
    case "app": {
      const { appShape } = await import("../config/app-resource.ts");
      return jsonSchema(appShape, { title, describe: (await import("../config/descriptions.ts")).describeApp });
    }
    case "role": {
      const { roleShape } = await import("../rbac/role.ts");
      return jsonSchema(roleShape, { title, describe: (await import("../rbac/descriptions.ts")).describeRole });
    }
    case "lock": {
      const { lockShape } = await import("../rbac/lock.ts");
      return jsonSchema(lockShape, { title, describe: (await import("../rbac/descriptions.ts")).describeLock });
    }
    case "token": {
      const { tokenShape } = await import("../identity/token-resource.ts");
      return jsonSchema(tokenShape, {
        title,
        describe: (await import("../identity/descriptions.ts")).describeToken,
      });
    }
  }
}
