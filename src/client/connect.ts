/**
 * `mcpgate client connect NAME`: MCP on stdin and stdout, and nothing else ever on stdout. Whatever goes wrong, it stays
 * an MCP server that answers: the person sees why in the MCP client, not "server disconnected".
 */
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";
import { LineSplitter } from "../mcp/lines.ts";
import { DEFAULT_CODEC_LIMITS } from "../mcp/message.ts";
import { Bridge } from "./bridge.ts";
import { ClientSession } from "./session.ts";
import { requireProfile } from "./state.ts";

export interface ConnectOptions {
  app: string;
  home: string;
  log: Log;
  stdin?: AsyncIterable<Uint8Array>;
  /** Resolves when the bytes are written: a reader that stops, stops us. */
  write?(bytes: Uint8Array): Promise<void>;
  /** Resolves when we are to stop: SIGTERM is how MCP clients end a server that they have no use for. */
  stopped?: Promise<void>;
}

/**
 * Resolves with the exit code when stdin has ended and the last answer is written, or the session ended by `stopped`.
 * Fails when nobody reads what we write.
 */
export async function runConnect(options: ConnectOptions): Promise<number> {
  const { app, home, log } = options;
  const output = options.write ?? stdoutWriter();
  const broken = Promise.withResolvers<never>();
  broken.promise.catch(() => {});
  const bridge = new Bridge({
    app,
    log,
    write: (bytes) =>
      output(bytes).catch((error: unknown) => {
        broken.reject(new Failure("unavailable", `can't write to the MCP client: ${Failure.from(error).message}`));
        throw error;
      }),
    session: (events) => new ClientSession({ ...events, app, log, profile: () => requireProfile(home) }),
  });
  const stopped = options.stopped?.then(() => bridge.stop());
  const served = serve(bridge, options.stdin ?? Bun.stdin.stream());
  try {
    await Promise.race([served, broken.promise, ...(stopped === undefined ? [] : [stopped])]);
  } catch (error) {
    // Nobody is left to answer to: the session ends, and no other begins.
    await bridge.stop();
    throw error;
  }
  return 0;
}

async function serve(bridge: Bridge, stdin: AsyncIterable<Uint8Array>): Promise<void> {
  const lines = new LineSplitter(DEFAULT_CODEC_LIMITS.maxBytes);
  for await (const chunk of stdin) {
    for (const line of lines.push(chunk)) await bridge.fromClient(line);
  }
  const rest = lines.end();
  if (rest !== undefined) await bridge.fromClient(rest);
  await bridge.end();
}

function stdoutWriter(): (bytes: Uint8Array) => Promise<void> {
  const writer = Bun.stdout.writer();
  return async (bytes) => {
    await writer.write(bytes); // `flush` alone hides a disk that is full
    await writer.flush();
  };
}
