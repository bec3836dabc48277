/** Configuration text → `Config`. No I/O. */
import { dirname, resolve } from "node:path";
import * as v from "valibot";
import { type Document, LineCounter, parseDocument, visit } from "yaml";
import { Failure } from "../errors.ts";
import { toProxyAudit, toSpool } from "./audit.ts";
import type { AppConfig, Config, Limits, ProxyConfig } from "./config.ts";
import { locate } from "./positions.ts";
import { type PlacedProblem, type Problem, placed } from "./problem.ts";
import { type ConfigFile, fileSchema } from "./schema.ts";
import type { FileApp } from "./schema-app.ts";
import { checkTogether } from "./together.ts";

export interface ParseConfigOptions {
  /** Absolute; relative paths in the text start from its directory. */
  file: string;
  /** How the file is named in errors: as the user named it. */
  shownAs: string;
  uid: number;
  defaultDataDir(): string;
}

const YAML_HINT = "check the indentation, the colons and the quotes there and on the line before";

/** @throws Failure `config`: the first problem, as `FILE:LINE:COL: path.to.key: …`, and how many more there are. */
export function parseConfig(text: string, o: ParseConfigOptions): Config {
  const { problems, file } = checkConfig(text, o);
  const [first] = problems;
  if (first !== undefined) {
    const more = problems.length === 1 ? "" : ` (and ${problems.length - 1} more)`;
    throw new Failure("config", `${placed(first, o.shownAs)}${more}`, { hint: first.hint });
  }
  if (file === undefined) throw new Error("unreachable: a file without problems is one");
  return toConfig(file, o);
}

/**
 * All that is wrong with a configuration: of a text that is no YAML the first fault, of one that has wrong values all of
 * these, and where each value is right, all that does not go together. `warn` is asked where nothing is wrong.
 */
export function checkConfig(
  text: string,
  { shownAs, uid }: Pick<ParseConfigOptions, "shownAs" | "uid">,
  warn: (file: ConfigFile) => Problem[] = () => [],
): CheckedConfig {
  const lines = new LineCounter();
  const doc = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: true, logLevel: "error" });
  const broken = [...doc.errors, ...doc.warnings][0];
  const fault = broken === undefined ? unknownAlias(doc) : { offset: broken.pos[0], message: yamlMessage(broken) };
  if (fault !== undefined) {
    const { line, col } = lines.linePos(fault.offset);
    const problem = { path: [], at: "value" as const, message: fault.message, hint: YAML_HINT };
    return { problems: [{ ...problem, line, column: col }], warnings: [] };
  }
  const place = (problem: Problem): PlacedProblem => {
    const { line, column, source } = locate(doc, lines, problem.path, problem.at);
    const unquoted = problem.message.startsWith("expected a string, got") && source ? source : undefined;
    const hint = unquoted === undefined ? problem.hint : `put it in quotes: ${JSON.stringify(unquoted)}`;
    return { ...problem, hint, line, column };
  };
  const value: unknown = toJs(doc, shownAs);
  if (isDocument(value)) return { problems: [place(documentProblem(shownAs))], warnings: [] };
  // an empty file, or one of comments only, configures nothing
  const parsed = v.safeParse(fileSchema, value ?? {});
  if (!parsed.success) {
    const problems = parsed.issues.map(problemOf);
    return {
      problems: problems.sort((a, b) => Number(isUnknownKey(b)) - Number(isUnknownKey(a))).map(place),
      warnings: [],
    };
  }
  const file = parsed.output as ConfigFile;
  const problems = checkTogether(file, uid).map(place);
  return problems.length > 0 ? { problems, warnings: [] } : { problems, warnings: warn(file).map(place), file };
}

/** A role, a lock, a token or an app, which is the proxy's to keep. */
const isDocument = (value: unknown): boolean =>
  typeof value === "object" && value !== null && "kind" in value && ("metadata" in value || "spec" in value);

const documentProblem = (shownAs: string): Problem => {
  const message = "this is a document for the proxy to keep, and no configuration";
  return { path: ["kind"], at: "key", message, hint: `mcpgate create -f ${shownAs}` };
};

export interface CheckedConfig {
  problems: PlacedProblem[];
  /** What works and may not be meant so. */
  warnings: PlacedProblem[];
  /** Where there is no problem. */
  file?: ConfigFile;
}

/** A misspelt key is also a missing one; the misspelling is what to report. */
const isUnknownKey = (problem: Problem): boolean => problem.message === "unknown key";

function problemOf(issue: v.BaseIssue<unknown>): Problem {
  const path = (issue.path ?? []).map((item) => (typeof item.key === "number" ? item.key : String(item.key)));
  const [message = "", hint] = issue.message.split("\n");
  const at = issue.type === "strict_object" && message === "unknown key" ? "key" : "value";
  return { path, at, message, ...(hint === undefined ? {} : { hint }) };
}

function toJs(doc: Document, shownAs: string): unknown {
  try {
    return doc.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new Failure("config", `${shownAs}: ${yamlMessage(error as Error)}`, { hint: YAML_HINT });
  }
}

/** The parser's messages in our form: lower case, one line, no full stop. */
function yamlMessage(error: Error & { code?: string }): string {
  if (error.code === "MULTIPLE_DOCS") return "a second document begins here, and only one is read";
  const first = (error.message.split("\n")[0] ?? "").replace(/[.:]\s*$/, "");
  return first.charAt(0).toLowerCase() + first.slice(1);
}

