/** `mcpgate client ls`, and finding one app for the commands that need one. */
import { Failure } from "../errors.ts";
import { command, formatFlag } from "./command.ts";
import type { Context } from "./context.ts";
import { utc } from "./listing.ts";
import { render, table } from "./output.ts";

/** `GET /v1/apps`. */
export interface ReachableApp {
  name: string;
  description: string;
  type: string;
  labels: Record<string, string>;
  /** Entries as the roles have them: literals, globs, `^…$`. */
  allowed_tools: string[];
  denied_tools: string[];
  online: boolean;
  /** How its servers do; absent while no agent has told. */
  health?: { state: "unknown" | "ok" | "failing"; at?: string; error?: string };
}

export const ls = command({
  args: { ...formatFlag, verbose: { type: "boolean", description: "also whether their servers start" } },
  examples: ["mcpgate client ls", "mcpgate client ls --verbose", "mcpgate client ls --format=json"],
  async run(context, { format, verbose }) {
    const apps = await loadApps(context);
    await context.out.print(await render(format, apps, () => appTable(apps, verbose === true)));
    if (format !== "text") return;
    if (apps.length === 0) context.out.notice("no MCP servers within reach: ask your mcpgate admin for a role");
    const offline = apps.filter(({ online }) => !online).map(({ name }) => name);
    if (offline.length > 0) context.out.warning(`no agent is online for ${offline.join(", ")}`);
  },
});

async function loadApps(context: Context): Promise<ReachableApp[]> {
  const api = await context.openUserApi();
  try {
    const { apps } = await api.call<{ apps: ReachableApp[] }>("GET", "/v1/apps");
    return apps.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  } finally {
    api.close();
  }
}

/** @throws Failure `not_found`, the same whether it does not exist or is out of reach. */
export async function findApp(context: Context, name: string): Promise<ReachableApp> {
  const app = (await loadApps(context)).find((each) => each.name === name);
  if (app !== undefined) return app;
  throw new Failure("not_found", `no MCP server ${JSON.stringify(name)} within reach`, { hint: "mcpgate client ls" });
}

function appTable(apps: ReachableApp[], verbose: boolean): string {
  const rows = apps.map((app) => [
    ...[app.name, app.description, app.type, tools(app), labelText(app.labels)],
    ...(verbose ? [healthText(app)] : []),
  ]);
  const headers = ["Name", "Description", "Type", "Allowed Tools", "Labels"];
  const text = table(verbose ? [...headers, "Health"] : headers, rows);
  if (!apps.some(({ allowed_tools }) => allowed_tools.length === 0)) return text;
  return `${text}\n${NO_TOOLS}`;
}

/** `ok`; `failing since 2026-11-23 05:24:00: the server exited with code 3`. */
function healthText({ online, health }: ReachableApp): string {
  if (!online) return "offline";
  if (health === undefined || health.state === "unknown") return "not started yet";
  if (health.state === "ok") return "ok";
  return `failing since ${utc(health.at)}${health.error === undefined ? "" : `: ${health.error}`}`;
}

const NO_TOOLS = `\
[!] Warning: you do not have access to any tools on the MCP server.
    Ask your mcpgate admin for a role whose mcp.tools allow some.
`;

function tools({ allowed_tools, denied_tools }: ReachableApp): string {
  if (allowed_tools.length === 0) return "(none) [!]";
  const allowed = `[${allowed_tools.join(" ")}]`;
  return denied_tools.length === 0 ? allowed : `${allowed}, except: [${denied_tools.join(" ")}]`;
}

/** `env=dev,team=data`, in the order of the keys; labels of our own making left out. */
export function labelText(labels: Record<string, string>): string {
  return Object.entries(labels)
    .filter(([key]) => !/^(mcpgate|teleport)\.internal\//.test(key))
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
}
