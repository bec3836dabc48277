/** `mcpgate agent start`: loads what an agent needs (its identity, its spool, its hold on what it starts), and starts it. */
import { createHash } from "node:crypto";
import { readFileSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { Spool } from "../audit/spool.ts";
import type { Config } from "../config/config.ts";
import type { HostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { type DirectoryLock, lockDirectory } from "../identity/directory-lock.ts";
import { makeDataDirectory } from "../identity/files.ts";
import type { Log } from "../log.ts";
import { Agent, type RunningAgent } from "./agent.ts";
import { Containment } from "./containment.ts";
import { type GuardLink, hasLostGuard } from "./guard.ts";
import { loadIdentity } from "./join.ts";
import { neededControllers } from "./limits.ts";
import { observeAgent } from "./observed.ts";
import { loadPins } from "./tool-pins.ts";

export interface AgentOptions {
  config: Config;
  log: Log;
  /** The command that starts this program as the exec helper: `["/proc/self/exe", "__exec"]` for the binary. */
  self: string[];
  /** The process that watches this one, where there is one. */
  guard?: GuardLink | undefined;
  /** Where metrics and health checks are to be had; absent: nowhere. */
  diag?: HostPort | undefined;
}

const LOCK_MS = 5_000;

export async function startAgent({ config, log, self, guard, diag }: AgentOptions): Promise<RunningAgent> {
  const service = config.app;
  if (service === undefined) {
    throw new Failure("config", `${config.file ?? "configuration"}: app_service is not enabled`, {
      hint: "add `app_service: {enabled: true, apps: […]}` to the file",
    });
  }
  const dir = join(config.dataDir, "agent");
  makeDataDirectory(config.dataDir);
  const lock = await waitForLock(dir);
  try {
    const identity = await loadIdentity(config, dir, log);
    // What comes from the proxy may have limits of any kind.
    const any = (service.resources ?? []).length === 0 ? [] : [{ memory: 1, cpu: 1, processes: 1 }];
    const needed = neededControllers([...service.apps.map(({ mcp }) => mcp.limits), ...any]);
    const containment = await Containment.open(tagOf(dir), log, { needed });
    if (containment.group !== undefined) guard?.tell(containment.group);
    log.info("agent.containment", { by: containment.mechanism, guard: guard !== undefined });
    const boot = crypto.randomUUID();
    const { limit, ...audit } = service.audit ?? {};
    const spool = Spool.open(join(dir, "spool"), {
      ...audit,
      ...(limit === undefined ? {} : { maxBytes: limit }),
      log,
      chain: boot,
      agent: identity.name,
    });
    spool.begin();
    const parts = {
      identity,
      boot,
      spool,
      containment,
      guard,
      log,
      self,
      lock,
      dataDir: config.dataDir,
      pins: loadPins(dir, service.apps),
      observed: await observeAgent({ at: diag, guard, log }),
    };
    return new Agent(parts, service);
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Names this agent on its host: what an earlier one left behind is known by it. */
const tagOf = (dir: string): string => createHash("sha256").update(realpathSync(dir)).digest("hex").slice(0, 12);

/** An agent whose guard was killed needs a moment to end its servers; the next one comes after it. */
async function waitForLock(dir: string): Promise<DirectoryLock> {
  for (const until = performance.now() + LOCK_MS; ; await Bun.sleep(50)) {
    try {
      return lockDirectory(dir);
    } catch (error) {
      if (!isBeingLeft(dir) || performance.now() > until) throw error;
    }
  }
}

function isBeingLeft(dir: string): boolean {
  try {
    return hasLostGuard(Number(readFileSync(join(dir, "lock.pid"), "utf8")));
  } catch {
    return false;
  }
}