/** The parser finds these only when it makes a value of the document, and then without a position. */
function unknownAlias(doc: Document): { offset: number; message: string } | undefined {
  let found: { offset: number; message: string } | undefined;
  visit(doc, {
    Alias(_, node) {
      if (node.resolve(doc) !== undefined) return undefined;
      found = { offset: node.range?.[0] ?? 0, message: `no anchor &${node.source} before this` };
      return visit.BREAK;
    },
  });
  return found;
}

function toConfig(file: ConfigFile, o: ParseConfigOptions): Config {
  const general = file.mcpgate ?? file.teleport;
  const absolute = (path: string) => resolve(dirname(o.file), path);
  const join = general?.join_params;
  const tokenName = (name: string) => (join?.method === "token" && name.includes("/") ? absolute(name) : name);
  const proxy = file.proxy_service?.enabled ? toProxy(file.proxy_service, absolute) : undefined;
  const service = file.app_service;
  return {
    file: o.file,
    dataDir: general?.data_dir ? absolute(general.data_dir) : o.defaultDataDir(),
    log: { severity: general?.log?.severity ?? "INFO", format: general?.log?.format ?? "text" },
    ...(general?.diag_addr ? { diagAddr: general.diag_addr } : {}),
    ...(general?.nodename ? { nodename: general.nodename } : {}),
    ...(general?.proxy_server ? { proxyServer: general.proxy_server } : {}),
    ...(join ? { join: { method: join.method, tokenName: tokenName(join.token_name) } } : {}),
    ...(general?.ca_pin ? { caPin: general.ca_pin } : {}),
    ...(proxy ? { proxy } : {}),
    ...(service?.enabled
      ? {
          app: {
            apps: (service.apps ?? []).map(toApp),
            resumeWindowSeconds: service.resume_window,
            drainSeconds: service.drain,
            ...(service.allow_host_users ? { allowHostUsers: service.allow_host_users } : {}),
            ...(service.resources ? { resources: service.resources.map(({ labels }) => labels) } : {}),
            ...(service.allow_commands ? { allowCommands: service.allow_commands } : {}),
            ...(service.allow_cwd ? { allowCwd: service.allow_cwd } : {}),
            ...(service.audit ? { audit: toSpool(service.audit) } : {}),
          },
        }
      : {}),
  };
}

function toProxy(section: NonNullable<ConfigFile["proxy_service"]>, absolute: (path: string) => string): ProxyConfig {
  const listen = section.listen_addr ?? { host: "0.0.0.0", port: 443 };
  const publicAddr = section.public_addr ?? listen;
  return {
    listen,
    publicAddr,
    clusterName: section.cluster_name ?? publicAddr.host,
    tls: section.tls,
    trustedProxies: section.trusted_proxies ?? [],
    ...(section.audit ? { audit: toProxyAudit(section.audit, absolute) } : {}),
    ...(section.cert_file ? { certFile: absolute(section.cert_file) } : {}),
    ...(section.key_file ? { keyFile: absolute(section.key_file) } : {}),
    ...(section.aws_certificates ? { awsCertificates: absolute(section.aws_certificates) } : {}),
    ...(section.downloads_dir ? { downloadsDir: absolute(section.downloads_dir) } : {}),
  };
}

export function toApp({ name, labels, description, shared, tool_pinning, mcp }: FileApp): AppConfig {
  return {
    name,
    labels: labels ?? {},
    description: description ?? "",
    shared,
    ...(tool_pinning ? { toolPinning: tool_pinning } : {}),
    mcp: {
      command: mcp.command,
      args: mcp.args ?? [],
      ...(mcp.run_as_host_user ? { runAsHostUser: mcp.run_as_host_user } : {}),
      ...(mcp.env ? { env: mapValues(mcp.env, (each) => ("value" in each ? each.value : each)) } : {}),
      ...(mcp.cwd ? { cwd: mcp.cwd } : {}),
      ...(mcp.secrets ? { secrets: mcp.secrets } : {}),
      ...given({ share: mcp.share, linger: mcp.linger, warm: mcp.warm }),
      ...(mcp.stop_grace ? { stopGrace: given(mcp.stop_grace) } : {}),
      ...(mcp.limits ? { limits: toLimits(mcp.limits) } : {}),
      ...(mcp.sandbox
        ? {
            sandbox: { network: mcp.sandbox.network, read: mcp.sandbox.read ?? [], write: mcp.sandbox.write ?? [] },
          }
        : {}),
    },
  };
}

const mapValues = <T, U>(record: Record<string, T>, map: (value: T) => U): Record<string, U> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));

function toLimits(limits: NonNullable<FileApp["mcp"]["limits"]>): Limits {
  return given({
    memory: limits.memory,
    cpu: limits.cpu,
    processes: limits.processes,
    openFiles: limits.open_files,
    startTimeout: limits.start_timeout,
    idleTimeout: limits.idle_timeout,
    sessionTimeout: limits.session_timeout,
    sessionsPerUser: limits.sessions_per_user,
    sessionsPerApp: limits.sessions_per_app,
  });
}

/** Without what the file leaves open. */
const given = <T extends object>(all: T): { [K in keyof T]?: NonNullable<T[K]> } =>
  Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined && value !== null)) as {
    [K in keyof T]?: NonNullable<T[K]>;
  };
