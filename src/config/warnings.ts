/** What a configuration says that works and may not be meant so. */
import { arbitraryCode } from "./arbitrary-code.ts";
import type { CommandRule } from "./command-rule.ts";
import type { Problem } from "./problem.ts";
import type { ConfigFile } from "./schema.ts";
import type { FileApp } from "./schema-app.ts";

/** The part of an agent's configuration that lets the proxy have it run something. */
export interface OptIn {
  resources?: readonly unknown[] | null | undefined;
  allow_commands?: readonly CommandRule[] | null | undefined;
  allow_host_users?: readonly string[] | null | undefined;
}

/** For `mcpgate config check`. */
export function configWarnings(file: ConfigFile): Problem[] {
  const { app_service: service, proxy_service: proxy } = file;
  if (!service?.enabled) return proxy?.enabled ? [] : [NOTHING];
  return [...(service.apps ?? []).flatMap(commandWarning), ...optInWarnings(service)].map((each) => ({
    ...each,
    path: ["app_service", ...each.path],
  }));
}

const NOTHING: Problem = {
  path: [],
  at: "value",
  message: "neither app_service nor proxy_service is enabled: nothing can be started with it",
  hint: "mcpgate agent configure --help; mcpgate proxy configure --help",
};

/** A whole command line where its first word belongs. */
function commandWarning({ mcp: { command } }: FileApp, index: number): Problem[] {
  const [program, ...words] = command.split(/\s+/).filter(Boolean);
  if (words.length === 0 || command.includes("/")) return [];
  const message = "is the program alone, spaces and all: no shell takes it apart";
  const hint = `command: ${program}, and in args: [${words.map((word) => JSON.stringify(word)).join(", ")}]`;
  return [{ path: ["apps", index, "mcp", "command"], at: "value", message, hint }];
}

/** The same of `app_service` alone; paths begin in it. */
export function optInWarnings({ resources, allow_commands, allow_host_users }: OptIn): Problem[] {
  const rules = allow_commands ?? [];
  const users = allow_host_users ?? [];
  const warnings: Problem[] = [];
  for (const [index, rule] of rules.entries()) {
    const why = arbitraryCode(rule);
    if (why === undefined) continue;
    warnings.push({
      path: ["allow_commands", index],
      at: "value",
      message: `${why}: whoever may write app resources at the proxy, or holds the proxy, may run it here`,
      hint: "name all of it but the end, or put the app into this file",
    });
  }
  if ((resources ?? []).length === 0) return warnings;
  const path = ["resources"];
  if (rules.length === 0) {
    const hint = 'like allow_commands: [["docker", "run", "-i", "--rm", "mcp/*"]]';
    warnings.push({ path, at: "key", message: "take in nothing: allow_commands is empty", hint });
  }
  if (users.length === 0) {
    const hint = "list the users that servers may run as, like allow_host_users: [mcp]";
    warnings.push({ path, at: "key", message: "take in nothing: allow_host_users is empty", hint });
  }
  const root = users.indexOf("root");
  if (root >= 0) {
    const message = "lets app resources of the proxy run as root";
    warnings.push({
      path: ["allow_host_users", root],
      at: "value",
      message,
      hint: "an account of its own for each app",
    });
  }
  return warnings;
}
