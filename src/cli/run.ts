/** Command line → exit code. Finds the command, checks its arguments, runs it, prints what went wrong. */
import { nearest } from "../config/nearest.ts";
import { Failure } from "../errors.ts";
import { checkArgv, isFlag, splitFlag } from "./argv.ts";
import type { Command } from "./command.ts";
import type { Context } from "./context.ts";
import { commandHelp, groupHelp } from "./help.ts";
import { ClosedOutput } from "./output.ts";
import { type Group, type Leaf, tree } from "./tree.ts";

/** Never rejects. 0 fine, 1 failure, 2 wrong usage or configuration. */
export async function runCli(argv: string[], context: Context): Promise<number> {
  try {
    return await dispatch(argv[0] === "help" ? [...argv.slice(1), "--help"] : argv, context);
  } catch (error) {
    if (error instanceof ClosedOutput) return 0;
    context.out.error(error);
    return Failure.from(error).exitCode;
  }
}

async function dispatch(argv: string[], context: Context): Promise<number> {
  const { words, node, rest, before, help } = findCommand(argv);
  if (!("load" in node)) {
    await context.out.print(groupHelp(words, node));
    return 0;
  }
  const command: Command = await node.load();
  if (help) {
    await context.out.print(commandHelp(words, node.summary, command));
    return 0;
  }
  return await command.run(context, checkArgv(words.join(" "), command.args, [...before, ...rest]));
}

interface Found {
  words: string[];
  /** A group only where its help text is wanted. */
  node: Leaf | Group;
  /** Flags that stood before the command's last word: `mcpgate -c FILE proxy start`. */
  before: string[];
  rest: string[];
  help: boolean;
}

function findCommand(argv: string[]): Found {
  const words: string[] = [];
  const before: string[] = [];
  let node: Leaf | Group = tree;
  let index = 0;
  while (!("load" in node)) {
    const name = ["mcpgate", ...words].join(" ");
    const word = argv[index++];
    if (word === "-h" || word === "--help") return { words, node, before, rest: [], help: true };
    if (word === undefined || word === "--") {
      throw new Failure("usage", words.length === 0 ? "no command given" : `${name} needs a command`, {
        hint: `${name} --help`,
      });
    }
    if (word === "--version" && words.length === 0) return findCommand(["version", ...argv.slice(index)]);
    if (isFlag(word)) {
      const { spelled, value } = splitFlag(word);
      if (spelled !== "--config" && spelled !== "-c") {
        throw new Failure("usage", `unknown flag ${spelled}`, { hint: `${name} --help` });
      }
      before.push(word);
      const next = argv[index];
      if (value === undefined && next !== undefined) {
        before.push(next);
        index++;
      }
      continue;
    }
    const commands: Group["commands"] = node.commands;
    const found: Leaf | Group | undefined = Object.hasOwn(commands, word) ? commands[word] : undefined;
    if (found === undefined) {
      const known = Object.entries(commands).flatMap(([key, { hidden }]) => (hidden ? [] : [key]));
      const near = nearest(word, known);
      throw new Failure("usage", `unknown command ${JSON.stringify([...words, word].join(" "))}`, {
        hint: near === undefined ? `${name} --help` : `did you mean: ${name} ${near}`,
      });
    }
    words.push(word);
    node = found;
  }
  const rest = argv.slice(index);
  const end = rest.indexOf("--");
  const help = rest.slice(0, end < 0 ? rest.length : end).some((word) => word === "-h" || word === "--help");
  return { words, node, before, rest, help };
}
