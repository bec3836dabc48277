/** `mcpgate doctor`: looks at all that is set up on this host at once, each check within its own time. */
import { existsSync } from "node:fs";
import type { Config } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { VERSION } from "../version.ts";
import { checkAgent } from "./agent.ts";
import { checkClient } from "./client.ts";
import { type Edges, realEdges } from "./edges.ts";
import { bounded, type Finding, report } from "./finding.ts";
import { checkProxy } from "./proxy.ts";
import { findUnit } from "./systemd.ts";

export interface DoctorOptions {
  /** `--config`. */
  path: string | undefined;
  env: Record<string, string | undefined>;
  uid: number;
  edges?: Partial<Edges>;
}

/** Of one part as a whole; its own checks end before. */
const PART_MS = 60_000;

export async function runDoctor({ path, env, uid, edges: own }: DoctorOptions): Promise<Finding[]> {
  const edges: Edges = { ...realEdges(env, uid), ...own };
  const say = report("host", "configuration");
  const findings: Finding[] = [];
  let config: Config | undefined;
  try {
    config = loadConfig({ path, env, uid });
    if (config.file !== undefined) findings.push(say.ok(`${config.file} is sound`));
  } catch (error) {
    findings.push(say.failure(error));
  }
  const parts: Promise<Finding[]>[] = [bounded("client", "client", PART_MS, () => checkClient(edges))];
  if (config?.app !== undefined) {
    const [all, app] = [config, config.app];
    parts.push(bounded("agent", "agent", PART_MS, () => checkAgent(all, app, edges)));
  }
  if (config?.proxy !== undefined) {
    const [all, proxy] = [config, config.proxy];
    parts.push(bounded("proxy", "proxy", PART_MS, () => checkProxy(all, proxy, edges)));
  }
  for (const part of ["agent", "proxy"] as const) {
    const seen = part === "agent" ? config?.app : config?.proxy;
    if (seen === undefined) parts.push(bounded("host", part, PART_MS, () => elsewhere(part, config?.file, edges)));
  }
  findings.push(...(await Promise.all(parts)).flat());
  if (findings.every(({ part, state }) => part === "host" && state === "ok")) {
    findings.push(
      report("host", "set up").warn(
        `nothing of mcpgate (${VERSION}) is set up here: no login, no agent and no proxy`,
        "mcpgate client login --proxy=HOST:443 --user=NAME; on a host for servers or a proxy, see mcpgate agent configure and proxy configure",
      ),
    );
  }
  return findings;
}

/** A service that a unit starts with another configuration than the one that was looked at. */
async function elsewhere(part: "agent" | "proxy", looked: string | undefined, edges: Edges): Promise<Finding[]> {
  const found = await findUnit({ part, ...edges });
  if (found?.file === undefined || found.file === looked) return [];
  const { unit, file } = found;
  const say = report("host", part);
  if (existsSync(file)) {
    const message = `not looked at: ${unit} starts it with ${file}`;
    return [{ ...say.skip(message), fix: `sudo mcpgate doctor --config=${file}` }];
  }
  const fix = `put the file back, or make a unit with another: mcpgate install systemd --for=${part} --config=FILE`;
  return [say.fail(`${unit} starts it with ${file}, which is not there`, fix)];
}
