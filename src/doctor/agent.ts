/** The agent's side: its identity and whether the proxy knows it, the process, the spool, its apps' commands, and the way there. */
import { statSync } from "node:fs";
import { dirname, join } from "node:path";
import * as v from "valibot";
import { loadHostUser } from "../agent/host-user.ts";
import { type AgentIdentity, findIdentity } from "../agent/join.ts";
import { DEFAULT_PATH, findCommand } from "../agent/launch.ts";
import { loadAgentStatus } from "../agent/status.ts";
import type { AppConfig, AppServiceConfig, Config } from "../config/config.ts";
import { loadJoinToken } from "../config/join-token.ts";
import { Failure } from "../errors.ts";
import { AGENT_CONTROL_PATH } from "../link/protocol.ts";
import { request } from "../link/request.ts";
import type { Trust } from "../link/trust.ts";
import { VERSION } from "../version.ts";
import type { Edges } from "./edges.ts";
import { bounded, type Finding, report } from "./finding.ts";
import { checkPath } from "./path-to-proxy.ts";
import { bytesIn, checkModes, checkSpace } from "./storage.ts";
import { checkUnit, startCommand } from "./systemd.ts";

const WAY_MS = 30_000;
const ASK_MS = 20_000;
const LOCAL_MS = 6_000;
/** 256 MiB, as the agent has it where nothing is told. */
const SPOOL_LIMIT = 256 * 1024 * 1024;
/** Of the limit. */
const SPOOL_HIGH = 0.5;

export async function checkAgent(config: Config, service: AppServiceConfig, edges: Edges): Promise<Finding[]> {
  const dir = join(config.dataDir, "agent");
  const limit = service.audit?.limit ?? SPOOL_LIMIT;
  const local = (check: string, work: Parameters<typeof bounded>[3]) => bounded("agent", check, LOCAL_MS, work);
  const all = await Promise.all([
    bounded("agent", "way", WAY_MS, (soFar) => checkWay(config, dir, edges, soFar)),
    local("process", async () => checkProcess(config.dataDir, await startCommand({ part: "agent", ...edges }))),
    local("spool", () => checkSpool(join(dir, "spool"), limit)),
    local("apps", () => checkCommands(service, edges)),
    local("permissions", () => checkModes("agent", secretPaths(config, dir), edges.uid)),
    local("disk", () =>
      checkSpace("agent", dir, edges.statfs, limit - Math.min(limit, bytesIn(join(dir, "spool")) ?? 0)),
    ),
    local("systemd", () => checkUnit({ part: "agent", ...edges })),
  ]);
  return all.flat();
}

const secretPaths = ({ file, join: by }: Config, dir: string): Parameters<typeof checkModes>[1] => [
  ...["", "spool", "pins"].map((name): [string, "nothing"] => [join(dir, name), "nothing"]),
  ...["identity.json", "join-key.json"].map((name): [string, "nothing"] => [join(dir, name), "nothing"]),
  // a token in the file itself is a secret, until it was used
  ...(file === undefined ? [] : [[file, "read"] satisfies [string, "read"]]),
  ...(by?.method === "token" && by.tokenName.includes("/")
    ? [[by.tokenName, "nothing"] satisfies [string, "nothing"]]
    : []),
];

async function checkWay(config: Config, dir: string, edges: Edges, findings: Finding[]): Promise<Finding[]> {
  const say = report("agent", "identity");
  let identity: AgentIdentity | undefined;
  try {
    identity = await findIdentity(config, dir);
    if (identity === undefined) findings.push(...notJoined(config));
  } catch (error) {
    findings.push(othersAgent(config, dir, edges) ?? say.failure(error));
  }
  if (config.proxyServer === undefined) return findings;
  const known: Trust = { proxy: config.proxyServer, caPem: identity?.trust.caPem };
  const options = { trust: known, pin: config.caPin, path: AGENT_CONTROL_PATH, env: edges.env, now: edges.now };
  const { reached, trust } = await checkPath({ part: "agent", ...options, soFar: findings });
  if (identity === undefined) return findings;
  if (!reached) return [...findings, say.skip("not asked, as the proxy can't be reached")];
  const { key } = identity;
  return [...findings, ...(await bounded("agent", "identity", ASK_MS, () => askWhoAmI(trust, key, dir)))];
}

async function askWhoAmI(trust: Trust, key: AgentIdentity["key"], dir: string): Promise<Finding> {
  const say = report("agent", "identity");
  const schema = v.object({ agent_name: v.string(), online: v.boolean() });
  try {
    const { agent_name, online } = await request({ trust, key, method: "GET", path: "/v1/agent/whoami", schema });
    return say.ok(`the proxy knows this agent as ${agent_name}${online ? ", and it is connected" : ""}`);
  } catch (error) {
    const { code, message, hint } = Failure.from(error);
    if (code === "not_found") return say.skip("not asked: the proxy is of a release that can't say");
    const again = `put a new token where join_params says (on the proxy's host: mcpgate tokens add --type=app), then: sudo rm '${join(dir, "identity.json")}', and start the agent`;
    return say.fail(message, code === "access_denied" ? again : hint);
  }
}

/** What an agent of another account keeps is not read as root: whoever could write it would choose what root believes. */
function othersAgent({ dataDir, file }: Config, dir: string, { uid }: Edges): Finding | undefined {
  const owner = statSync(dir, { throwIfNoEntry: false })?.uid ?? 0;
  if (uid !== 0 || owner === 0) return undefined;
  const told = file === undefined ? "" : ` --config=${file}`;
  return {
    ...report("agent", "identity").skip(`not asked: the agent runs under another account (uid ${owner})`),
    fix: `sudo -u '#${owner}' XDG_STATE_HOME='${dirname(dataDir)}' mcpgate doctor${told}`,
  };
}

