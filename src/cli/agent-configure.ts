/** `mcpgate agent configure` */
import { existsSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { type AgentFileApp, composeAgentFile } from "../config/compose-agent.ts";
import { Failure } from "../errors.ts";
import { EACH } from "./argv.ts";
import { type Args, command } from "./command.ts";
import { requireRight } from "./composed-file.ts";
import type { Context } from "./context.ts";
import { outputFlag, printOrMake } from "./new-file.ts";

const args = {
  proxy: { type: "string", required: true, valueHint: "HOST:PORT", description: "the proxy's public address" },
  token: { type: "string", required: true, valueHint: "FILE", description: "the file with the join token" },
  "ca-pin": { type: "string", valueHint: "sha256:…", description: "the pin of the proxy's own CA" },
  app: { type: "string", valueHint: "NAME", description: "the first app; the demo's unless given" },
  command: { type: "string", description: "what starts the app's server" },
  arg: { type: "string", description: "an argument for it; once for each: --arg=-y --arg=PACKAGE", repeatable: "each" },
  "run-as-host-user": { type: "string", valueHint: "USER", description: "the account that the server runs under" },
  description: { type: "string", valueHint: "TEXT", description: "what the app is, for people" },
  label: { type: "string", valueHint: "KEY=VALUE", description: "a label; may be repeated", repeatable: "each" },
  ...outputFlag,
} as const;

export const configure = command({
  args,
  about: [
    "The configuration of an agent with one app, to go on from. A file that is there already stays as it is. The token is",
    "not in it, and not on the command line: FILE is looked into when the agent joins for the first time.",
  ].join("\n"),
  examples: [
    "mcpgate agent configure --proxy=mcpgate.example.com:443 --token=/tmp/mcpgate-token -o /etc/mcpgate.yaml",
    "mcpgate agent configure --proxy=p.example.com --token=/tmp/t --app=pg --command=npx --arg=-y --arg=PACKAGE",
  ],
  async run(context, given) {
    const tokenFile = fileOf(given.token);
    const app = given.app === undefined ? demoApp(context, given) : appOf(context, given.app, given);
    const text = composeAgentFile({ proxy: given.proxy, tokenFile, caPin: given["ca-pin"], app });
    requireRight(text, context.uid, {
      "mcpgate.proxy_server": "--proxy",
      "mcpgate.join_params": "--token",
      "mcpgate.ca_pin": "--ca-pin",
      "app_service.apps[0].name": "--app",
      "app_service.apps[0].labels": "--label",
      "app_service.apps[0].mcp.command": "--command",
      "app_service.apps[0].mcp.args": "--arg",
      "app_service.apps[0].mcp.run_as_host_user": "--run-as-host-user",
    });
    // may name what is in a secret store's reach, and be edited by people who write secrets into it
    await printOrMake(context, { output: given.output, text, mode: 0o600 });
    if (!existsSync(tokenFile)) {
      context.out.warning(`there is no ${tokenFile} yet: the agent needs it to join for the first time`);
    }
  },
});

type Given = Args<typeof args>;

/** A token itself would stand in the shell's history and in the list of processes. */
function fileOf(token: string): string {
  if (token.includes("/") || existsSync(token)) return resolve(token);
  throw new Failure("usage", "--token takes the path of a file that holds the token, not the token itself", {
    // mktemp: under a name that somebody could guess, there may be a file of theirs
    hint: 't=$(mktemp); cat >"$t" # paste it, press Ctrl-D, and give --token="$t"',
  });
}

function appOf({ uid }: Context, name: string, given: Given): AgentFileApp {
  if (given.command === undefined) {
    throw new Failure("usage", "--command is required beside --app", { hint: "like --command=docker --arg=run" });
  }
  if (/\s/.test(given.command) && !existsSync(given.command)) {
    throw new Failure("usage", "--command is the program alone: each of its arguments has an --arg of its own", {
      hint: `like ${flagsOf(given.command)}`,
    });
  }
  const runAsHostUser = given["run-as-host-user"];
  if (uid === 0 && runAsHostUser === undefined) {
    throw new Failure("usage", "--run-as-host-user is required: an agent that is root switches users", {
      hint: "the account under which the server is to run, like --run-as-host-user=nobody",
    });
  }
  return {
    name,
    command: given.command,
    args: list(given.arg),
    description: given.description ?? `${name} MCP server`,
    labels: labelsOf(given.label) ?? {},
    runAsHostUser,
  };
}

/** A command line as flags, where its words can be told without a shell's rules. */
function flagsOf(line: string): string {
  const [program, ...words] = line.split(/\s+/).filter(Boolean);
  const plain = /^[\w@%+=:,./\s-]+$/.test(line);
  return [`--command=${program}`, ...(plain ? words : ["…"]).map((word) => `--arg=${word}`)].join(" ");
}

/** The server that mcpgate brings along, for whoever wants to see something work first. */
function demoApp({ self, uid }: Context, given: Given): AgentFileApp {
  for (const flag of ["command", "arg"] as const) {
    if (given[flag] !== undefined) throw new Failure("usage", `--${flag} goes with --app`, { hint: "--app=NAME" });
  }
  const [program = "mcpgate", ...rest] = self;
  return {
    name: "demo",
    description: given.description ?? "the MCP server that mcpgate brings along",
    labels: labelsOf(given.label) ?? { env: "demo" },
    // or else the second host that is set up like this would have nothing to offer
    shared: true,
    command: rest.length === 0 && isInPath(program) ? basename(program) : program,
    args: [...rest, "demo-server"],
    runAsHostUser: given["run-as-host-user"] ?? (uid === 0 ? "nobody" : undefined),
  };
}

/** Whether a server's own `PATH` leads to it (`agent/launch.ts`). */
const isInPath = (program: string): boolean =>
  ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].includes(dirname(program));

function labelsOf(given: string | undefined): Record<string, string> | undefined {
  if (given === undefined) return undefined;
  return Object.fromEntries(
    list(given).map((each): [string, string] => {
      const equals = each.indexOf("=");
      if (equals > 0) return [each.slice(0, equals), each.slice(equals + 1)];
      throw new Failure("usage", `--label=${each} is not KEY=VALUE`, { hint: "like --label=env=dev" });
    }),
  );
}

const list = (given: string | undefined): string[] => given?.split(EACH) ?? [];
