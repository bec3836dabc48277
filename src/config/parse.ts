/** Configuration text → `Config`. No I/O. */
import { dirname, resolve } from "node:path";
import * as v from "valibot";
import { type Document, LineCounter, parseDocument, visit } from "yaml";
import { Failure } from "../errors.ts";
import { sinkFaults, toProxyAudit, toSpool } from "./audit.ts";
import type { AppConfig, Config, Limits, ProxyConfig } from "./config.ts";
import { dotted, locate, type Path } from "./positions.ts";
import { type ConfigFile, fileSchema } from "./schema.ts";
import type { FileApp } from "./schema-app.ts";

export interface ParseConfigOptions {
  /** Absolute; relative paths in the text start from its directory. */
  file: string;
  /** How the file is named in errors: as the user named it. */
  shownAs: string;
  uid: number;
  defaultDataDir(): string;
}

interface Problem {
  path: Path;
  at: "key" | "value";
  message: string;
  hint?: string;
}

const YAML_HINT = "check the indentation, the colons and the quotes there and on the line before";

/** @throws Failure `config`: the first problem, as `FILE:LINE:COL: path.to.key: …`, and how many more there are. */
export function parseConfig(text: string, o: ParseConfigOptions): Config {
  const lines = new LineCounter();
  const doc = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: true, logLevel: "error" });
  const broken = [...doc.errors, ...doc.warnings][0];
  const fault = broken === undefined ? unknownAlias(doc) : { offset: broken.pos[0], message: yamlMessage(broken) };
  if (fault !== undefined) {
    const { line, col } = lines.linePos(fault.offset);
    throw new Failure("config", `${o.shownAs}:${line}:${col}: ${fault.message}`, { hint: YAML_HINT });
  }
  const report = (problems: Problem[]) => {
    const [problem] = problems;
    if (problem === undefined) return;
    const place = locate(doc, lines, problem.path, problem.at);
    const where = problem.path.length === 0 ? "" : `${dotted(problem.path)}: `;
    const more = problems.length === 1 ? "" : ` (and ${problems.length - 1} more)`;
    const quote = problem.message.startsWith("expected a string, got") && place.source ? place.source : undefined;
    throw new Failure("config", `${o.shownAs}:${place.line}:${place.column}: ${where}${problem.message}${more}`, {
      hint: quote === undefined ? problem.hint : `put it in quotes: ${JSON.stringify(quote)}`,
    });
  };

  const value: unknown = toJs(doc, o.shownAs);
  // an empty file, or one of comments only, configures nothing
  const parsed = v.safeParse(fileSchema, value ?? {});
  if (!parsed.success) {
    report(parsed.issues.map(problemOf).sort((a, b) => Number(isUnknownKey(b)) - Number(isUnknownKey(a))));
  }
  const file = parsed.output as ConfigFile;
  report(checkTogether(file, o.uid));
  return toConfig(file, o);
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

/** What no single key can tell. */
function checkTogether(file: ConfigFile, uid: number): Problem[] {
  const problems: Problem[] = [];
  if (file.mcpgate && file.teleport) {
    problems.push({ path: ["teleport"], at: "key", message: "stands beside `mcpgate`, which is the same section" });
  }
  const proxy = file.proxy_service;
  if (proxy) {
    for (const { index, key, at, message } of sinkFaults(proxy.audit?.sinks ?? [])) {
      problems.push({ path: ["proxy_service", "audit", "sinks", index, key], at, message });
    }
    if (Boolean(proxy.cert_file) !== Boolean(proxy.key_file)) {
      const [given, missing] = proxy.cert_file ? ["cert_file", "key_file"] : ["key_file", "cert_file"];
      problems.push({ path: ["proxy_service", given], at: "key", message: `needs ${missing} beside it` });
    } else if (!proxy.tls && proxy.cert_file) {
      problems.push({ path: ["proxy_service", "cert_file"], at: "key", message: "goes with tls: on only" });
    }
    if (proxy.enabled && !proxy.public_addr && isWildcard(proxy.listen_addr?.host)) {
      const hint = "add the address that agents and clients dial, like public_addr: mcpgate.example.com:443";
      problems.push({ path: ["proxy_service", "public_addr"], at: "value", message: "is required", hint });
    }
  }
  const seen = new Set<string>();
  for (const [index, { name, mcp }] of (file.app_service?.apps ?? []).entries()) {
    const path = ["app_service", "apps", index];
    if (seen.has(name)) problems.push({ path: [...path, "name"], at: "value", message: `a second app named ${name}` });
    seen.add(name);
    const template = mcp.run_as_host_user?.includes("{{") === true;
    if (template && (file.app_service?.allow_host_users ?? []).length === 0) {
      const hint = "list the host users that it may come to under app_service, like allow_host_users: [alice, bob]";
      const message = "needs app_service.allow_host_users beside it";
      problems.push({ path: [...path, "mcp", "run_as_host_user"], at: "value", message, hint });
    }
    for (const { key, message, hint } of sharingFaults(mcp)) {
      problems.push({ path: [...path, "mcp", key], at: "value", message, ...(hint === undefined ? {} : { hint }) });
    }
    if (uid === 0 && file.app_service?.enabled && !mcp.run_as_host_user) {
      const hint = "name the user under which the server is to run, like run_as_host_user: nobody";
      const message = "is required when the agent runs as root";
      problems.push({ path: [...path, "mcp", "run_as_host_user"], at: "value", message, hint });
    }
  }
  return problems;
}

/** Whose process may be whose. */
function sharingFaults(mcp: FileApp["mcp"]): { key: string; message: string; hint?: string }[] {
  const faults: { key: string; message: string; hint?: string }[] = [];
  const perUser = mcp.run_as_host_user?.includes("{{") === true;
  if (perUser && mcp.share === "app") {
    const message = "is refused: run_as_host_user gives each person a host user of their own";
    faults.push({ key: "share", message, hint: "share: user" });
  }
  if (perUser && (mcp.warm ?? 0) > 0) {
    const message = "is refused: a spare would have to run as a host user before anybody knows which";
    faults.push({ key: "warm", message, hint: "leave it out, or name one host user in run_as_host_user" });
  }
  if (mcp.linger !== undefined && mcp.linger !== null && (mcp.share ?? "session") === "session") {
    faults.push({ key: "linger", message: "goes with share: user and share: app only" });
  }
  return faults;
}

const isWildcard = (host: string | undefined): boolean => host === undefined || /^(0\.0\.0\.0|[0:]+)$/.test(host);

function toConfig(file: ConfigFile, o: ParseConfigOptions): Config {
  const general = file.mcpgate ?? file.teleport;
  const absolute = (path: string) => resolve(dirname(o.file), path);
  const join = general?.join_params;
  const tokenName = (name: string) => (name.includes("/") ? absolute(name) : name);
  const proxy = file.proxy_service?.enabled ? toProxy(file.proxy_service, absolute) : undefined;
  const service = file.app_service;
  return {
    file: o.file,
    dataDir: general?.data_dir ? absolute(general.data_dir) : o.defaultDataDir(),
    log: { severity: general?.log?.severity ?? "INFO", format: general?.log?.format ?? "text" },
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
  };
}

function toApp({ name, labels, description, shared, tool_pinning, mcp }: FileApp): AppConfig {
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
