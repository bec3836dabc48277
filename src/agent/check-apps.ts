/** Checks the apps of a configuration, one after the other, with everything that an agent does for their servers. */
import type { AppServiceConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";
import { type CheckResult, checkApp } from "./check.ts";
import { Containment } from "./containment.ts";
import { Servers } from "./servers.ts";

export interface CheckOptions {
  service: AppServiceConfig;
  /** One app's name; all of them unless told. */
  only?: string | undefined;
  self: string[];
  log: Log;
  /** A signal: what was started ends, and what was found by then is the answer. */
  stopped: Promise<unknown>;
  /** Where pinned packages lie. */
  packages?: string | undefined;
}

export async function checkApps({ service, only, self, log, stopped, packages }: CheckOptions): Promise<CheckResult[]> {
  const apps = service.apps.filter(({ name }) => only === undefined || name === only);
  if (apps.length === 0 && only !== undefined) {
    throw new Failure("not_found", `the configuration has no app ${JSON.stringify(only)}`, {
      hint:
        service.apps.length === 0
          ? "it has none; what app resources start is tried by sessions only: mcpgate agent status"
          : `apps there: ${service.apps.map(({ name }) => name).join(", ")}`,
    });
  }
  // A tag of its own: what an agent that runs has started is none of ours.
  const tag = `check-${process.pid}`;
  const containment = await Containment.open(tag, log);
  const allowHostUsers = service.allowHostUsers ?? [];
  const servers = new Servers({ agent: tag, self, containment, allowHostUsers, log, packages });
  const results: CheckResult[] = [];
  const all = async (): Promise<void> => {
    for (const app of apps) {
      // Where a template names the host user, the first that it may come to stands for all.
      const setting = app.mcp.runAsHostUser;
      const hostUser = setting?.includes("{{") ? allowHostUsers[0] : setting;
      const { runAsHostUser: _, ...mcp } = app.mcp;
      const checked = { ...app, mcp: { ...mcp, ...(hostUser === undefined ? {} : { runAsHostUser: hostUser }) } };
      results.push(await checkApp(checked, servers, { user: "check", traits: {} }, log));
    }
  };
  try {
    await Promise.race([all(), stopped]);
  } finally {
    containment.killAll();
    await servers.close();
    await containment.close();
  }
  return results;
}
