/** MCP clients that launch `mcpgate client connect NAME` as an MCP client would: the SDKs', and a raw one. */
import { Client as ModernClient, type ClientOptions as ModernOptions } from "@modelcontextprotocol/client";
import { StdioClientTransport as ModernTransport } from "@modelcontextprotocol/client/stdio";
import { Client, type ClientOptions } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import type { Cluster, OsUser } from "./harness.ts";

const launch = (cluster: Cluster, user: string, app: string) => ({
  command: cluster.place.bin,
  args: ["client", "connect", app],
  env: cluster.place.env(cluster.home(user)),
  cwd: cluster.place.dir,
  stderr: "ignore" as const,
});

/** v1, with the handshake. `prepare` runs before it connects: the place for the client's own answers. */
export async function connectV1(
  cluster: Cluster,
  user: string,
  app: string,
  options: ClientOptions = {},
  prepare: (client: Client) => void = () => {},
): Promise<Client & AsyncDisposable> {
  const client = new Client({ name: "e2e-v1", version: "1" }, options);
  prepare(client);
  await client.connect(new StdioClientTransport(launch(cluster, user, app)));
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.close() });
}

/** v2, which asks the server for the newest revision that both know. */
export async function connectV2(
  cluster: Cluster,
  user: string,
  app: string,
  options: ModernOptions = { versionNegotiation: { mode: "auto" } },
): Promise<ModernClient & AsyncDisposable> {
  const client = new ModernClient({ name: "e2e-v2", version: "1" }, options);
  await client.connect(new ModernTransport(launch(cluster, user, app)));
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.close() });
}

/** The text of a tool's result. */
export function textOf(result: object): string {
  const [first] = (result as { content: { text?: string }[] }).content;
  return first?.text ?? "";
}

export interface Answer {
  jsonrpc: string;
  id: number | string | null;
  result?: Record<string, unknown>;
  error?: { code: number; message: string; data?: Record<string, unknown> };
}

export interface RawOptions {
  home?: string;
  env?: Record<string, string>;
  cwd?: string;
  user?: OsUser;
}

/** Lines in and lines out, as they are; keeps every byte of stdout. */
export class RawClient implements AsyncDisposable {
  readonly pid: number;
  readonly exited: Promise<number>;
  readonly #child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  readonly #waiting = new Map<number | string, (answer: Answer) => void>();
  readonly #stderr: Promise<string>;
  readonly #read: Promise<void>;
  /** All that came on stdout, whole lines. */
  readonly lines: string[] = [];
  /** What came after the last line feed. */
  rest = "";
  #id = 0;

  constructor(cluster: Cluster, user: string, app: string, { home, env = {}, cwd, user: as }: RawOptions = {}) {
    const { place } = cluster;
    this.#child = Bun.spawn(place.argv(["client", "connect", app], as), {
      env: { ...place.env(home ?? cluster.home(user)), ...env },
      cwd: cwd ?? place.dir,
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      detached: true,
    });
    this.pid = this.#child.pid;
    this.exited = this.#child.exited;
    this.#stderr = this.#child.stderr.text();
    this.#read = this.#readLines();
  }

  async #readLines(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stdout) {
      const parts = (this.rest + decoder.decode(chunk, { stream: true })).split("\n");
      this.rest = parts.pop() ?? "";
      for (const line of parts) {
        this.lines.push(line);
        const message = JSON.parse(line) as Answer & { method?: string };
        if (message.method !== undefined || message.id === null) continue;
        this.#waiting.get(message.id)?.(message);
        this.#waiting.delete(message.id);
      }
    }
  }

  send(message: object | string): void {
    this.#child.stdin.write(`${typeof message === "string" ? message : JSON.stringify(message)}\n`);
    void this.#child.stdin.flush();
  }

  /** Sends a request and answers with the response to it; rejects when the client ends without one. */
  request(method: string, params: object = {}): Promise<Answer> {
    const id = ++this.#id;
    const answered = this.answerTo(id);
    this.send({ jsonrpc: "2.0", id, method, params });
    return answered;
  }

  answerTo(id: number | string): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    this.#waiting.set(id, resolve);
    void Promise.all([this.#read, this.#stderr]).then(([, stderr]) =>
      reject(new Error(`no answer to ${id} before the end; stderr: ${stderr}`)),
    );
    return promise;
  }

  async initialize(): Promise<Answer> {
    const answer = await this.request("initialize", {
      protocolVersion: "2025-11-25",
      capabilities: {},
      clientInfo: { name: "e2e-raw", version: "1" },
    });
    if (answer.result !== undefined) this.send({ jsonrpc: "2.0", method: "notifications/initialized" });
    return answer;
  }

  call(name: string, args: object = {}): Promise<Answer> {
    return this.request("tools/call", { name, arguments: args });
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Closes stdin and waits for the end. */
  async end(): Promise<{ code: number; stderr: string }> {
    await this.#child.stdin.end();
    const [code, stderr] = await Promise.all([this.exited, this.#stderr, this.#read]);
    return { code, stderr };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.exited;
  }
}
