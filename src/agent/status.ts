/**
 * What a running agent says of itself, through a unix socket in its data directory that only the agent's user and root
 * can reach: a line in, whatever it says, and one JSON document out.
 */
import { chmodSync, rmSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";

const counts = v.object({ spawned: v.number(), exited: v.number(), running: v.number() });

export const agentStatus = v.object({
  agent: v.string(),
  version: v.string(),
  pid: v.number(),
  /** Whether another process watches this one. */
  guard: v.boolean(),
  /** What ends the processes that flee their server. */
  containment: v.string(),
  /** Whether the control connection to the proxy is up. */
  connected: v.boolean(),
  /** Server processes since the agent's start: spawned = exited + running. */
  servers: counts,
  /** Audit events that the proxy has not stored yet. */
  pending_events: v.number(),
  apps: v.array(
    v.object({
      app: v.string(),
      sessions: v.number(),
      state: v.picklist(["unknown", "ok", "failing"]),
      at: v.optional(v.string()),
      error: v.optional(v.string()),
      /** The packages that `agent pin` installed for it: `NAME@1.2.3`. */
      pinned: v.optional(v.string()),
      /** Servers that wait for their first session. */
      spares: v.optional(v.number()),
      /** Why the proxy does not offer it to anybody. */
      refused: v.optional(v.string()),
    }),
  ),
  sessions: v.array(v.object({ sid: v.string(), app: v.string(), user: v.string(), pid: v.optional(v.number()) })),
});
export type AgentStatus = v.InferOutput<typeof agentStatus>;

const socketPath = (dataDir: string): string => join(dataDir, "agent", "status.sock");

/** `sun_path` of unix(7), with its final zero byte; the shortest of the systems we run on (macOS has 104). */
const MAX_PATH = 103;
const MAX_ANSWER = 16 * 1024 * 1024;
const ANSWER_MS = 5_000;
/** Nothing was asked yet. */
const EMPTY = Buffer.alloc(0);

/** An agent whose path is too long for a socket runs without one. */
export function openStatusSocket(dataDir: string, log: Log, status: () => AgentStatus): { close(): void } {
  const path = socketPath(dataDir);
  if (Buffer.byteLength(path) > MAX_PATH) {
    log.warn("status.unavailable", { reason: `the socket's path is longer than ${MAX_PATH} bytes` });
    return { close() {} };
  }
  rmSync(path, { force: true }); // left by a process that was killed; the directory's lock says that it is gone
  const umask = process.umask(0o077);
  try {
    const listener = Bun.listen<Buffer>({
      unix: path,
      socket: {
        open(socket) {
          socket.timeout(30);
          socket.data = EMPTY;
        },
        // Not at once: a connection that is closed right after it was made looks like none to the other side's runtime.
        data(socket) {
          if (socket.data !== EMPTY) return;
          socket.data = Buffer.from(`${JSON.stringify(status())}\n`);
          send(socket);
        },
        drain: send,
        timeout: (socket) => socket.terminate(),
      },
    });
    chmodSync(path, 0o600);
    return {
      close() {
        listener.stop(true);
        rmSync(path, { force: true });
      },
    };
  } finally {
    process.umask(umask);
  }
}

function send(socket: Bun.Socket<Buffer>): void {
  if (socket.data === undefined || socket.data === EMPTY) return;
  const written = socket.write(socket.data);
  socket.data = socket.data.subarray(Math.max(written, 0));
  if (socket.data.length === 0) socket.end();
}

/** Failure `unavailable` where no agent runs, `permissions` where it is somebody else's. */
export async function loadAgentStatus(dataDir: string): Promise<AgentStatus> {
  const path = socketPath(dataDir);
  const parsed = v.safeParse(agentStatus, JSON.parse(await readSocket(path)));
  if (!parsed.success) throw new Failure("version_skew", "the agent that runs here is of another release");
  return parsed.output;
}

function readSocket(path: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const chunks: Uint8Array[] = [];
  let size = 0;
  const timer = setTimeout(() => reject(new Failure("timeout", "the agent does not answer")), ANSWER_MS);
  Bun.connect({
    unix: path,
    socket: {
      open: (socket) => void socket.write("\n"),
      data(socket, chunk) {
        size += chunk.length;
        if (size > MAX_ANSWER) socket.terminate();
        // The runtime uses the chunk's memory again.
        chunks.push(chunk.slice());
      },
      close: () => resolve(Buffer.concat(chunks).toString("utf8")),
      end: () => resolve(Buffer.concat(chunks).toString("utf8")),
    },
  }).catch((error: NodeJS.ErrnoException) => {
    const denied = error.code === "EACCES" || error.code === "EPERM";
    reject(
      denied
        ? new Failure("permissions", "the agent on this host is another user's", { hint: "sudo mcpgate agent status" })
        : new Failure("unavailable", `no agent runs with this data directory (${path})`, {
            hint: "mcpgate agent start",
          }),
    );
  });
  return promise.finally(() => clearTimeout(timer));
}
