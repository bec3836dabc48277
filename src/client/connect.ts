/**
 * `mcpgate client connect NAME`: MCP on stdin and stdout, and nothing else ever on stdout. Whatever goes wrong, it stays
 * an MCP server that answers: the person sees why in the MCP client, not "server disconnected".
 */
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";
import { type Line, LineSplitter } from "../mcp/lines.ts";
import { DEFAULT_CODEC_LIMITS } from "../mcp/message.ts";
import { openTracer } from "../observe/tracing.ts";
import { Bridge } from "./bridge.ts";
import type { CallSpans } from "./call-spans.ts";
import { ClientSession } from "./session.ts";
import { requireProfile } from "./state.ts";

export interface ConnectOptions {
  app: string;
  home: string;
  log: Log;
  env?: Record<string, string | undefined>;
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
  const spans = await openSpans(options);
  const broken = Promise.withResolvers<never>();
  broken.promise.catch(() => {});
  const bridge = new Bridge({
    app,
    log,
    write: (bytes) => {
      spans?.toClient(bytes);
      return output(bytes).catch((error: unknown) => {
        broken.reject(new Failure("unavailable", `can't write to the MCP client: ${Failure.from(error).message}`));
        throw error;
      });
    },
    session: (events) => {
      const session = new ClientSession({ ...events, app, log, profile: () => requireProfile(home) });
      spans?.begin(session);
      return session;
    },
  });
  const stopped = options.stopped?.then(() => bridge.stop());
  const served = serve(bridge, options.stdin ?? Bun.stdin.stream(), spans);
  try {
    await Promise.race([served, broken.promise, ...(stopped === undefined ? [] : [stopped])]);
  } catch (error) {
    // Nobody is left to answer to: the session ends, and no other begins.
    await bridge.stop();
    throw error;
  } finally {
    await spans?.close();
  }
  return 0;
}

async function serve(bridge: Bridge, stdin: AsyncIterable<Uint8Array>, spans: CallSpans | undefined): Promise<void> {
  const lines = new LineSplitter(DEFAULT_CODEC_LIMITS.maxBytes);
  const take = (line: Line) => {
    spans?.fromClient(line);
    return bridge.fromClient(line);
  };
  for await (const chunk of stdin) {
    for (const line of lines.push(chunk)) {
      const busy = take(line);
      if (busy !== undefined) await busy;
    }
  }
  const rest = lines.end();
  if (rest !== undefined) await take(rest);
  await bridge.end();
}

/** Where traces are wanted: nothing of it is loaded otherwise. */
async function openSpans({ app, log, env = process.env }: ConnectOptions): Promise<CallSpans | undefined> {
  const tracer = await openTracer("client", env, log);
  return tracer && new (await import("./call-spans.ts")).CallSpans(tracer, app);
}

function stdoutWriter(): (bytes: Uint8Array) => Promise<void> {
  const writer = Bun.stdout.writer();
  return async (bytes) => {
    await writer.write(bytes); // `flush` alone hides a disk that is full
    await writer.flush();
  };
}
