/**
 * Which of the proxy's app resources this agent runs: those that its own file asks for and admits, and no other. The proxy
 * has its part checked already; what it says counts for nothing here.
 */
import { withoutSecretArguments } from "../audit/secrets.ts";
import { parseAppResource } from "../config/app-resource.ts";
import { isAllowedCommand } from "../config/command-rule.ts";
import type { AppConfig, AppServiceConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import { type AppResourceReport, MAX_APPS } from "../link/from-agent.ts";
import type { AppResourceMessage } from "../link/to-agent.ts";
import { compileSelectors } from "../rbac/labels.ts";

export interface Admitted {
  apps: AppConfig[];
  /** One for each resource that the agent asked for. */
  reports: AppResourceReport[];
}

/** Characters of a reason, which goes to the proxy, into logs and the audit log. */
const MAX_REASON = 500;
/** Servers that all app resources together may keep ready (`mcp.warm`): these start although nobody came. */
const MAX_WARM = 100;

/** `fault`: what else keeps the agent from offering the app. */
export function admitResources(
  resources: readonly AppResourceMessage[],
  service: AppServiceConfig,
  fault: (app: AppConfig) => string | undefined = () => undefined,
): Admitted {
  const wanted = compileSelectors(service.resources ?? []);
  const names = new Set(service.apps.map(({ name }) => name));
  const admitted: Admitted = { apps: [], reports: [] };
  if ((service.resources ?? []).length === 0) return admitted;
  for (const { name, revision, document } of resources) {
    const refuse = (reason: string) =>
      admitted.reports.push({ name, revision, state: "refused", reason: cut(reason, MAX_REASON) });
    let app: AppConfig;
    try {
      app = parseAppResource(document);
    } catch (error) {
      refuse(`this agent's release does not understand it: ${Failure.from(error).message}`);
      continue;
    }
    if (!wanted(app.labels)) continue;
    const reason =
      app.name === name
        ? (refusal(app, names, service) ?? tooWarm(app, admitted.apps) ?? fault(app))
        : `it is named ${app.name}`;
    if (reason !== undefined) {
      refuse(reason);
      continue;
    }
    names.add(name);
    admitted.apps.push(app);
    admitted.reports.push({ name, revision, state: "offered" });
  }
  return admitted;
}

function refusal({ name, mcp }: AppConfig, taken: ReadonlySet<string>, service: AppServiceConfig): string | undefined {
  if (taken.has(name)) return "the agent's own file has an app of this name, and that one is offered";
  if (taken.size >= MAX_APPS) return `the agent offers ${MAX_APPS} apps already`;
  const { allowCommands = [], allowHostUsers = [], allowCwd = [] } = service;
  const line = [mcp.command, ...mcp.args];
  if (!isAllowedCommand(allowCommands, mcp.command, mcp.args)) {
    return `app_service.allow_commands on the agent's host does not cover ${shown(line)}`;
  }
  if (mcp.cwd !== undefined && !allowCwd.includes(mcp.cwd)) {
    return `app_service.allow_cwd on the agent's host does not list ${shown([mcp.cwd])}`;
  }
  // A template's value is looked up in the same list, for each person.
  const { runAsHostUser = "" } = mcp;
  const template = runAsHostUser.includes("{{") && allowHostUsers.length > 0;
  if (!template && !allowHostUsers.includes(runAsHostUser)) {
    return `app_service.allow_host_users on the agent's host does not list ${shown([runAsHostUser])}`;
  }
  return undefined;
}

function tooWarm({ mcp: { warm = 0 } }: AppConfig, others: readonly AppConfig[]): string | undefined {
  const wanted = others.reduce((sum, { mcp }) => sum + (mcp.warm ?? 0), warm);
  return warm > 0 && wanted > MAX_WARM
    ? `with it app resources would keep ${wanted} servers ready (spec.mcp.warm), and an agent keeps ${MAX_WARM}`
    : undefined;
}

const cut = (text: string, length: number): string => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

/** As a shell would have it; long ones cut. */
function shown(words: readonly string[]): string {
  const text = withoutSecretArguments(words)
    .map((word) => (/^[\w@%+=:,./{}-]+$/.test(word) ? word : JSON.stringify(word)))
    .join(" ");
  return cut(text, 300);
}
