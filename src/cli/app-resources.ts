/** What agents make of an app resource: told after `mcpgate create`, and by `mcpgate get apps --verbose`. */
import type { ApiClient } from "../client/api.ts";
import { printable } from "../log.ts";
import type { Context } from "./context.ts";
import { segment } from "./listing.ts";

export interface ResourceAgent {
  agent: string;
  online: boolean;
  state: "offered" | "refused" | "waiting";
  reason?: string;
}

export const APP_RESOURCES = "/v1/api/app-resources";

/** Milliseconds: agents that are connected answer at once. */
const ANSWER_MS = 2_000;
const POLL_MS = 50;

/** Says on stderr what the agents that are connected make of the app, as soon as all of them have said it. */
export async function tellAgents(context: Context, api: ApiClient, name: string): Promise<void> {
  const until = performance.now() + ANSWER_MS;
  let agents: ResourceAgent[];
  do {
    ({ agents } = await api.call<{ agents: ResourceAgent[] }>("GET", `${APP_RESOURCES}/${segment(name)}`));
    if (!agents.some(({ online, state }) => online && state === "waiting")) break;
    await Bun.sleep(POLL_MS);
  } while (performance.now() < until);
  for (const line of lines(agents)) context.out.notice(line);
}

/** One line an agent; or why there is none. */
function lines(agents: readonly ResourceAgent[]): string[] {
  if (agents.length === 0) return ["no connected agent asks for it: none has app_service.resources with its labels"];
  return agents.map((each) => `agent ${each.agent}${each.online ? "" : " (offline)"} ${words(each)}`);
}

function words({ state, reason }: ResourceAgent): string {
  if (state === "offered") return "offers it";
  return state === "refused" ? `refuses it: ${reason}` : "has not answered yet";
}

/** The same as comments of a YAML document. */
export const comments = (agents: readonly ResourceAgent[]): string =>
  lines(agents)
    .map((line) => `# ${printable(line).replaceAll(/\s+/g, " ")}\n`)
    .join("");
