/** The demo's own processes: each a command of this very program, as a person would type it. */
import { Failure } from "../errors.ts";

export interface DemoProcesses {
  /** Runs a command to its end and answers with its stdout. Fails with what it said on stderr. */
  run(args: string[], options?: { home?: string; stdin?: string }): Promise<string>;
  /** Starts a command that stays, and answers with its line that holds `ready`. */
  start(args: string[]): Promise<string>;
  /** Stops what was started, the last first, and waits until it is gone. */
  stop(): Promise<void>;
}

const READY_MS = 30_000;

export function demoProcesses(self: string[], baseEnv: Record<string, string>): DemoProcesses {
  const started: Bun.Subprocess[] = [];
  const spawnEnv = (home?: string) => ({ ...baseEnv, ...(home === undefined ? {} : { MCPGATE_HOME: home }) });

  return {
    async run(args, { home, stdin } = {}) {
      const child = Bun.spawn([...self, ...args], {
        env: spawnEnv(home),
        stdin: stdin === undefined ? "ignore" : Buffer.from(stdin),
        stdout: "pipe",
        stderr: "pipe",
      });
      const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
      if (code !== 0)
        throw new Failure("internal", `mcpgate ${args.join(" ")} failed with exit code ${code}\n${stderr.trim()}`);
      return stdout;
    },

    async start(args) {
      const child = Bun.spawn([...self, ...args], { env: spawnEnv(), stdin: "ignore", stdout: "pipe", stderr: "pipe" });
      started.push(child);
      const stderr = child.stderr.text();
      const ready = readyLine(child.stdout);
      const line = await Promise.race([ready, Bun.sleep(READY_MS)]);
      if (line !== undefined) return line;
      child.kill("SIGKILL");
      throw new Failure("internal", `mcpgate ${args.join(" ")} did not get ready\n${(await stderr).trim()}`);
    },

    async stop() {
      for (const child of started.reverse()) {
        child.kill("SIGTERM");
        await child.exited;
      }
    },
  };
}

/** The line with `ready`; undefined when the output ended without one. The rest of the output is read and dropped. */
async function readyLine(stdout: ReadableStream<Uint8Array>): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  void (async () => {
    let text = "";
    const decoder = new TextDecoder();
    for await (const chunk of stdout) {
      text += decoder.decode(chunk, { stream: true });
      const line = text.split("\n").find((each, i, all) => i < all.length - 1 && each.includes("ready"));
      if (line !== undefined) resolve(line);
      text = text.slice(text.lastIndexOf("\n") + 1);
    }
    resolve(undefined);
  })();
  return promise;
}
