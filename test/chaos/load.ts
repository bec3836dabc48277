/** One MCP client under load: it launches `client connect`, calls without pause, and holds every answer against its call. */
import type { Cluster } from "../e2e/harness.ts";

export interface Tally {
  calls: number;
  answered: number;
  /** Errors that say that the outcome is unknown: only where the agent died. */
  unknown: number;
  /** Calls that were told that they could not be made, while no agent was there: the server must not have seen them. */
  refused: Set<number>;
  /** What must never be: two answers to one call, a wrong one, progress out of order, an error without a reason for it. */
  wrong: string[];
  longestPauseMs: number;
  /** The numbers of the calls that were answered with their result. */
  done: Set<number>;
}

export type Pattern = "sequential" | "pipelined" | "large" | "progress";

interface Message {
  id?: number;
  method?: string;
  params?: { progressToken: number; progress: number };
  result?: { content: { text: string }[] };
  error?: { code: number; message: string };
}

interface Open {
  number: number;
  progress: number;
  answer(message: Message): void;
}

/** As `src/mcp/fault.ts` has them, literally: a person's scripts will depend on them. */
const OUTCOME_UNKNOWN = -31001;
const CONNECTION_FAILED = -31005;
const PROGRESS_STEPS = 40;

export class Load {
  readonly tally: Tally = {
    calls: 0,
    answered: 0,
    unknown: 0,
    refused: new Set(),
    wrong: [],
    longestPauseMs: 0,
    done: new Set(),
  };
  readonly pid: number;
  readonly #child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  readonly #open = new Map<number, Open>();
  readonly #pattern: Pattern;
  readonly #numbers: () => number;
  #id = 0;
  #stopped = false;
  #lastAnswer = performance.now();
  readonly #finished: Promise<unknown>;
  readonly #stderr: Promise<string>;

  constructor(cluster: Cluster, user: string, pattern: Pattern, numbers: () => number) {
    const { place } = cluster;
    this.#pattern = pattern;
    this.#numbers = numbers;
    this.#child = Bun.spawn([place.bin, "client", "connect", "echo"], {
      env: place.env(cluster.home(user)),
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      detached: true,
    });
    this.pid = this.#child.pid;
    this.#stderr = this.#child.stderr.text();
    void this.#read();
    this.#finished = this.#run(pattern === "pipelined" ? 16 : 1);
  }

  /** Makes no new calls, waits for the answers to those that are open, and ends the client. */
  async finish(): Promise<{ code: number; stderr: string }> {
    this.#stopped = true;
    await this.#finished;
    await this.#child.stdin.end();
    const [code, stderr] = await Promise.all([this.#child.exited, this.#stderr]);
    return { code, stderr };
  }

  async #run(inFlight: number): Promise<void> {
    const first = await this.#request("initialize", {
      protocolVersion: "2025-11-25",
      capabilities: {},
      clientInfo: { name: "chaos", version: "1" },
    });
    if (first.result === undefined) throw new Error(`initialize: ${JSON.stringify(first)}`);
    this.#send({ jsonrpc: "2.0", method: "notifications/initialized" });
    await Promise.all(
      Array.from({ length: inFlight }, async () => {
        while (!this.#stopped) await this.#call();
      }),
    );
  }

  async #call(): Promise<void> {
    const { tally } = this;
    const number = this.#numbers();
    const args = this.#arguments(number);
    const name = this.#pattern === "progress" ? "count" : "echo";
    tally.calls++;
    const answer = await this.#request("tools/call", { name, arguments: args }, number);
    tally.longestPauseMs = Math.max(tally.longestPauseMs, performance.now() - this.#lastAnswer);
    this.#lastAnswer = performance.now();
    if (answer.error?.code === OUTCOME_UNKNOWN) {
      tally.unknown++;
    } else if (answer.error?.code === CONNECTION_FAILED) {
      tally.refused.add(number);
    } else if (answer.result?.content[0]?.text === JSON.stringify({ name, arguments: args })) {
      tally.answered++;
      tally.done.add(number);
    } else {
      tally.wrong.push(`call ${number}: ${JSON.stringify(answer).slice(0, 300)}`);
    }
  }

  #arguments(number: number): object {
    if (this.#pattern === "large") return { number, padding: `${number} `.repeat(5_000 + (number % 40) * 1_000) };
    return this.#pattern === "progress" ? { number, to: PROGRESS_STEPS } : { number };
  }

  #request(method: string, params: object, number = 0): Promise<Message> {
    const id = ++this.#id;
    const { promise, resolve } = Promise.withResolvers<Message>();
    this.#open.set(id, { number, progress: 0, answer: resolve });
    const meta = this.#pattern === "progress" ? { _meta: { progressToken: id } } : {};
    this.#send({ jsonrpc: "2.0", id, method, params: { ...params, ...meta } });
    return promise;
  }

  #send(message: object): void {
    this.#child.stdin.write(`${JSON.stringify(message)}\n`);
    void this.#child.stdin.flush();
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of this.#child.stdout) {
      const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = parts.pop() ?? "";
      for (const line of parts) this.#receive(JSON.parse(line) as Message);
    }
    if (rest !== "") this.tally.wrong.push(`half a line on stdout: ${rest.slice(0, 100)}`);
    for (const [id, open] of this.#open) {
      this.tally.wrong.push(`no answer to ${id}`);
      open.answer({ error: { code: OUTCOME_UNKNOWN, message: "the client ended" } });
    }
  }

  #receive(message: Message): void {
    const { wrong } = this.tally;
    if (message.method === "notifications/progress" && message.params !== undefined) {
      const open = this.#open.get(message.params.progressToken);
      if (open === undefined) wrong.push(`progress after the answer: ${JSON.stringify(message.params)}`);
      else if (message.params.progress <= open.progress) wrong.push(`progress went back: ${message.params.progress}`);
      else open.progress = message.params.progress;
      return;
    }
    const open = this.#open.get(message.id ?? -1);
    if (open === undefined) {
      if (message.method === undefined)
        wrong.push(`an answer to no open call: ${JSON.stringify(message).slice(0, 200)}`);
      return;
    }
    this.#open.delete(message.id ?? -1);
    if (
      this.#pattern === "progress" &&
      open.number > 0 &&
      message.result !== undefined &&
      open.progress < PROGRESS_STEPS
    ) {
      wrong.push(`call ${open.number} lost progress: ${open.progress} of ${PROGRESS_STEPS}`);
    }
    open.answer(message);
  }
}
