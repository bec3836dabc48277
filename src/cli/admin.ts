/** What the admin commands share: the configuration that leads to the proxy, and its API. */
import type { ApiClient } from "../client/api.ts";
import type { Config } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { Failure } from "../errors.ts";
import type { Context } from "./context.ts";

/**
 * The configuration for an admin command. Such a command also works from a laptop, where there is none, or none that
 * this user may read: undefined then, unless somebody named a file.
 */
export function loadAdminConfig(context: Context, path: string | undefined): Config | undefined {
  try {
    return loadConfig({ path, env: context.env, uid: context.uid });
  } catch (error) {
    const named = path !== undefined || Boolean(context.env.MCPGATE_CONFIG);
    if (!named && Failure.from(error).code === "permissions") return undefined;
    throw error;
  }
}

/** Runs `use` with the admin API and closes it. */
export async function withAdminApi<T>(
  context: Context,
  path: string | undefined,
  use: (api: ApiClient) => Promise<T>,
): Promise<T> {
  const api = await context.openAdminApi(loadAdminConfig(context, path));
  try {
    return await use(api);
  } finally {
    api.close();
  }
}
