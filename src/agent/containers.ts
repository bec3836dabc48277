/**
 * Servers that are started with `docker run` (or podman, nerdctl): the process that we start is only a client, and the
 * container outlives it when it is killed. So each gets labels, by which it is ended with its session, and what an agent
 * that was killed left behind is ended at the next start.
 */
import { basename } from "node:path";
import type { Log } from "../log.ts";
import { runCommand } from "./run-command.ts";
import type { StartOptions } from "./start-server.ts";

const ENGINES = ["docker", "podman", "nerdctl"];
const AGENT_LABEL = "mcpgate.agent";
const SESSION_LABEL = "mcpgate.sid";
/** For `ps` and for `rm`, each. A `rm -f` waits for the container's end. */
const COMMAND_MS = 20_000;

/** What `docker run` was called with. */
export interface ContainerRun {
  /** What stands before `run`: the engine's own options. */
  before: string[];
  after: string[];
}

/** `undefined` where the command runs no container. */
export function containerRun(command: string, args: readonly string[]): ContainerRun | undefined {
  if (!ENGINES.includes(basename(command))) return undefined;
  const at = args.indexOf("run");
  const before = args.slice(0, Math.max(at, 0)).filter((arg, i) => !(i === at - 1 && arg === "container"));
  // `docker --context far run`, but not `docker compose run`, which has labels of its own.
  if (at < 0 || (before.length > 0 && !before[0]?.startsWith("-"))) return undefined;
  return { before, after: args.slice(at + 1) };
}

/** The arguments with labels that say whose container it is. */
export const labelled = ({ before, after }: ContainerRun, agent: string, sid: string): string[] => [
  ...[...before, "run"],
  ...["--label", `${AGENT_LABEL}=${agent}`, "--label", `${SESSION_LABEL}=${sid}`],
  ...after,
];

/** Whose containers to end: a session's, or all of the agent's. */
export type Whose = { agent: string } | { sid: string };

/**
 * Ends the containers with that label, as the same user and with the same engine as they were started; answers with how
 * many there were. Never fails: an engine that doesn't answer is a line in the log.
 */
export async function endContainers(
  run: ContainerRun,
  whose: Whose,
  options: Omit<StartOptions, "args" | "onStdout">,
): Promise<number> {
  const label = "sid" in whose ? `${SESSION_LABEL}=${whose.sid}` : `${AGENT_LABEL}=${whose.agent}`;
  const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => quiet };
  const engine = async (args: string[]): Promise<string> => {
    const done = await runCommand({ ...options, args: [...run.before, ...args], log: quiet }, COMMAND_MS);
    if (done.code !== 0) throw new Error(`${args[0]} ${done.message}: ${done.stderr.at(-1) ?? ""}`);
    return done.stdout;
  };
  try {
    const ids = (await engine(["ps", "--all", "--quiet", "--filter", `label=${label}`])).split("\n").filter(Boolean);
    if (ids.length === 0) return 0;
    await engine(["rm", "--force", ...ids]);
    options.log.info("containers.ended", { label, containers: ids.length });
    return ids.length;
  } catch (error) {
    options.log.warn("containers.failed", { label, error: (error as Error).message });
    return 0;
  }
}
