/**
 * `mcpgate agent check`: starts an app's server as a session would, and speaks to it in both of the protocol's eras: with
 * the handshake (`initialize`, revisions to 2025-11-25), and without (`server/discover`, 2026-07-28). A server need know
 * one of them only; a process each, as the first message decides for some which era it is in.
 */
import type { AppConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";
import { LineSplitter } from "../mcp/lines.ts";
import { DEFAULT_CODEC_LIMITS } from "../mcp/message.ts";
import { VERSION } from "../version.ts";
import type { Person } from "./host-login.ts";
import { Junk } from "./junk.ts";
import type { ServerProcess } from "./process.ts";
import { NO_SECRETS, type Secrets } from "./secrets.ts";
import type { Servers } from "./servers.ts";
import { START_TIMEOUT_S } from "./session-limits.ts";

export interface CheckResult {
  app: string;
  ok: boolean;
  /** Of the newest era that it speaks. */
  revision?: string;
  /** Name and version, as it gave them. */
  server?: string;
  tools?: number;
  /** From the start to the first answer. */
  ms?: number;
  problems: Problem[];
}

export interface Problem {
  message: string;
  hint?: string;
}

const HANDSHAKE = "2025-11-25";
const STATELESS = "2026-07-28";

interface Answer {
  id?: unknown;
  /** Of a message that is no answer, but a question of the server's, or our own come back. */
  method?: unknown;
  result?: Record<string, unknown>;
  error?: { code?: number; message?: string };
}

export async function checkApp(app: AppConfig, servers: Servers, person: Person, log: Log): Promise<CheckResult> {
  const problems: Problem[] = [];
  const found: Omit<CheckResult, "app" | "ok" | "problems"> = {};
  let secrets = NO_SECRETS;
  try {
    const classic = await speak(app, servers, person, log, (server) => handshake(server, found));
    secrets = classic.secrets;
    problems.push(...classic.problems);
    // Where it could not even be started, or died, the other era has nothing to add.
    if (classic.fault === undefined || classic.fault.code === "timeout" || classic.fault.code === "invalid") {
      const modern = await speak(app, servers, person, log, (server) => discover(server, found));
      if (classic.fault !== undefined && modern.fault !== undefined) problems.unshift(problemOf(classic.fault));
    } else {
      problems.unshift(problemOf(classic.fault));
    }
  } catch (error) {
    problems.unshift(problemOf(Failure.from(error)));
  }
  return secrets.maskValue({ app: app.name, ok: problems.length === 0, ...found, problems });
}

const problemOf = ({ message, hint }: Failure): Problem => ({ message, ...(hint === undefined ? {} : { hint }) });

async function handshake(server: Conversation, found: Partial<CheckResult>): Promise<void> {
  const began = performance.now();
  const { protocolVersion, serverInfo } = await server.ask("initialize", {
    protocolVersion: HANDSHAKE,
    capabilities: {},
    clientInfo: { name: "mcpgate", version: VERSION },
  });
  found.ms = Math.round(performance.now() - began);
  if (typeof protocolVersion !== "string")
    throw new Failure("invalid", "its answer to initialize has no protocolVersion");
  found.revision = protocolVersion;
  nameServer(found, serverInfo);
  server.tell("notifications/initialized");
  countTools(found, await server.ask("tools/list", {}));
}

async function discover(server: Conversation, found: Partial<CheckResult>): Promise<void> {
  const began = performance.now();
  const meta = {
    "io.modelcontextprotocol/protocolVersion": STATELESS,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": { name: "mcpgate", version: VERSION },
  };
  const { supportedVersions, _meta } = await server.ask("server/discover", { _meta: meta });
  const ms = Math.round(performance.now() - began);
  countTools(found, await server.ask("tools/list", { _meta: meta }));
  found.ms ??= ms;
  if (Array.isArray(supportedVersions) && supportedVersions.includes(STATELESS)) found.revision = STATELESS;
  nameServer(found, (_meta as Record<string, unknown> | undefined)?.["io.modelcontextprotocol/serverInfo"]);
}

function nameServer(found: Partial<CheckResult>, info: unknown): void {
  const { name, version } = (info ?? {}) as { name?: unknown; version?: unknown };
  if (typeof name === "string") found.server = typeof version === "string" ? `${name} ${version}` : name;
}

/** A server without tools says so by an error, which is no fault of it. */
function countTools(found: Partial<CheckResult>, { tools }: Record<string, unknown>): void {
  if (Array.isArray(tools)) found.tools = tools.length;
}

interface Conversation {
  /** The result; an empty one for a method that the server doesn't know but the first. */
  ask(method: string, params: object): Promise<Record<string, unknown>>;
  tell(method: string): void;
}

async function speak(
  app: AppConfig,
  servers: Servers,
  person: Person,
  log: Log,
  talk: (server: Conversation) => Promise<void>,
): Promise<{ fault?: Failure; problems: Problem[]; secrets: Secrets }> {
  const lines = new LineSplitter(DEFAULT_CODEC_LIMITS.maxBytes);
  const junk = new Junk();
  const waiting = new Map<number, { method: string; resolve: (answer: Answer) => void }>();
  const take = (bytes: Uint8Array): void => {
    const text = new TextDecoder().decode(bytes).trim();
    const message = parse(text);
    if (message === undefined) {
      junk.add(text);
      return;
    }
    const asked = typeof message.id === "number" ? waiting.get(message.id) : undefined;
    // A server's own questions have ids of their own, which may be the same; none of them is what only clients ask.
    if (message.method === undefined || message.method === asked?.method) asked?.resolve(message);
  };
  const sid = crypto.randomUUID();
  const server = await servers.start(app, {
    ...{ sid, person, log },
    onStdout(chunk) {
      for (const line of lines.push(chunk)) if ("bytes" in line) take(line.bytes);
    },
  });
  const seconds = app.mcp.limits?.startTimeout ?? START_TIMEOUT_S;
  const until = performance.now() + seconds * 1000;
  let asked = 0;
  const send = (message: object): void =>
    void server.write(Buffer.from(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`));
  const conversation: Conversation = {
    tell: (method) => send({ method }),
    async ask(method, params) {
      const id = ++asked;
      const answered = new Promise<Answer>((resolve) => waiting.set(id, { method, resolve }));
      send({ id, method, params });
      const answer = await Promise.race([answered, server.exited, junk.flood, late(until - performance.now())]);
      if (answer === undefined) throw silent(server, method, seconds);
      if ("message" in answer) throw died(server, answer.message, answer.code);
      if (answer.method !== undefined) throw echoed(method);
      if (answer.error === undefined) return resultOf(answer, method);
      if (id > 1) return {};
      throw new Failure("invalid", `it answers ${method} with an error: ${answer.error.message ?? answer.error.code}`);
    },
  };
  const { secrets } = server;
  try {
    await talk(conversation);
    return { problems: junk.problems(secrets), secrets };
  } catch (error) {
    return { fault: Failure.from(error), problems: junk.problems(secrets), secrets };
  } finally {
    await server.stop({ inputMs: 500, termMs: 500 });
  }
}

const late = (ms: number): Promise<undefined> => Bun.sleep(Math.max(ms, 0)).then(() => undefined);

function parse(text: string): Answer | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Answer) : undefined;
  } catch {
    return undefined;
  }
}

function lastWords(server: ServerProcess): string {
  const tail = server.stderrTail().slice(-5);
  return tail.length === 0 ? "" : `; its last words:\n${tail.join("\n")}`;
}

const silent = (server: ServerProcess, method: string, seconds: number): Failure =>
  new Failure("timeout", `it does not answer ${method} within ${seconds} s${lastWords(server)}`, {
    hint: "where it only is slow to start, raise mcp.limits.start_timeout",
  });

/** Code `start_failed`: the other era has nothing to add. */
const echoed = (method: string): Failure =>
  new Failure("start_failed", `it is no MCP server: it sends back what it is sent (${method}) instead of an answer`, {
    hint: "see what mcp.command and mcp.args start: cat and shells do that",
  });

function died(server: ServerProcess, how: string, code: number | null): Failure {
  const words = server.stderrTail().join("\n");
  const hint = /docker daemon|docker\.sock/i.test(words)
    ? "is docker running, and is the host user in its group? try: docker info"
    : /^bwrap: /m.test(words)
      ? "is each path of mcp.sandbox there, and may the host user make namespaces? try: bwrap --unshare-user --ro-bind / / true"
      : code === 127
        ? "a script that it starts didn't find a command: set PATH in mcp.env"
        : "try its command by hand, as its host user";
  return new Failure("start_failed", `the server ${how}${lastWords(server)}`, { hint });
}

function resultOf({ result }: Answer, method: string): Record<string, unknown> {
  if (typeof result === "object" && result !== null && !Array.isArray(result)) return result;
  throw new Failure("invalid", `its answer to ${method} has neither a result nor an error`);
}