function notJoined(config: Config): Finding[] {
  const say = report("agent", "identity");
  const { join: by } = config;
  if (by === undefined) {
    return [
      say.fail(
        "this agent has not joined, and join_params is missing",
        "on the proxy's host: mcpgate tokens add --type=app",
      ),
    ];
  }
  if (by.method !== "token")
    return [say.warn(`this agent has not joined; it will by ${by.method}`, "sudo mcpgate agent start")];
  try {
    loadJoinToken(by);
    return [say.warn("this agent has not joined yet", "sudo mcpgate agent start")];
  } catch (error) {
    return [say.failure(error, "this agent has not joined: ")];
  }
}

/** `start`: the command that starts the agent anew. */
async function checkProcess(dataDir: string, start: string): Promise<Finding[]> {
  const say = report("agent", "process");
  try {
    const { version, connected, pid, pending_events, servers, apps } = await loadAgentStatus(dataDir);
    const leaked = servers.spawned - servers.exited - servers.running;
    return [
      !connected
        ? say.fail(
            `it runs (pid ${pid}) and is not connected to its proxy`,
            "see the findings on the way there, and its log",
          )
        : version === VERSION
          ? say.ok(`it runs (pid ${pid}) and is connected`)
          : say.warn(`what runs is ${version}, and ${VERSION} is installed`, start),
      ...apps.flatMap(({ app, state, error }) =>
        state === "failing"
          ? [
              report("agent", "apps").warn(
                `${app} failed when it was last started: ${error ?? "no reason"}`,
                "sudo mcpgate agent status",
              ),
            ]
          : [],
      ),
      ...apps.flatMap(({ app, refused }) =>
        refused === undefined
          ? []
          : [
              report("agent", "apps").fail(
                `the proxy does not take ${app}: ${refused}`,
                "on the proxy's host: mcpgate apps ls",
              ),
            ],
      ),
      ...(leaked === 0
        ? []
        : [say.warn(`${leaked} processes of servers are not accounted for`, "mcpgate agent status")]),
      ...(connected || pending_events === 0
        ? []
        : [report("agent", "spool").warn(`${pending_events} events wait for the proxy`)]),
    ];
  } catch (error) {
    const finding = say.failure(error);
    return [Failure.from(error).code === "unavailable" ? { ...finding, fix: start } : finding];
  }
}

function checkSpool(directory: string, limit: number): Finding[] {
  const bytes = bytesIn(directory);
  if (bytes === undefined) return [];
  const say = report("agent", "spool");
  const text = `${Math.round((100 * bytes) / limit)} % of app_service.audit.spool_limit`;
  const fix = "events wait for the proxy: see the findings on the way there; or raise app_service.audit.spool_limit";
  if (bytes >= limit * 0.9) return [say.fail(`full, or nearly: ${text}`, fix)];
  return [bytes > limit * SPOOL_HIGH ? say.warn(`it fills: ${text}`, fix) : say.ok(text)];
}

/** Whether what the apps start is there. Whether it works, `agent check` tells. */
async function checkCommands(service: AppServiceConfig, edges: Edges): Promise<Finding[]> {
  const say = report("agent", "apps");
  const { apps, resources = [], allowHostUsers = [] } = service;
  if (apps.length === 0 && resources.length === 0)
    return [say.warn("no apps are configured", "add apps under app_service, or: mcpgate agent configure --help")];
  const missing = allowHostUsers.map(async (user) => {
    const fault = await hostUserFault(user);
    const key = "app_service.allow_host_users";
    return fault === undefined ? [] : [say.warn(`${key}: ${fault.message}`, fault.hint)];
  });
  const faults = (await Promise.all([...apps.map((app) => commandFault(app, edges)), ...missing])).flat();
  if (faults.length > 0 || apps.length === 0) return faults;
  const many = apps.length === 1 ? "the command of 1 app is" : `the commands of ${apps.length} apps are`;
  return [say.ok(`${many} there; whether they work: sudo mcpgate agent check`)];
}

async function hostUserFault(user: string): Promise<{ message: string; hint: string } | undefined> {
  try {
    await loadHostUser(user);
    return undefined;
  } catch (error) {
    const { message, hint = `sudo useradd --system ${user}` } = Failure.from(error);
    return { message, hint };
  }
}

async function commandFault({ name, mcp }: AppConfig, { env }: Edges): Promise<Finding[]> {
  const say = report("agent", "apps");
  const user = mcp.runAsHostUser;
  if (user !== undefined && !user.includes("{{")) {
    const fault = await hostUserFault(user);
    if (fault !== undefined) return [say.fail(`${name}: ${fault.message}`, fault.hint)];
  }
  const own = mcp.env?.PATH;
  const path = typeof own === "string" ? own : user === undefined ? (env.PATH ?? DEFAULT_PATH) : DEFAULT_PATH;
  const found = findCommand(mcp.command, path);
  if (!("fault" in found)) return [];
  const why =
    found.fault === "not_found" ? `is not in ${mcp.command.includes("/") ? "its place" : path}` : "can't be executed";
  return [
    say.fail(
      `${name}: its command ${mcp.command} ${why}`,
      `install it, or correct mcp.command; then: sudo mcpgate agent check ${name}`,
    ),
  ];
}
