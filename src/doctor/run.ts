/** `mcpgate doctor`: looks at all that is set up on this host at once, each check within its own time. */
import type { Config } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { VERSION } from "../version.ts";
import { checkAgent } from "./agent.ts";
import { checkClient } from "./client.ts";
import { type Edges, realEdges } from "./edges.ts";
import { bounded, type Finding, report } from "./finding.ts";
import { checkProxy } from "./proxy.ts";

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
